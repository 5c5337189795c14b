"""Logging to stderr that holds nobody: whoever reads it slowly loses lines, and is told how many."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import select
import sys
import threading
import time
from queue import Full, Queue
from typing import Protocol

from ..association.lines import TRACE
from .terminal import clean

QUEUED = 1000
"""Lines that wait for stderr; more are dropped and counted."""
FLUSHED_WITHIN = 2.0
"""Seconds an ending process gives stderr to take what waits, in all."""


class _CleanFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(clean(line) for line in super().format(record).split("\n"))


class Target(Protocol):
    """Where records go in the end."""

    def handle(self, record: logging.LogRecord, /) -> object:
        """Write a record; may wait."""


class StderrWriter:
    """Writes records to stderr, waiting where it must.

    It is no `logging.Handler`: `logging.shutdown` takes the lock of each of those, which this one would hold
    while nobody reads. For the same reason it writes past the buffer of `sys.stderr`.
    """

    def __init__(self, formatter: logging.Formatter) -> None:
        self._formatter = formatter
        self._stream = sys.stderr
        try:
            self._fd = self._stream.fileno()
        except (AttributeError, OSError, ValueError):  # none, or one that a test put in its place
            self._fd = -1

    def handle(self, record: logging.LogRecord) -> None:
        """Write a record. What stderr refuses is lost: there is nobody left to tell."""
        text = self._formatter.format(record) + "\n"
        try:
            if self._fd >= 0:
                self._write(text.encode("utf-8", "backslashreplace"))
            elif self._stream is not None:
                self._stream.write(text)
                self._stream.flush()
        except (OSError, ValueError):  # its reader has gone, or it is closed
            return

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:  # whoever shares it made it so
                select.select([], [self._fd], [])


class DroppingHandler(logging.handlers.QueueHandler):
    """Hands records to a target on a thread of its own, `queued` of them at most at a time."""

    def __init__(self, target: Target, *, queued: int = QUEUED) -> None:
        self._queue: Queue[logging.LogRecord | threading.Event | None] = Queue(queued)
        super().__init__(self._queue)
        self._target = target
        self._dropped = 0
        self._written = 0
        self._gave_up_at = -1  # how many were written when nobody waited any longer
        self._thread = threading.Thread(target=self._run, name="aiodicom-log", daemon=True)
        self._thread.start()

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queue a record; never waits."""
        try:
            self._queue.put_nowait(record)
        except Full:
            self._dropped += 1

    def handleError(self, record: logging.LogRecord) -> None:
        """Say where a line comes from that cannot be put together; not what it was to say."""
        where = f"{record.name}, line {record.lineno} of {record.filename}"
        self.enqueue(_said(f"a line cannot be logged: {type(sys.exception()).__name__} in {where}"))

    def _run(self) -> None:
        while True:
            record = self._queue.get()
            dropped, self._dropped = self._dropped, 0
            if dropped:
                self._target.handle(_lost(dropped))
            if record is None:
                return
            if isinstance(record, threading.Event):
                record.set()
            else:
                self._target.handle(record)
            self._written += 1

    def flush(self) -> None:
        """Wait until what was logged by now is written, for a while; not again while that still waits."""
        behind = self._gave_up_at >= 0 and not self._queue.empty()
        if behind or self._gave_up_at == self._written or not self._thread.is_alive():
            return
        until = time.monotonic() + FLUSHED_WITHIN
        written = threading.Event()
        try:
            self._queue.put(written, timeout=FLUSHED_WITHIN)
        except Full:
            taken = False
        else:
            taken = written.wait(max(0.0, until - time.monotonic()))
        self._gave_up_at = -1 if taken else self._written

    def close(self) -> None:
        """Let what waits be written, for a while, unless `flush` waited in vain. May be called again."""
        super().close()
        self.flush()
        if self.kept_up and self._thread.is_alive():
            with contextlib.suppress(Full):  # others still log
                self._queue.put_nowait(None)
                self._thread.join(FLUSHED_WITHIN)

    @property
    def kept_up(self) -> bool:
        """Whether all was written when it was last waited for."""
        return self._gave_up_at < 0


def _lost(count: int) -> logging.LogRecord:
    return _said(f"{count} lines were not logged: stderr did not take them")


def _said(text: str) -> logging.LogRecord:
    return logging.LogRecord("aiodicom", logging.WARNING, __file__, 0, text, None, None)


def flush_logs() -> bool:
    """What was logged comes before what is printed next; False where stderr did not take it in time."""
    handlers = [one for one in logging.getLogger("aiodicom").handlers if isinstance(one, DroppingHandler)]
    for handler in handlers:
        handler.flush()
    return all(handler.kept_up for handler in handlers)


def stderr_takes(within: float = FLUSHED_WITHIN) -> bool:
    """Whether stderr takes one more line within so many seconds: a pipe that is full and unread does not."""
    try:
        poll = select.poll()
        poll.register(sys.stderr.fileno(), select.POLLOUT)
        return bool(poll.poll(within * 1000))
    except (AttributeError, OSError, ValueError):  # no file, or no such call here: nothing to wait for
        return True


def start_logging(verbosity: int, default: int = logging.WARNING) -> None:
    """Log to stderr: `default` and up; ``-v`` associations, ``-vv`` PDUs and messages, ``-vvv`` bytes."""
    target = StderrWriter(_CleanFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("aiodicom")
    for old in list(logger.handlers):
        logger.removeHandler(old)
        old.close()
    logger.addHandler(DroppingHandler(target))
    logger.propagate = False
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells of building its font cache
    logging.addLevelName(TRACE, "TRACE")
    logger.setLevel({0: default, 1: logging.INFO, 2: logging.DEBUG}.get(verbosity, TRACE))
    # a server says what is amiss; each association only when asked
    logging.getLogger("aiodicom.association").setLevel(logging.NOTSET if verbosity else logging.WARNING)
