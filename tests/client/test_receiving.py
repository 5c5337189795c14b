"""Objects as they arrive at a client: what is not whole is no success, into whatever it goes."""

from __future__ import annotations

import asyncio
import random
import struct
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest
from aiodicom.association.errors import OperationFailed
from aiodicom.association.performing import Refused
from aiodicom.client.connect import connect
from aiodicom.client.receiving import DatasetSink, FileSink
from aiodicom.dataset.coding import encode_dataset
from aiodicom.dataset.part10 import Part10Writer
from aiodicom.dimse import messages as m
from aiodicom.dimse.contexts import Context
from aiodicom.server.archive_service import serve_archive
from archive_objects import files_below
from wire import CT, calling, ct, file_sink, hear, say, store_request

EXPLICIT = "1.2.840.10008.1.2.1"


def deflated_image(size: int) -> bytes:
    """An object deflated, `size` bytes of it being pixel data that do not compress away at once."""
    pixels = random.Random(1).randbytes(4096) * (size // 4096)
    squeezed = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    data = squeezed.compress(encode_dataset(ct("1.2.3.1"), EXPLICIT))
    head = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, len(pixels))
    data += squeezed.compress(head + pixels) + squeezed.flush()
    return data + b"\0" * (len(data) % 2)


@pytest.mark.parametrize("size", [4096, 8 << 20])
@pytest.mark.parametrize("cut", [0, 100])
async def test_a_deflated_object_that_is_cut_is_not_whole(tmp_path: Path, size: int, cut: int) -> None:
    """PS3.5 A.5: whether the stream ends is known of every one, whatever its size."""
    told: list[Any] = []
    sink = file_sink(tmp_path, "1.2.840.10008.1.2.1.99", told.append)
    data = deflated_image(size)
    sink.write(memoryview(data[: len(data) - cut]))
    outcome = await sink.commit()
    assert outcome.status == (0xC000 if cut else 0)
    assert len(files_below(tmp_path)) == (0 if cut else 1)


@pytest.mark.parametrize("over", [0, 1])
async def test_an_object_without_end_is_refused(tmp_path: Path, over: int) -> None:
    told: list[Any] = []
    data = encode_dataset(ct("1.2.3.1", size=5000), "1.2.840.10008.1.2")
    sink = file_sink(tmp_path, "1.2.840.10008.1.2", told.append, limit=len(data) - over)
    sink.write(memoryview(data[:1000]))
    if over:
        with pytest.raises(Refused, match=f"over {len(data) - 1} bytes"):
            sink.write(memoryview(data[1000:]))
        sink.discard()
    else:
        sink.write(memoryview(data[1000:]))
        assert (await sink.commit()).status == 0
    assert [int(item.status) for item in told] == [0xA700 if over else 0]
    assert len(files_below(tmp_path)) == (0 if over else 1)


@pytest.mark.parametrize("same", [True, False])
async def test_two_that_come_at_once_with_one_uid_are_each_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    """Once where they agree, beside each other where not: also when both find the name free."""
    both = threading.Barrier(2, timeout=20)
    commit = Part10Writer.commit
    first: set[Part10Writer] = set()

    def together(writer: Part10Writer, *args: Any, **options: Any) -> Path:
        if writer not in first:
            first.add(writer)
            both.wait()
        return commit(writer, *args, **options)

    monkeypatch.setattr(Part10Writer, "commit", together)
    monkeypatch.setattr(FileSink, "_free_path", lambda sink: None)  # as where it has not been looked through
    told: list[Any] = []
    sinks = []
    for name in ("A", "A" if same else "B"):
        sink = file_sink(tmp_path, "1.2.840.10008.1.2", told.append)
        sink.write(memoryview(encode_dataset(ct("1.2.3.1", PatientName=name), "1.2.840.10008.1.2")))
        sinks.append(sink)
    outcomes = await asyncio.gather(*(sink.commit() for sink in sinks))
    assert [one.status for one in outcomes] == [0, 0]
    assert all(item.ok for item in told)
    stored = {item.path for item in told}
    assert {Path(name).name for name in files_below(tmp_path)} == {path.name for path in stored}
    assert len(stored) == (1 if same else 2)
    assert sorted(item.beside is None for item in told) == ([True, True] if same else [False, True])


@pytest.mark.parametrize("into", ["files", "memory"])
async def test_the_limit_of_a_get_is_the_users(tmp_path: Path, into: str) -> None:
    """One object over it costs that object; the peer is told why, and so is the user."""
    async with serve_archive(tmp_path / "archive", port=0) as server:
        async with connect("127.0.0.1", server.port) as pacs:
            assert (await pacs.store([ct("1.2.3.1", size=10_000), ct("1.2.3.2", size=100)])).ok
            where = tmp_path / "out" if into == "files" else None
            result = await pacs.get("PATIENT", "P1", directory=where, max_object_size=5000)  # type: ignore[call-overload]
    assert not result.ok
    assert result.outcome == "partial"
    assert result.failed == 1
    assert result.missing == ["1.2.3.1"]
    refused = [item for item in result.items if not item.ok]
    assert [item.comment for item in refused] == ["object over 5000 bytes"]


