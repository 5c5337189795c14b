"""What a user may give to be stored beside paths and data sets: content, file objects, iterables that wait.

What cannot be read twice is copied beside, into a folder that only its owner can read: what lies there is a
file like any other, and no object is in memory whole. The folder goes when the store has ended.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeAlias

from ..association.outgoing import Copied, Found, find_items, is_dataset
from ..association.tasks import Tasks

BATCH = 32
"""Objects of an asynchronous iterable that are taken before they are sent, at most."""
HELD = 32 * 1024 * 1024
"""Bytes of content among them at which no more are taken; one may be of any size."""
_COPIED_AT_ONCE = 256 * 1024


class Readable(Protocol):
    """A binary file object, or what is like one; it is read from where it stands, and not closed."""

    def read(self, size: int = -1, /) -> bytes:
        """At most so many bytes, none at its end."""


if TYPE_CHECKING:
    from ..association.outgoing import Source as Plain

    Source: TypeAlias = Plain | Readable
    """One object, or for a path a folder of them."""
    Sources: TypeAlias = Source | Iterable[Source] | AsyncIterable[Source]


def check_sources(given: Any) -> list[Any] | AsyncIterable[Any]:
    """The sources, in a list, or as they come. Raises TypeError for what none can be made of."""
    if _is_single(given):
        return [check_source(given)]
    if isinstance(given, AsyncIterable):
        return given
    return [check_source(one) for one in given] if isinstance(given, Iterable) else [check_source(given)]


def check_source(source: object) -> Any:
    """One source, which is no iterable of them. Raises TypeError."""
    if not _is_single(source):
        kinds = "paths, data sets, bytes, binary file objects, and iterables of them"
        raise TypeError(f"store takes {kinds}, not {type(source).__name__}")
    if inspect.iscoroutinefunction(getattr(source, "read", None)):
        raise TypeError(f"store takes no {type(source).__name__}: give what its read() gives")
    return source


def _is_single(source: object) -> bool:
    """Whether it is one source, and no iterable of them. A file object iterates over its lines."""
    return _is_plain(source) or hasattr(source, "read")


def _is_plain(source: object) -> bool:
    """Whether it can be read as often as one likes."""
    return isinstance(source, str | os.PathLike | bytes | bytearray | memoryview) or is_dataset(source)


class Copies:
    """The folder of what cannot be read twice; made when it is needed. Everything here blocks."""

    def __init__(self) -> None:
        self._folder: str | None = None
        self._count = 0

    def find(self, sources: Iterable[Any]) -> Found:
        """What is to be stored of these, each file object copied.

        Raises OSError where nothing can be written, and TypeError for a file of text.
        """
        return find_items(self._plain(sources))

    def _plain(self, sources: Iterable[Any]) -> list[Any]:
        return [one if _is_plain(one) else self._copied(one) for one in sources]

    def _copied(self, source: BinaryIO) -> Copied:
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="aiodicom-")
        self._count += 1
        path = os.path.join(self._folder, f"{self._count}.dcm")
        name = getattr(source, "name", None)
        copied = Copied(path, name if isinstance(name, str) else "a file object")
        with open(path, "xb") as copy:
            while True:
                try:
                    part = source.read(_COPIED_AT_ONCE)
                except OSError as error:
                    return replace(copied, problem=error.strerror or str(error))
                if not part:
                    return copied
                if not isinstance(part, bytes | bytearray | memoryview):
                    raise TypeError(f"a file object gave {type(part).__name__}: open it as binary")
                copy.write(part)

    def drop(self) -> None:
        """Remove those that were sent; the folder may be used again."""
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _content(source: object) -> int:
    """Bytes of content that are in memory."""
    return memoryview(source).nbytes if isinstance(source, bytes | bytearray | memoryview) else 0


async def batches(sources: list[Any] | AsyncIterable[Any]) -> AsyncGenerator[list[Any], None]:
    """A list as it is; of an asynchronous iterable what is there already, up to `BATCH` at a time.

    While one batch is being sent the next is taken. The iterable runs in one task from its beginning to its
    end, and what it raises is raised here behind what it gave before.
    """
    if isinstance(sources, list):
        yield sources
        return
    queue: asyncio.Queue[Any] = asyncio.Queue()
    end, room, held = object(), asyncio.Event(), 0

    async def take() -> None:
        nonlocal held
        try:
            async for one in sources:
                held += _content(one)
                queue.put_nowait(check_source(one))
                while held >= HELD or queue.qsize() >= BATCH:
                    room.clear()
                    await room.wait()
        finally:
            close = getattr(sources, "aclose", None)
            if close is not None:
                await close()

    tasks = Tasks()
    try:
        taking = tasks.start(take(), lambda: queue.put_nowait(end))
        over = False
        while not over:
            batch = [await queue.get()]
            while len(batch) < BATCH and not queue.empty():
                batch.append(queue.get_nowait())
            room.set()
            over = batch[-1] is end
            batch = [one for one in batch if one is not end]
            if batch:
                yield batch
                held -= sum(map(_content, batch))
                room.set()
        await taking
    finally:
        tasks.end()
        await tasks.wait()
