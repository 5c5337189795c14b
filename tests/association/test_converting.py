"""A stored object is sent in a syntax that was accepted, or it is that object that fails."""

from __future__ import annotations

import asyncio
import os
import zlib
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiodicom.association.converting import Conversion, converted_parts, substitute, with_defaults
from aiodicom.association.errors import AssociationEnded
from aiodicom.association.operations import Operation
from aiodicom.association.outgoing import WHOLE_READ
from aiodicom.association.stores import Outcome, StoreRun
from aiodicom.client.connect import connect
from aiodicom.dataset.errors import MalformedDataSet
from aiodicom.dataset.instance import Instance
from aiodicom.dimse import messages as m
from aiodicom.dimse.contexts import Context, Proposal
from aiodicom.server.archive_service import serve_archive
from aiodicom.server.listener import serve
from archive_objects import BIG, CT, DEFLATED, EXPLICIT, IMPLICIT, encode, image, labelled
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID
from syscalls import descriptors
from wire import (
    LONG,
    PATIENCE,
    OnlyOne,
    calling,
    ct,
    got,
    hear,
    say,
    store_request,
)

JPEG = "1.2.840.10008.1.2.4.70"


def deflated(data: bytes) -> bytes:
    squeezed = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return squeezed.compress(data) + squeezed.flush()


def instance(path: Path, data: bytes, syntax: str) -> Instance:
    path.write_bytes(b"head" + data)
    return Instance(path, CT, "1.2.3.1.1", syntax, 4, len(data))


@pytest.mark.parametrize("stored", [EXPLICIT, IMPLICIT, BIG, DEFLATED])
@pytest.mark.parametrize("taken", [(EXPLICIT,), (IMPLICIT,), (BIG,), (IMPLICIT, EXPLICIT)])
def test_what_is_uncompressed_goes_out_in_what_was_taken(stored: str, taken: tuple[str, ...]) -> None:
    item = Instance(Path(), CT, "1.2", stored)
    contexts = {(CT, syntax): syntax for syntax in taken}
    assert substitute(item, contexts) == (EXPLICIT, EXPLICIT) if EXPLICIT in taken else (taken[0], taken[0])


def test_nothing_else_is_converted() -> None:
    assert substitute(Instance(Path(), CT, "1.2", JPEG), {(CT, EXPLICIT): 1}) is None
    assert substitute(Instance(Path(), CT, "1.2", EXPLICIT), {("1.2", IMPLICIT): 1}) is None
    assert substitute(Instance(Path(), CT, "1.2", EXPLICIT), {(CT, JPEG): 1}) is None


