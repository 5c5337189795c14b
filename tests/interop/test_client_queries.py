"""Our client's queries at real archives: what they leave out, ignore and limit, and what is made of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiodicom
import pytest
from interop.battery import ALL, PATIENTS, Holdings, hold
from interop.peers import HOST, dcmqrscp, orthanc, require_peer
from interop.site import TIMEOUTS, run_apart
from wire import free_port

pytestmark = [pytest.mark.peers, pytest.mark.timeout(120)]

SETS = ["latin-1", "utf-8"]
KINDS = ["ours", "orthanc", "orthanc limited", "dcmqrscp", "dcmqrscp --check-find"]


@dataclass
class Archive:
    """One that holds the fourteen studies; the limited one answers four at most."""

    kind: str
    title: str
    port: int
    folder: Path
    holdings: Holdings

    @property
    def limited(self) -> bool:
        return "limited" in self.kind

    @asynccontextmanager
    async def pacs(self, **options: Any) -> AsyncIterator[aiodicom.Pacs]:
        """Our client at it."""
        how: dict[str, Any] = {"host": HOST, "port": self.port, "durability": "rename"}
        serving = aiodicom.serve_archive(self.folder, **how) if self.kind == "ours" else nullcontext()
        async with (
            serving,
            aiodicom.connect(HOST, self.port, called_ae=self.title, timeouts=TIMEOUTS, **options) as pacs,
        ):
            yield pacs

    def letters(self, level: str, found: list[Any]) -> str:
        """What was found, as in the table of the hundred."""
        key = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID"}[level]
        return "".join(sorted(self.holdings.letters[level][str(one[key].value).strip()] for one in found))


@pytest.fixture(scope="module", params=KINDS)
def archive(
    request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Archive]:
    kind, folder = str(request.param), tmp_path_factory.mktemp("queries") / "archive"
    program, *extra = kind.split()
    made = Archive(kind, "ANY-SCP", free_port(), folder, hold(data))

    async def fill() -> None:
        async with made.pacs() as pacs:
            report = await pacs.store(made.holdings.files)
            assert report.ok, [str(item) for item in report.items if not item.ok]

    if program == "ours":
        run_apart(fill)
        yield made
        return
    require_peer({"orthanc": "Orthanc"}.get(program, program))
    settings: dict[str, Any] = {"DefaultEncoding": "Utf8"}  # it leaves out what that set has not
    settings |= {"LimitFindResults": 4} if made.limited else {}
    with (
        orthanc(folder, settings=settings) if program == "orthanc" else dcmqrscp(folder, extra=extra) as peer
    ):
        made.title, made.port = peer.ae_title, peer.port
        run_apart(fill)
        yield made


async def test_a_query_tells_whether_it_is_all(archive: Archive) -> None:
    async with archive.pacs() as pacs:
        finding = pacs.find("STUDY")
        if archive.limited:
            with pytest.raises(aiodicom.OperationCancelled):
                await finding
            assert not finding.complete
            assert finding.capped == ("FE00H cancel: cancelled after 4 answers",)
            return
        found = await finding
    assert archive.letters("STUDY", found) == ALL
    assert found.complete


@pytest.mark.parametrize("level", ["STUDY", "PATIENT"])
async def test_a_split_query_finds_all_there_is(archive: Archive, level: str) -> None:
    """What has no date is in no range of dates, but for Orthanc in one with an open beginning."""
    async with archive.pacs() as pacs:
        found = await pacs.find(level, split=True)
    if archive.limited and level == "PATIENT":  # more of a sex than four have no date of birth
        assert not found.complete
        assert set(archive.letters(level, found)) < set(PATIENTS)
        return
    assert archive.letters(level, found) == (ALL if level == "STUDY" else PATIENTS)
    if archive.limited:  # nothing tells that there is none without a date
        assert found.capped
        assert all("without a" in one for one in found.capped), found.capped
    else:
        assert found.complete, found.capped


async def test_a_limit_is_kept_and_told(archive: Archive) -> None:
    async with archive.pacs() as pacs:
        found = await pacs.find("STUDY", limit=3)
        assert len(found) == 3
        assert found.capped == ("the limit of 3 was reached, and there is more",)
        assert (await pacs.echo()) == 0
    if not archive.kind.startswith("dcmqrscp"):  # which keeps its database locked for the aborted one
        async with archive.pacs(quirks=aiodicom.Quirks(cancel=False)) as pacs:
            assert len(await pacs.find("STUDY", limit=3)) == 3
            assert (await pacs.echo()) == 0


async def test_what_an_archive_ignores_is_left_out_here(archive: Archive) -> None:
    async with archive.pacs() as pacs:
        finding = pacs.find("STUDY", {"StudyDate": "..2003-12-31"}, ["ModalitiesInStudy"])
        try:
            found = await finding
        except aiodicom.OperationCancelled:
            assert archive.limited
            return
        assert archive.letters("STUDY", found) == "RS"
        undated = archive.kind == "orthanc"
        assert (finding.ignored, finding.filtered) == ((("StudyDate",), 3) if undated else ((), 0))
        finding = pacs.find("STUDY", {"ModalitiesInStudy": "CT"})
        found = await finding
        if archive.kind.startswith("dcmqrscp"):  # it does not know the key
            assert finding.unsupported == ("ModalitiesInStudy",)
        else:
            assert archive.letters("STUDY", found) == "A"


async def test_a_name_taken_literally(archive: Archive) -> None:
    async with archive.pacs() as pacs:
        assert archive.letters("STUDY", await pacs.find("STUDY", {"PatientID": "SCSG*"})) == "G"
        assert await pacs.find("STUDY", {"PatientID": aiodicom.literal("SCSGER?")}) == []
        assert await pacs.find("STUDY", {"PatientID": aiodicom.literal("SCSGER*")}) == []


async def test_names_come_in_their_own_characters(archive: Archive) -> None:
    async with archive.pacs() as pacs:
        finding = pacs.find("PATIENT", {"PatientID": "SCSGERM*"}, ["PatientName"])
        [german] = await finding
        assert str(german.PatientName) == "Äneas^Rüdiger"
        [japanese] = await pacs.find("PATIENT", {"PatientID": "H31EXAMPLE*"}, ["PatientName"])
        assert "山田" in str(japanese.PatientName)
    assert finding.undecoded == finding.guessed == ()
    assert german.raw_value("PatientName").strip() in (
        "Äneas^Rüdiger".encode("latin-1"),
        "Äneas^Rüdiger".encode(),
    )