def odd_objects() -> dict[str, bytes]:
    """In explicit VR: what pydicom cannot decode, and what is against PS3.5 and can be read all the same."""
    whole = encode_dataset(ct("1.2.3.1"), EXPLICIT)
    return {
        "bad value": whole + struct.pack("<HH2sH", 0x0028, 0x0010, b"US", 3) + b"abc",
        "private FD": whole + struct.pack("<HH2sH", 0x0029, 0x1010, b"FD", 6) + b"0.391 ",
        "in doubt": whole + struct.pack("<HH2sH", 0x0028, 0x1234, b"--", 2) + b"ab",
    }


@pytest.mark.parametrize("name", ["bad value", "private FD", "in doubt"])
@pytest.mark.parametrize("into", ["files", "memory"])
async def test_what_a_peer_has_is_had_in_memory_as_in_files(tmp_path: Path, name: str, into: str) -> None:
    """A value that pydicom cannot decode costs who looks at it, not the object."""
    data = odd_objects()[name]
    async with serve_archive(tmp_path / "archive", port=0) as server:
        async with calling(server, [(CT, [EXPLICIT])]) as peer:
            await say(peer, 1, store_request(uid="1.2.3.1"), data)
            assert (await hear(peer, m.CStoreRSP)).message.status in (0, 0xB007)
        async with connect("127.0.0.1", server.port) as pacs:
            if into == "files":
                result = await pacs.get("PATIENT", "P1", directory=tmp_path / "out")
            else:
                result = await pacs.get("PATIENT", "P1")
                [dataset] = result.datasets
                assert dataset.SOPInstanceUID == "1.2.3.1"
                assert dataset.file_meta.TransferSyntaxUID == EXPLICIT
    assert result.ok
    doubt = result.items[0].comment or ""
    assert ("encoding in doubt" in doubt) == (name == "in doubt")


async def test_an_object_of_another_name_is_refused_in_memory_too(tmp_path: Path) -> None:
    told: list[Any] = []
    sink = DatasetSink(
        store_request(uid="1.2.3.9"),
        Context(1, CT, EXPLICIT, scu=False, scp=True),
        1 << 20,
        lambda outcome, dataset: told.append((outcome.status, dataset)),
    )
    sink.write(memoryview(encode_dataset(ct("1.2.3.1"), EXPLICIT)))
    assert (await sink.commit()).status == 0xA900
    assert told == [(0xA900, None)]


@pytest.mark.parametrize("size", [4096, 20 << 20])
async def test_a_deflated_object_in_memory(size: int) -> None:
    told: list[Any] = []
    sink = DatasetSink(
        store_request(uid="1.2.3.1"),
        Context(1, CT, "1.2.840.10008.1.2.1.99", scu=False, scp=True),
        1 << 26,
        lambda outcome, dataset: told.append(dataset),
    )
    sink.write(memoryview(deflated_image(size)))
    assert (await sink.commit()).status == 0
    assert len(told[0].PixelData) == size


async def test_our_own_refusal_is_not_told_as_the_peers(tmp_path: Path) -> None:
    """The peer's status only follows from ours: the error says which object was refused, and why."""
    async with serve_archive(tmp_path, port=0) as server, connect("127.0.0.1", server.port) as pacs:
        assert (await pacs.store([ct(f"1.2.3.{n}", size=n * 4000) for n in (1, 2, 3)])).ok
        seen = []
        with pytest.raises(OperationFailed) as caught:
            async for dataset in pacs.get("PATIENT", "P1", max_object_size=5000):
                seen.append(dataset.SOPInstanceUID)
    assert seen == ["1.2.3.1"]
    assert str(caught.value).count("refused here: 1.2.3.2 (object over 5000 bytes) and 1 more") == 1


@pytest.mark.parametrize("charset", ["ISO_IR 192", "ISO_IR 100", "GB18030"])
async def test_a_patient_id_that_is_not_ascii_has_a_plan(tmp_path: Path, charset: str) -> None:
    patient = "MÜLLER7" if charset != "GB18030" else "王7"
    async with serve_archive(tmp_path, port=0) as server, connect("127.0.0.1", server.port) as pacs:
        one = ct("1.2.3.1", SpecificCharacterSet=charset, PatientID=patient)
        assert (await pacs.store(one)).ok
        result = await pacs.get("PATIENT", patient)
    assert result.expected == ["1.2.3.1"]
    assert result.ok


@pytest.mark.parametrize("into", ["files", "memory"])
async def test_an_object_of_another_class_than_announced_is_refused(tmp_path: Path, into: str) -> None:
    """As the archive refuses it, and a store does not send it (PS3.4 B.2.3)."""
    told: list[Any] = []
    data = encode_dataset(ct("1.2.3.1", SOPClassUID="1.2.840.10008.5.1.4.1.1.4"), EXPLICIT)
    sink: FileSink | DatasetSink
    if into == "files":
        sink = file_sink(tmp_path, EXPLICIT, told.append)
    else:
        context = Context(1, CT, EXPLICIT, scu=False, scp=True)
        sink = DatasetSink(
            store_request(uid="1.2.3.1"), context, 1 << 20, lambda outcome, dataset: told.append(dataset)
        )
    sink.write(memoryview(data))
    outcome = await sink.commit()
    assert outcome.status == 0xA900
    assert "SOP Class UID differs" in outcome.comment
    assert files_below(tmp_path) == []
