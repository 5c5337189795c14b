"""An archive in a process of its own, a small series, and the command line called in this one."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiodicom.cli.app import run
from aiodicom.imaging.phantom import write_series

COMMAND = (sys.executable, "-m", "aiodicom")


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line on stderr."""
        lines = [line for line in self.err.splitlines() if line]
        assert len(lines) == 1, self.err
        assert lines[0].startswith("aiodicom: error: "), self.err
        return lines[0].removeprefix("aiodicom: error: ")


Invoke = Callable[..., Result]


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str]) -> Iterator[Invoke]:
    """Runs a command in this process and leaves logging as it was."""
    logger = logging.getLogger("aiodicom")
    before = (list(logger.handlers), logger.propagate, logger.level)
    inner = logging.getLogger("aiodicom.association")
    inner_before = inner.level

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Result(code, out, err)

    yield call
    logger.handlers, logger.propagate = before[0], before[1]
    logger.setLevel(before[2])
    inner.setLevel(inner_before)


def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """A command as a process."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        **{"stderr": subprocess.PIPE, **options},
    )


@dataclass(frozen=True)
class Served:
    """An archive that runs."""

    port: int
    process: subprocess.Popen[str]
    folder: Path


def serve(folder: Path, *options: object, **how: Any) -> Served:
    """Start an archive; its first line tells the port."""
    process = start("serve", folder, "--host", "127.0.0.1", "--port", 0, *options, **how)
    assert process.stdout is not None
    line = process.stdout.readline()
    words = line.split()
    assert "port" in words, line + str(process.communicate()[1])
    return Served(int(words[words.index("port") + 1].rstrip(",")), process, folder)


def stop(served: Served) -> int:
    """Tell it to stop; its exit code."""
    served.process.send_signal(signal.SIGTERM)
    served.process.communicate(timeout=30)
    return served.process.returncode


@pytest.fixture(scope="session")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four small slices of the phantom."""
    folder = tmp_path_factory.mktemp("series")
    write_series(folder, slices=4, rows=32, columns=32)
    return folder


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory, series: Path) -> Iterator[Served]:
    """An archive that holds the series; tests add nothing to it."""
    served = serve(tmp_path_factory.mktemp("archive"))
    try:
        stored = subprocess.run(
            [*COMMAND, "store", "127.0.0.1", str(served.port), str(series)], capture_output=True, check=False
        )
        assert stored.returncode == 0, stored.stderr
        yield served
    finally:
        assert stop(served) == 0


@dataclass(frozen=True)
class Files:
    """PEM files of a throw-away authority."""

    trusted: Path
    server_key: Path
    server_cert: Path
    client_key: Path
    client_cert: Path


@pytest.fixture(scope="session")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("pem")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name, leaf in (
        ("server", authority.issue_cert("localhost", "127.0.0.1")),
        ("client", authority.issue_cert("client.test")),
    ):
        leaf.private_key_pem.write_to_path(folder / f"{name}.key")
        leaf.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    return Files(
        folder / "ca.pem",
        folder / "server.key",
        folder / "server.pem",
        folder / "client.key",
        folder / "client.pem",
    )


@pytest.fixture(scope="session")
def secure_archive(tmp_path_factory: pytest.TempPathFactory, pem: Files) -> Iterator[Served]:
    """An empty archive that wants a client certificate, and to be called SECURE."""
    served = serve(
        tmp_path_factory.mktemp("secure"),
        *("--key", pem.server_key, "--cert", pem.server_cert, "--trusted", pem.trusted),
        *("--ae-title", "SECURE", "--only-called"),
    )
    try:
        yield served
    finally:
        assert stop(served) == 0


@pytest.fixture(scope="session")
def closed_port() -> int:
    """A port nobody listens on."""
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
