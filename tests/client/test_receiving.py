"""Objects as they arrive at a client: what is not whole is no success, into whatever it goes."""

from __future__ import annotations

import random
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from aiodicom.association.performing import Refused
from aiodicom.client.pacs import connect
from aiodicom.client.receiving import FileSink
from aiodicom.dataset.coding import encode_dataset
from aiodicom.dimse.contexts import Context
from aiodicom.server.archive_service import serve_archive
from archive_objects import files_below
from wire import CT, ct, store_request

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
    sink = FileSink(
        tmp_path,
        store_request(uid="1.2.3.1"),
        Context(1, CT, "1.2.840.10008.1.2.1.99", scu=False, scp=True),
        implementation=("1.2.3", "TEST"),
        source_ae=None,
        durability="rename",
        done=told.append,
    )
    data = deflated_image(size)
    sink.write(memoryview(data[: len(data) - cut]))
    outcome = await sink.commit()
    assert outcome.status == (0xC000 if cut else 0)
    assert len(files_below(tmp_path)) == (0 if cut else 1)


@pytest.mark.parametrize("over", [0, 1])
async def test_an_object_without_end_is_refused(tmp_path: Path, over: int) -> None:
    told: list[Any] = []
    data = encode_dataset(ct("1.2.3.1", size=5000), "1.2.840.10008.1.2")
    sink = FileSink(
        tmp_path,
        store_request(uid="1.2.3.1"),
        Context(1, CT, "1.2.840.10008.1.2", scu=False, scp=True),
        implementation=("1.2.3", "TEST"),
        source_ae=None,
        durability="rename",
        done=told.append,
        limit=len(data) - over,
    )
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
