"""The log of a command: clean, in order, and never in anybody's way."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiodicom.cli import logs
from aiodicom.cli.exits import Code
from aiodicom.cli.logs import DroppingHandler, flush_logs, start_logging

from .conftest import COMMAND, Served, serve, start


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


def test_a_line_that_cannot_be_made_is_the_fault_of_nobody_who_goes_on(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its arguments are not shown: they may be a patient's."""

    class Bad:
        def __str__(self) -> str:
            raise RuntimeError("DOE^JANE")

    target = Stuck()
    target.go.set()
    logger.addHandler(DroppingHandler(target))
    logger.warning("%d of %d", "DOE^JANE")
    logger.warning("%s", Bad())
    logger.warning("a whole one")
    logger.handlers[0].flush()
    first, second, third = target.said
    assert first.startswith("a line cannot be logged: TypeError in test, line ")
    assert second.startswith("a line cannot be logged: RuntimeError in test, line ")
    assert third == "a whole one"
    assert "DOE" not in first + second + capsys.readouterr().err


def test_the_end_of_a_line_is_what_was_raised(logger: logging.Logger) -> None:
    target = Stuck()
    target.go.set()
    logger.addHandler(DroppingHandler(target))
    try:
        raise KeyError(1)
    except KeyError:
        logger.exception("failed")
    logger.handlers[0].flush()
    [line] = target.said
    assert line.startswith("failed\nTraceback")
    assert line.endswith("KeyError: 1")


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


@pytest.fixture
def full() -> Iterator[int]:
    """The writing end of a pipe that takes nothing more and that nobody reads."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    yield writing
    os.close(reading)
    os.close(writing)


def ended(process: subprocess.Popen[str]) -> int:
    """How it ends of itself; killed where it does not."""
    try:
        return process.wait(30)
    finally:
        process.kill()
        process.communicate()


def test_a_pipe_that_nobody_reads_holds_no_process(full: int) -> None:
    code = """
import logging
from aiodicom.cli import logs
logs.start_logging(2)
for number in range(20000):
    logging.getLogger("aiodicom.test").warning("line %d of many", number)
"""
    assert ended(subprocess.Popen([sys.executable, "-c", code], stderr=full, text=True)) == 0


@pytest.mark.parametrize("verbose", ["-v", "-vv", "-vvv"])
def test_a_server_whose_log_nobody_reads_ends_when_told(tmp_path: Path, full: int, verbose: str) -> None:
    served = serve(tmp_path, verbose, stderr=full)
    ran = subprocess.run([*COMMAND, "echo", "127.0.0.1", str(served.port)], capture_output=True, check=False)
    served.process.send_signal(signal.SIGTERM)
    assert ended(served.process) == 0
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("port", ["open", "closed"])
def test_a_client_whose_log_nobody_reads_ends(archive: Served, full: int, port: str) -> None:
    """With its result, or with an error that it has nowhere to say."""
    number = archive.port if port == "open" else 1
    process = start("echo", "127.0.0.1", number, "-vvv", stderr=full)
    assert (ended(process) == 0) is (port == "open")


def test_a_client_that_is_interrupted_ends(full: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # it answers nothing
        process = start("echo", "127.0.0.1", listener.getsockname()[1], "-vvv", stderr=full)
        peer, _ = listener.accept()
        process.send_signal(signal.SIGINT)
        assert ended(process) == Code.INTERRUPTED
        peer.close()