def test_what_inflates_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is not cut to what was kept of it."""
    monkeypatch.setattr("aiodicom.association.converting.MAX_COPIED", 1000)
    one = instance(tmp_path / "a", deflated(encode(image(ImageComments="x" * 2000))), DEFLATED)
    with pytest.raises(MalformedDataSet, match="inflates over 1000 bytes"):
        Conversion(one, IMPLICIT)


async def test_what_could_not_be_sent_at_all_is_closed(tmp_path: Path) -> None:
    dataset = image(BitsAllocated=8, PixelData=bytes(WHOLE_READ + 10))
    dataset["PixelData"].VR = "OB"
    item = instance(tmp_path / "a", encode(dataset), EXPLICIT)
    gone = AssociationEnded("the association is being released")

    async def invoke(*_: object) -> Operation:
        raise gone

    over = SimpleNamespace(
        connection=SimpleNamespace(taken=lambda: 0),
        session=SimpleNamespace(window=SimpleNamespace(invoked=1)),
        contexts={1: Context(1, CT, IMPLICIT)},
        invoke=invoke,
    )
    before = descriptors()
    told: list[Outcome] = []
    run = StoreRun(association=over, done=told.append, convert=True)  # type: ignore[arg-type]
    with pytest.raises(AssociationEnded) as raised:
        await run.run([item])
    assert descriptors() == before, raised  # which holds what the frames held
    assert [one.error for one in told] == [f"not sent whole: {gone}"]


@pytest.mark.parametrize("size", [10, WHOLE_READ + 10])
@pytest.mark.parametrize("stored", [EXPLICIT, DEFLATED])
async def test_the_parts_of_an_object(tmp_path: Path, size: int, stored: str) -> None:
    dataset = image(BitsAllocated=8, PixelData=bytes(size))
    dataset["PixelData"].VR = "OB"
    data = encode(dataset, EXPLICIT)
    before = descriptors()
    one = instance(tmp_path / "a", deflated(data) if stored == DEFLATED else data, stored)
    conversion = Conversion(one, IMPLICIT)
    got = b""
    async for part, last in converted_parts(conversion):
        assert last or len(part) % 2 == 0
        got += part
    assert got == encode(dataset, IMPLICIT)
    assert conversion.size == len(got)
    assert descriptors() == before


async def test_what_is_left_early_is_closed(tmp_path: Path) -> None:
    before = descriptors()
    dataset = image(BitsAllocated=8, PixelData=bytes(WHOLE_READ + 10))
    dataset["PixelData"].VR = "OB"
    conversion = Conversion(instance(tmp_path / "a", encode(dataset), EXPLICIT), IMPLICIT)
    parts = converted_parts(conversion)
    await anext(parts)
    assert descriptors() != before
    await parts.aclose()  # type: ignore[attr-defined]
    async with asyncio.timeout(PATIENCE):
        while descriptors() != before:  # a thread may be in it
            await asyncio.sleep(0)
    assert descriptors() == before


@pytest.mark.parametrize("stored", [EXPLICIT, DEFLATED])
def test_what_cannot_be_converted_leaves_nothing_open(tmp_path: Path, stored: str) -> None:
    before = descriptors()
    with pytest.raises(MalformedDataSet, match="cannot be converted"):
        Conversion(instance(tmp_path / "a", b"no data set at all", stored), IMPLICIT)
    assert descriptors() == before


@pytest.mark.parametrize("size", [100, WHOLE_READ + 10])
def test_a_file_cut_short_is_an_error_and_leaves_nothing_open(tmp_path: Path, size: int) -> None:
    before = descriptors()
    dataset = image(BitsAllocated=8, PixelData=bytes(size))
    dataset["PixelData"].VR = "OB"
    one = instance(tmp_path / "a", encode(dataset), EXPLICIT)
    os.truncate(tmp_path / "a", one.data_size - 4)
    with pytest.raises((OSError, MalformedDataSet), match=r"became shorter|cannot be converted"):
        conversion = Conversion(one, IMPLICIT)
        with closing(conversion):
            while not conversion.next()[1]:
                pass
    assert descriptors() == before


async def retrieve(
    tmp_path: Path, stored: dict[str, tuple[str, bytes]], taken: list[str]
) -> tuple[dict[str, bytes], m.CGetRSP]:
    """What comes of a C-GET of objects stored in those syntaxes by who takes CT in one context."""
    async with serve_archive(tmp_path, port=0, limits=LONG) as server:
        for syntax in {syntax for syntax, _ in stored.values()}:
            async with calling(server, [(CT, [syntax])]) as peer:
                for number, (uid, (own, data)) in enumerate(stored.items(), 1):
                    if own == syntax:
                        await say(peer, 1, store_request(number, uid), data)
                        assert (await hear(peer, m.CStoreRSP)).message.status in (0, 0xB007)
        return await got(server, taken)


def four() -> dict[str, tuple[str, bytes]]:
    images = {syntax: image(number) for number, syntax in enumerate((EXPLICIT, IMPLICIT, BIG, DEFLATED))}
    return {
        one.SOPInstanceUID: (syntax, deflated(encode(one)) if syntax == DEFLATED else encode(one, syntax))
        for syntax, one in images.items()
    }


@pytest.mark.parametrize("taken", [[EXPLICIT], [IMPLICIT], [BIG], [EXPLICIT, IMPLICIT, BIG]])
async def test_a_get_gives_every_object_in_the_syntax_that_was_taken(
    tmp_path: Path, taken: list[str]
) -> None:
    """PS3.5 10.1: four objects, each stored in another syntax."""
    stored = four()
    came, final = await retrieve(tmp_path, stored, taken)
    assert (final.status, final.completed, final.failed) == (0, 4, 0)
    assert came == {uid: encode(image(number), taken[0]) for number, uid in enumerate(stored)}


async def test_an_object_in_doubt_is_not_converted_and_fails_alone(tmp_path: Path) -> None:
    stored = four()
    odd = ct("1.2.3.99")
    stored["1.2.3.99"] = (EXPLICIT, encode(odd) + b"\x28\0\x12\0--\2\0ab")
    came, final = await retrieve(tmp_path, stored, [IMPLICIT])
    assert (final.status, final.completed, final.failed) == (0xB000, 4, 1)
    assert "1.2.3.99" not in came


@pytest.mark.parametrize("taken", [IMPLICIT, EXPLICIT])
async def test_a_move_offers_both_little_endian_syntaxes(tmp_path: Path, taken: str) -> None:
    """PS3.5 10.1: to who takes the default alone, and to who should take it and does not."""
    destination = OnlyOne(taken)
    async with serve(destination, port=0) as there:
        where = {"THERE": ("127.0.0.1", there.port)}
        async with serve_archive(tmp_path, port=0, destinations=where) as server:
            one, other = image(1), image(2)
            for dataset in (one, other):
                dataset.file_meta = FileMetaDataset()
                dataset.file_meta.TransferSyntaxUID = UID(EXPLICIT if dataset is one else IMPLICIT)
            async with connect("127.0.0.1", server.port) as pacs:
                assert (await pacs.store([one, other])).ok
                result = await pacs.move("PATIENT", "P1", destination="THERE")
    assert result.ok
    assert result.completed == 2
    assert destination.stored == {data.SOPInstanceUID: encode(data, taken) for data in (one, other)}


@pytest.mark.parametrize("stored", [EXPLICIT, BIG, DEFLATED, IMPLICIT])
@pytest.mark.parametrize("kind", ["file", "memory"])
@pytest.mark.parametrize("taken", [IMPLICIT, EXPLICIT])
async def test_a_store_to_who_takes_one_syntax_alone(
    tmp_path: Path, stored: str, kind: str, taken: str
) -> None:
    """PS3.5 10.1: it is offered for what has no compression, and the report says what was sent."""
    dataset = image()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(stored)
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    there = OnlyOne(taken)
    source = tmp_path / "a.dcm" if kind == "file" else dataset
    async with serve(there, port=0) as server, connect("127.0.0.1", server.port) as pacs:
        report = await pacs.store(source)
        assert report.ok
        assert there.stored == {dataset.SOPInstanceUID: encode(dataset, taken)}
        [item] = report.items
        assert item.converted_to == item.to_dict()["converted_to"] == (None if stored == taken else taken)
        there.stored.clear()
        report = await pacs.store(source, convert=False)
    assert report.ok == bool(there.stored) == (stored == taken)
    if stored != taken:
        assert "presentation context refused" in str(report.items[0].error)


async def test_what_is_compressed_is_not_offered_otherwise(tmp_path: Path) -> None:
    dataset = labelled(image(), JPEG)
    there = OnlyOne()
    async with serve(there, port=0) as server, connect("127.0.0.1", server.port) as pacs:
        report = await pacs.store(dataset)
    assert not there.stored
    assert "presentation context refused" in str(report.items[0].error)


def test_defaults_are_offered_within_the_room_there_is() -> None:
    full = [Proposal(f"1.2.{number}", (EXPLICIT,)) for number in range(128)]
    assert with_defaults(full) == full
    some = [Proposal("1.2", (EXPLICIT,)), Proposal("1.2", (JPEG,)), Proposal("1.3", (IMPLICIT,)),
            Proposal("1.4", (JPEG,)), Proposal("1.5", (DEFLATED,))]  # fmt: skip
    more = with_defaults(some)[len(some) :]
    both, default, explicit = (EXPLICIT, IMPLICIT), (IMPLICIT,), (EXPLICIT,)
    assert more == [Proposal("1.2", default), Proposal("1.5", both), Proposal("1.3", explicit)]
    decoded = with_defaults(some, decoding=True)[len(some) :]
    assert decoded == [*more[:1], Proposal("1.4", both), *more[1:]]
    assert with_defaults(full[:125] + some[:3])[128:] == []
    assert with_defaults(full[:124] + some[:3])[127:] == [Proposal(full[0].abstract_syntax, default)]
