"""Reading at an offset: with the system's own call, and where there is none."""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from aiodicom.dataset import positioned


@pytest.fixture(params=["here", "elsewhere"])
def module(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """The module as it is, and as it is where the system has no `preadv`."""
    if request.param == "here":
        yield positioned
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(os, "preadv")
        patch.delattr(os, "pread")
        spec = importlib.util.spec_from_file_location("positioned_elsewhere", positioned.__file__)
        assert spec is not None
        assert spec.loader is not None
        found = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
        yield found


def test_what_is_read_is_what_is_there_and_the_position_stays(module: ModuleType, tmp_path: Path) -> None:
    content = bytes(range(256)) * 40
    path = tmp_path / "file"
    path.write_bytes(content)
    with path.open("rb", buffering=0) as file:
        file.seek(17)
        for size, offset in (
            (0, 0),
            (1, 0),
            (100, 300),
            (20, len(content) - 7),
            (5, len(content)),
            (5, 99999),
        ):
            wanted = content[offset : offset + size]
            assert module.pread(file.fileno(), size, offset) == wanted
            buffer = memoryview(bytearray(b"x" * size))
            assert module.pread_into(file.fileno(), buffer, offset) == len(wanted)
            assert bytes(buffer) == wanted.ljust(size, b"x")
            assert file.tell() == 17
        assert file.read(3) == content[17:20]


def test_a_closed_descriptor_is_an_error_and_the_next_read_goes_on(
    module: ModuleType, tmp_path: Path
) -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        module.pread(10_000, 1, 0)
    (tmp_path / "file").write_bytes(b"abc")
    with (tmp_path / "file").open("rb") as file:
        assert module.pread(file.fileno(), 3, 1) == b"bc"


def test_threads_that_share_a_descriptor_read_their_own(module: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"".join(bytes([n]) * 64 for n in range(64)))
    wrong: list[int] = []
    with path.open("rb", buffering=0) as file:

        def read(first: int) -> None:
            for n in range(first, 64, 4):
                for _ in range(20):
                    if module.pread(file.fileno(), 64, 64 * n) != bytes([n]) * 64:
                        wrong.append(n)

        threads = [threading.Thread(target=read, args=(first,)) for first in range(4)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert wrong == []
