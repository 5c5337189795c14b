"""What reaches the system, in order: a wrapper of `os` that notes calls, and who made them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NOTED = ("fsync", "fdatasync", "replace", "rename", "link", "unlink", "pwrite", "ftruncate", "write")


class Calls:
    """Calls as (name, path): of a descriptor the path it stands for, of a rename its target."""

    def __init__(self) -> None:
        self.made: list[tuple[str, str]] = []
        self.opened: dict[str, int] = {}
        self._guard = threading.Lock()

    def note(self, name: str, path: str) -> None:
        """Something that is no call takes its place among them."""
        with self._guard:
            self.made.append((name, path))

    def first(self, name: str, ending: str) -> int:
        """The place of the first such call."""
        return next(at for at, (one, path) in enumerate(self.made) if one == name and path.endswith(ending))

    def last(self, name: str, ending: str) -> int:
        """The place of the last such call."""
        return max(at for at, (one, path) in enumerate(self.made) if one == name and path.endswith(ending))


@contextmanager
def noted() -> Iterator[Calls]:
    """Notes the calls of this process meanwhile; each is made all the same."""
    calls = Calls()
    with pytest.MonkeyPatch.context() as patch:
        for name in NOTED:
            patch.setattr(os, name, _noting(calls, name))
        real = os.open

        def opening(path: Any, flags: int, *rest: Any, **more: Any) -> int:
            calls.opened[os.fsdecode(path)] = flags
            return real(path, flags, *rest, **more)

        patch.setattr(os, "open", opening)
        yield calls


def _noting(calls: Calls, name: str) -> Any:
    real = getattr(os, name)

    def call(*arguments: Any, **more: Any) -> Any:
        about = arguments[1] if name in ("replace", "rename", "link") else arguments[0]
        path = os.readlink(f"/proc/self/fd/{about}") if isinstance(about, int) else os.fsdecode(about)
        result = real(*arguments, **more)
        calls.note(name, path)  # when it is done
        return result

    return call


def descriptors() -> set[str]:
    """The descriptors this process has open, with what they stand for."""
    found = set()
    for one in Path("/proc/self/fd").iterdir():
        try:
            found.add(f"{one.name} {os.readlink(one)}")
        except OSError:
            continue
    return {one for one in found if "/proc/" not in one}
