"""The log of a command: clean, in order, and never in anybody's way."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from aiodicom.cli import logs
from aiodicom.cli.logs import DroppingHandler, flush_logs, start_logging


class Stuck(logging.Handler):
    """Takes nothing until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.begun = threading.Event()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.begun.set()
        assert self.go.wait(30)
        self.said.append(record.getMessage())


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    one = logging.Logger("test")
    yield one
    for handler in one.handlers:
        handler.close()


def test_what_nobody_takes_is_dropped_and_counted(logger: logging.Logger) -> None:
    target = Stuck()
    logger.addHandler(DroppingHandler(target, queued=3))
    logger.warning("first")
    assert target.begun.wait(30)
    for number in range(10):  # returns, though nothing is written
        logger.warning("line %d", number)
    assert target.said == []
    target.go.set()
    logger.handlers[0].flush()
    assert target.said == [
        "first",
        "7 lines were not logged: stderr did not take them",
        "line 0",
        "line 1",
        "line 2",
    ]
    logger.warning("again")
    logger.handlers[0].flush()
    assert target.said[-1] == "again"


def test_an_end_waits_for_a_while_only(logger: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "FLUSHED_WITHIN", 0.05)
    target = Stuck()
    handler = DroppingHandler(target, queued=1)
    logger.addHandler(handler)
    for _ in range(3):
        logger.warning("x")
    handler.flush()
    handler.close()
    assert target.said == []
    target.go.set()


def test_arguments_are_those_of_the_moment(logger: logging.Logger) -> None:
    target = Stuck()
    logger.addHandler(DroppingHandler(target))
    changing = ["a"]
    logger.warning("%s", changing)
    changing[0] = "b"
    target.go.set()
    logger.handlers[0].flush()
    assert target.said == ["['a']"]


def test_lines_are_cleaned(capsys: pytest.CaptureFixture[str]) -> None:
    before = list(logging.getLogger("aiodicom").handlers)
    start_logging(0)
    try:
        logging.getLogger("aiodicom.x").warning("a\x1b[31m\nb")
        flush_logs()
        assert "\x1b" not in capsys.readouterr().err
    finally:
        logger = logging.getLogger("aiodicom")
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        for handler in before:
            logger.addHandler(handler)
        logger.propagate = True


def test_a_pipe_that_nobody_reads_holds_no_process() -> None:
    """A child logs far more than a pipe holds, and ends."""
    code = """
import logging
from aiodicom.cli import logs
logs.FLUSHED_WITHIN = 0.2
logs.start_logging(2)
for number in range(20000):
    logging.getLogger("aiodicom.test").warning("line %d of many", number)
print("done", flush=True)
"""
    reading, writing = os.pipe()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=writing
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"done\n"
            process.kill()
    finally:
        os.close(reading)
        os.close(writing)
