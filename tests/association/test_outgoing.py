"""Files on their way out: in parts that may be sent, whatever a read gives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from aiodicom.association.outgoing import read_parts
from aiodicom.dataset.instance import Instance
from syscalls import descriptors

CONTENT = bytes(range(256)) * 9


def instance(path: Path, size: int) -> Instance:
    path.write_bytes(b"head" + CONTENT[:size] + b"behind")
    return Instance(path, "1.2", "1.3", "1.2.840.10008.1.2", 4, size)


@pytest.mark.parametrize("most", [1000, 7, 5])
@pytest.mark.parametrize("size", [64, 63, 1, 1000])
async def test_parts_but_the_last_are_even(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, size: int
) -> None:
    """PS3.8 E.2, also where the system gives less than was asked for."""
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, count, at: real(fd, min(count, most), at))
    parts = [part async for part in read_parts(instance(tmp_path / "a", size), 16)]
    assert b"".join(bytes(data) for data, _ in parts) == CONTENT[:size]
    assert [last for _, last in parts] == [False] * (len(parts) - 1) + [True]
    assert all(len(data) % 2 == 0 for data, _ in parts[:-1])


async def test_a_file_that_became_shorter_leaves_no_descriptor(tmp_path: Path) -> None:
    one = instance(tmp_path / "a", 1000)
    before = descriptors()
    (tmp_path / "a").write_bytes(b"head" + CONTENT[:100])
    with pytest.raises(OSError, match="became shorter"):
        async for _ in read_parts(one, 16):
            pass
    assert descriptors() == before
