"""The steps of the demo."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..association.connect import Peer
from ..association.errors import AssociationAborted, ConnectFailed
from ..association.tls import client_context, server_context
from ..client.pacs import Pacs
from ..client.results import StoreReport
from ..client.retrieved import RetrieveResult
from ..dataset.errors import ImagingError
from ..dimse.levels import Level, QueryError, unique_key
from ..imaging.image import Image
from ..imaging.render import render_image, render_volume
from ..imaging.volume import Volume
from ..pdu.errors import AiodicomError, ConnectionClosed
from ..server.access import Access
from ..server.archive_service import serve_archive
from . import output
from .demo_data import Stock, Stored, dataset_digest
from .demo_show import Show
from .echo import describe_connection
from .terminal import objects, short, size, speed
from .volume import describe_volume

TITLE = "ARCHIVE"
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Certificates:
    """A throw-away authority's: contexts of the archive, of a client, and of one without a certificate."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    stranger: ssl.SSLContext


def make_certificates() -> Certificates:
    """Issue them in memory; nothing is written."""
    import trustme

    authority = trustme.CA(organization_name="aiodicom demo, throw-away authority")
    trusted = authority.cert_pem.bytes()
    archive = authority.issue_cert("localhost", HOST, common_name="aiodicom demo archive")
    client = authority.issue_cert("client.example", common_name="aiodicom demo client")

    def pem(certificate: trustme.LeafCert) -> tuple[bytes, bytes]:
        return certificate.private_key_pem.bytes(), b"".join(
            blob.bytes() for blob in certificate.cert_chain_pems
        )

    return Certificates(
        server_context(*pem(archive), trusted),
        client_context(*pem(client), trusted),
        client_context(trusted=trusted),
    )


@dataclass(frozen=True, slots=True)
class Expected:
    """One query of the demo, and the unique keys it must find."""

    root: str
    level: Level
    match: dict[str, str]
    keys: tuple[str, ...]
    expected: set[str]
    title: str = ""


