"""Logging to stderr that holds nobody: whoever reads it slowly loses lines, and is told how many."""

from __future__ import annotations

import copy
import logging
import threading
from queue import Full, Queue

from ..association.lines import TRACE
from .terminal import clean

QUEUED = 1000
"""Lines that wait for stderr; more are dropped and counted."""
FLUSHED_WITHIN = 2.0
"""Seconds an ending process gives stderr to take what waits."""


class _CleanFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(clean(line) for line in super().format(record).split("\n"))


class DroppingHandler(logging.Handler):
    """Hands records to another handler on a thread of its own, `queued` of them at most at a time."""

    def __init__(self, target: logging.Handler, *, queued: int = QUEUED) -> None:
        super().__init__()
        self._target = target
        self._queue: Queue[logging.LogRecord | threading.Event | None] = Queue(queued)
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="aiodicom-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record; never waits."""
        record = copy.copy(record)  # other handlers have theirs
        record.msg = record.getMessage()  # arguments may change until it is written
        record.args = None
        try:
            self._queue.put_nowait(record)
        except Full:
            self._dropped += 1

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

    def flush(self) -> None:
        """Wait until what was logged by now is written, for a while."""
        written = threading.Event()
        try:
            self._queue.put(written, timeout=FLUSHED_WITHIN)
        except Full:
            return
        written.wait(FLUSHED_WITHIN)

    def close(self) -> None:
        """Let what waits be written, for a while. May be called again."""
        super().close()
        try:
            self._queue.put(None, timeout=FLUSHED_WITHIN)
        except Full:  # stderr stands still: nobody would read it
            return
        self._thread.join(FLUSHED_WITHIN)


def _lost(count: int) -> logging.LogRecord:
    text = f"{count} lines were not logged: stderr did not take them"
    return logging.LogRecord("aiodicom", logging.WARNING, __file__, 0, text, None, None)


def flush_logs() -> None:
    """What was logged comes before what is printed next."""
    for handler in logging.getLogger("aiodicom").handlers:
        handler.flush()


def start_logging(verbosity: int, default: int = logging.WARNING) -> None:
    """Log to stderr: `default` and up; ``-v`` associations, ``-vv`` PDUs and messages, ``-vvv`` bytes."""
    target = logging.StreamHandler()
    target.setFormatter(_CleanFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
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