@dataclass(slots=True)
class Demo:
    """One run. `work` takes what is retrieved, `out` the pictures; `made_up`: the data is the phantom."""

    show: Show
    stock: Stock
    folder: Path
    work: Path
    out: Path
    made_up: bool
    queries: int = 0

    async def run(self) -> None:
        """Every step in order; one that cannot go on ends the run."""
        show, stock = self.show, self.stock
        show.note(
            f"{objects(len(stock.objects))} in {len(stock.series())} series, {size(stock.bytes)}"
            + (f"; {len(stock.same)} more are the same again" if stock.same else "")
            + (f"; {len(stock.unfit)} cannot be stored" if stock.unfit else "")
            + (f"; {len(stock.skipped)} are no DICOM objects" if stock.skipped else "")
        )
        if not stock.objects:
            self._list("cannot be stored", [f"{path}: {why}" for path, why in stock.unfit.items()])
            show.check("there is a DICOM object to store", False, f"none in {self.folder}")
            return
        show.step("An archive, on a free port, with mutual TLS")
        certificates = make_certificates()
        archive = serve_archive(
            self.work / "archive",
            host=HOST,
            port=0,
            ae_title=TITLE,
            tls=certificates.server,
            access=Access(called_ae=[TITLE]),
        )
        try:
            async with archive as server:
                show.note(f"{TITLE} listens on {HOST}:{server.port}; throw-away certificates by trustme")
                await self._stranger(server.port, certificates.stranger)
                async with Pacs(self._peer(server.port, certificates.client)) as pacs:
                    await self._connect(pacs)
                    await self._store(pacs)
                    await self._query(pacs)
                    await self._get(pacs)
            show.check("connection and archive ended in order", True)
        except (AiodicomError, OSError) as error:
            show.check("every operation came to its end", False, f"{type(error).__name__}: {error}")
            return
        self._volume()

    def _peer(self, port: int, tls: ssl.SSLContext) -> Peer:
        return Peer(host=HOST, port=port, called_ae=TITLE, calling_ae="DEMO", tls=tls)

    # --- connecting

    async def _stranger(self, port: int, tls: ssl.SSLContext) -> None:
        """A client without a certificate must not get in."""
        text = "a client without a certificate is turned away"
        try:
            async with Pacs(self._peer(port, tls)) as pacs:
                await pacs.echo()
        except (ConnectFailed, AssociationAborted, ConnectionClosed) as error:
            self.show.check(f"{text} ({error})", True)
        else:
            self.show.check(text, False, "it was let in")

    async def _connect(self, pacs: Pacs) -> None:
        show = self.show
        show.step("A connection, verified by C-ECHO")
        status = await pacs.echo()
        info = pacs.info
        show.pairs(describe_connection(info))
        show.check(f"C-ECHO answered {status:04X}H, {status.meaning}", status.ok)
        tls = info.tls
        verified = tls is not None and tls.verified and HOST in tls.peer_names
        show.check("protected by TLS, the archive's certificate verified", verified, str(tls))

    # --- storing

    async def _store(self, pacs: Pacs) -> None:
        show, stock = self.show, self.stock
        show.step(f"C-STORE of {'the made-up series' if self.made_up else self.folder}")
        with show.bar("store") as progress:
            report = await pacs.store(self.folder, progress=progress)
        rate = speed(report.bytes, report.seconds)
        show.note(
            f"stored {objects(len(report.stored))}, {size(report.bytes)} in {report.seconds:.2f} s, {rate}"
        )
        show.fact("stored", f"{objects(len(report.stored))}, {size(report.bytes)}, {rate}")
        self._list("skipped, no DICOM objects", [str(path) for path, _ in report.skipped])
        self._list("not stored", [str(item) for item in report.items if not item.ok])
        wrong = self._misjudged(report)
        show.check(
            f"all {len(stock.objects)} objects are answered with success", not wrong, "; ".join(wrong[:3])
        )
        if stock.unfit:
            good = {item.path for item in report.items if item.stored} & stock.unfit.keys()
            show.check(
                f"{len(stock.unfit)} files that cannot be stored are reported, and none is stored",
                not good and report.error is None,
                f"{[str(path) for path in good]}, {report.error}",
            )
        show.check("the association went on to the end", report.error is None, str(report.error))

    def _misjudged(self, report: StoreReport) -> list[str]:
        """Objects that should have been stored and were not."""
        stored = {item.path for item in report.items if item.ok}
        wanted = [one.path for one in self.stock.objects.values()] + self.stock.same
        return [str(path) for path in wanted if path not in stored]

    def _list(self, title: str, lines: Sequence[str], limit: int = 6) -> None:
        if not lines:
            return
        self.show.note(f"{title}: {len(lines)}")
        for line in lines[:limit]:
            self.show.note(f"  {line}")
        if len(lines) > limit:
            self.show.note(f"  ... and {len(lines) - limit} more")

    # --- querying

    @property
    def subject(self) -> Stored:
        """The object whose patient, study and series are asked for: in the middle of the largest series."""
        largest = self.stock.series()[0]
        return largest[len(largest) // 2]

    async def _query(self, pacs: Pacs) -> None:
        show = self.show
        show.step("C-FIND at every level, under both roots")
        for query in self._queries():
            await self._find(pacs, query)
        show.fact("found", f"what {self.queries} queries asked for")
        try:
            async for _ in pacs.find("PATIENT", root="STUDY"):
                break
        except QueryError as error:
            show.check(f"refused before anything was sent: {error}", True)
        else:
            show.check("the Study Root has no PATIENT level", False, "the query was sent")

    async def _find(self, pacs: Pacs, query: Expected) -> None:
        show = self.show
        found = [one async for one in pacs.find(query.level, query.match, query.keys, root=query.root)]
        key = unique_key(query.level)
        columns = [*query.keys, key]
        words = ", ".join(f"{name}={short(value)}" for name, value in query.match.items())
        title = f"{query.root.capitalize()} Root, {query.level.value}: {query.title or words}"
        rows: list[Sequence[object]] = [
            [short(output.cell(one, column)) for column in columns] for one in found
        ]
        show.heading(title)
        show.table(columns, sorted(rows, key=_natural))
        got = [str(one.get(key, "")) for one in found]
        right = set(got) == query.expected and len(got) == len(query.expected)
        show.check(f"{len(got)} found, the right ones", right, f"{len(query.expected)} expected")
        self.queries += 1

    def _queries(self) -> Iterable[Expected]:
        """Patient to image under the Patient Root, study to image under the Study Root, all of a kind."""
        one, stock = self.subject, self.stock
        patient = stock.select(lambda o: o.patient_id == one.patient_id)
        study = stock.select(lambda o: o.study == one.study)
        series = stock.select(lambda o: o.series == one.series)
        kind = stock.select(lambda o: o.modality == one.modality)

        def keys(uids: set[str], name: str) -> set[str]:
            return {getattr(stock.objects[uid], name) for uid in uids}

        if one.patient_id:
            who = {"PatientID": one.patient_id}
            returned = ("PatientName", "PatientBirthDate", "PatientSex")
            yield Expected("PATIENT", Level.PATIENT, who, returned, {one.patient_id})
            returned = ("StudyDate", "StudyDescription", "NumberOfStudyRelatedInstances")
            yield Expected("PATIENT", Level.STUDY, who, returned, keys(patient, "study"))
        in_study = {"StudyInstanceUID": one.study}
        in_series = {"SeriesInstanceUID": one.series}
        named = ("SeriesNumber", "SeriesDescription", "NumberOfSeriesRelatedInstances")
        yield Expected("PATIENT", Level.SERIES, in_study, ("Modality", *named), keys(study, "series"))
        yield Expected("PATIENT", Level.IMAGE, in_series, ("InstanceNumber",), series)
        if len(one.study_date) == 8 and one.study_date.isdecimal():
            until = stock.select(
                lambda o: (
                    len(o.study_date) == 8 and one.study_date[:4] + "0101" <= o.study_date <= one.study_date
                )
            )
            dates = {"StudyDate": f"{one.study_date[:4]}0101-{one.study_date}"}
            yield Expected("STUDY", Level.STUDY, dates, ("StudyDescription",), keys(until, "study"))
        yield Expected(
            "STUDY", Level.SERIES, in_study, ("Modality", "SeriesDescription"), keys(study, "series")
        )
        yield Expected("STUDY", Level.IMAGE, in_series, ("InstanceNumber", "Rows", "Columns"), series)
        if one.modality:
            yield Expected(
                "STUDY",
                Level.SERIES,
                {"Modality": one.modality},
                ("Modality", "SeriesDescription", "StudyInstanceUID"),
                keys(kind, "series"),
                f"every {one.modality} series, whatever the study",
            )

    # --- retrieving

    async def _get(self, pacs: Pacs) -> None:
        show, one, stock = self.show, self.subject, self.stock
        show.step("C-GET at every level, compared bit by bit")
        patients = sorted({o.patient_id for o in stock.objects.values()} - {""})
        plain = [name for name in patients if not set(name) & set("*?\\")]
        steps: list[tuple[Level, str, list[str], set[str]]] = [
            (Level.STUDY, "STUDY", [one.study], stock.select(lambda o: o.study == one.study)),
            (Level.SERIES, "STUDY", [one.series], stock.select(lambda o: o.series == one.series)),
            (Level.IMAGE, "PATIENT", [one.uid], {one.uid}),
        ]
        if plain:
            all_of_them = stock.select(lambda o: o.patient_id in plain)
            steps.insert(0, (Level.PATIENT, "PATIENT", plain, all_of_them))
        else:
            show.note("no object has a Patient ID: nothing to retrieve at the PATIENT level")
        rows: list[list[object]] = []
        results: list[RetrieveResult] = []
        for level, root, uids, expected in steps:
            with show.bar(f"get {level.value.lower():<7}") as progress:
                result = await pacs.get(
                    level, uids, directory=self._directory(level), root=root, progress=progress
                )
            results.append(result)
            rows.append(self._row(level, root, uids, result))
            self._compare(level, result, expected)
        show.table(("level", "root", "keys", "objects", "bytes", "rate"), rows)
        total, seconds = sum(r.bytes for r in results), sum(r.seconds for r in results)
        count = sum(len(r.files) for r in results)
        show.fact("retrieved", f"{objects(count)}, {size(total)}, {speed(total, seconds)}")

    def _directory(self, level: Level) -> Path:
        return self.work / "retrieved" / level.value.lower()

    @staticmethod
    def _row(level: Level, root: str, uids: Sequence[str], result: RetrieveResult) -> list[object]:
        rate = speed(result.bytes, result.seconds)
        return [level.value, root, len(uids), len(result.files), size(result.bytes), rate]

    def _compare(self, level: Level, result: RetrieveResult, expected: set[str]) -> None:
        """What arrived must be what was stored, every bit of every data set."""
        got = {item.sop_instance_uid: item.path for item in result.items if item.ok}
        missing, more = expected - got.keys(), got.keys() - expected
        different = [
            uid
            for uid, path in got.items()
            if uid in expected and (path is None or dataset_digest(path) != self.stock.objects[uid].digest)
        ]
        self.show.check(
            f"{level.value}: {objects(len(got))} came back, bit-identical to what was stored",
            result.ok and not (missing or more or different),
            f"{result.status}; {len(missing)} missing, {len(more)} too many, {len(different)} different;"
            f" {result.error or 'no error'}",
        )

    # --- imaging

    def _volume(self) -> None:
        show = self.show
        show.step("A volume of the retrieved series, an image, and pictures of both")
        volume = self._find_volume()
        if volume is not None:
            show.pairs(describe_volume(volume))
            self._check_volume(volume)
            slices, rows, columns = volume.geometry.shape
            show.fact("volume", f"{columns} x {rows} x {slices}, {volume.orientation}")
            path = render_volume(volume, self.out / "volume.png")
            show.check(f"three planes and all slices drawn into {path}", _is_png(path))
            show.fact("picture", str(path))
        self._image()

    def _retrieved(self, wanted: Iterable[Stored]) -> list[Path]:
        """The retrieved files of some objects."""
        found = {
            path.name.removesuffix(".dcm"): path
            for level in Level
            for path in self._directory(level).rglob("*.dcm")
        }
        return [found[one.uid] for one in wanted if one.uid in found]

    def _find_volume(self) -> Volume | None:
        """The volume of the largest series that makes one; says so if none does."""
        reasons: list[str] = []
        for group in self.stock.series():
            files = self._retrieved(group)
            try:
                volume = Volume.from_files(files)
            except ImagingError as error:
                reasons.append(f"{len(files)} files of {group[0].modality or 'no modality'}: {error}")
                continue
            if volume.geometry.shape[0] > 1:
                return volume
            reasons.append(f"{len(files)} files of {group[0].modality or 'no modality'}: one slice alone")
        self._list("no series makes a volume", reasons)
        if self.made_up:
            self.show.check("the made-up series makes a volume", False, "; ".join(reasons))
        return None

    def _check_volume(self, volume: Volume) -> None:
        """The same volume as of the files that were stored; the phantom's as it was made."""
        show = self.show
        names = {source.sop_instance_uid for source in volume.sources if source.sop_instance_uid}
        stored = Volume.from_files([self.stock.objects[uid].path for uid in sorted(names)])
        same = np.array_equal(stored.voxels, volume.voxels) and np.allclose(
            stored.geometry.affine, volume.geometry.affine, rtol=0, atol=1e-6
        )
        show.check("the same volume as of the files that were stored, voxel by voxel", same)
        if not self.made_up:
            return
        expected = (0.2734, 0.2734, 3.3)
        normal = (0.0, 0.0968, 0.9953)
        as_made = (
            volume.voxels.shape == (22, 512, 512)
            and volume.voxels.dtype == np.int16
            and np.allclose(volume.voxel_spacing, expected, atol=1e-4)
            and np.allclose(volume.normal_vector, normal, atol=1e-4)
            and len(volume.window_centers) == 22
            and volume.geometry.is_affine
        )
        show.check("22 slices of 512 x 512, spacing and tilt as the phantom was made", as_made, repr(volume))

    def _image(self) -> None:
        show = self.show
        files = self._retrieved([self.subject])
        try:
            image = Image.from_file(files[0])
        except (ImagingError, IndexError) as error:
            show.note(f"no image of {self.subject.path.name}: {error}")
            if self.made_up:
                show.check("an instance of the made-up series makes an image", False, str(error))
            return
        rows, columns, frames, channels = image.pixels.shape
        spacing = image.pixel_spacing
        show.pairs(
            [
                (
                    "image",
                    f"{columns} x {rows}, {frames} frame(s), {channels} channel(s), {image.pixels.dtype}",
                ),
                ("modality", image.modality),
                ("photometric", image.photometric),
                ("pixel spacing", None if spacing is None else f"{spacing[0]:.4g} x {spacing[1]:.4g} mm"),
                (
                    "window",
                    None
                    if image.window_center is None
                    else f"{image.window_center:g}, {image.window_width:g}",
                ),
            ]
        )
        path = render_image(image, self.out / "image.png")
        show.check(f"the image drawn into {path}", _is_png(path))
        show.fact("picture", str(path))


def _natural(row: Sequence[object]) -> list[tuple[int, str]]:
    """Sorts numbers by value, before other text."""
    cells = [str(cell) for cell in row]
    return [(int(cell), "") if cell.isdecimal() else (1 << 62, cell) for cell in cells]


def _is_png(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8) == b"\x89PNG\r\n\x1a\n" and path.stat().st_size > 1000
