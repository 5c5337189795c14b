"""The client where a system has no `pread`, no `fcntl`, no uvloop, no signal handlers of a loop: Windows.

A process from which all of it was taken away before aiodicom was imported, and in which a file that is open
gets no other name, stores to an archive of ours, finds, gets and moves to itself. What it cannot show is a
Proactor loop.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import serve, stop

_TAKEN_AWAY = r"""
import asyncio, errno, os, sys

for name in ("fcntl", "resource", "uvloop", "termios", "pwd", "grp"):
    sys.modules[name] = None
for name in ("pread", "preadv", "pwrite", "pwritev", "sendfile", "fchmod", "getuid", "geteuid", "fork",
             "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "sysconf"):
    if hasattr(os, name):
        delattr(os, name)
os.O_BINARY = 0o100000  # O_LARGEFILE, which changes nothing here

def is_open(path):
    real = os.path.realpath(path)
    return any(os.path.realpath(f"/proc/self/fd/{one}") == real for one in os.listdir("/proc/self/fd"))

def closed_alone(function):
    def wrapped(source, *rest, **how):
        if any(one is not None for name, one in how.items() if name.endswith("dir_fd")):
            raise NotImplementedError("dir_fd")
        if is_open(source):
            raise PermissionError(errno.EACCES, "it is open", os.fspath(source))
        return function(source, *rest, **how)
    return wrapped

for name in ("link", "rename", "replace", "unlink", "remove"):
    setattr(os, name, closed_alone(getattr(os, name)))

flags_of, opened, fsynced = {}, os.open, os.fsync

def as_binary(path, flags, *rest, dir_fd=None, **how):
    if dir_fd is not None:
        raise NotImplementedError("dir_fd")
    if os.path.isdir(path):
        raise PermissionError(errno.EACCES, "a folder is no file", os.fspath(path))
    assert flags & os.O_BINARY or not os.fspath(path).endswith(".dcm"), f"{path} is opened as text"
    descriptor = opened(path, flags, *rest, **how)
    flags_of[descriptor] = flags
    return descriptor

def of_writers(descriptor):
    if not flags_of.get(descriptor, os.O_RDWR) & (os.O_RDWR | os.O_WRONLY):
        raise OSError(errno.EBADF, "not open for writing")
    fsynced(descriptor)

os.open, os.fsync = as_binary, of_writers

def refused(self, *arguments):
    raise NotImplementedError

for name in ("add_signal_handler", "remove_signal_handler"):
    setattr(asyncio.SelectorEventLoop, name, refused)
"""

_LIBRARY = r"""
import asyncio, io, json, sys
from pathlib import Path

import aiodicom

async def main(port, listen, series, out):
    said = {}
    async with aiodicom.connect("127.0.0.1", port, calling_ae="ELSEWHERE") as pacs:
        await pacs.echo()
        files = sorted(Path(series).iterdir())
        content = [one.read_bytes() for one in files]
        report = await pacs.store([files[0], content[1], io.BytesIO(content[2]), files[3]])
        said["stored"] = report.stored_count
        [found] = await pacs.find("SERIES")
        uid = found.SeriesInstanceUID
        for durability in ("none", "rename", "fsync"):
            got = await pacs.get("SERIES", uid, directory=f"{out}/{durability}", durability=durability)
            said[durability] = [got.ok, len(got.files), str(got.error)]
        said["again"] = (await pacs.get("SERIES", uid, directory=f"{out}/fsync")).present
        said["memory"] = len((await pacs.get("SERIES", uid)).datasets)
        moved = await pacs.move("SERIES", uid, directory=f"{out}/moved", listen_port=listen)
        said["moved"] = [moved.ok, len(moved.files), str(moved.error)]
        said["volume"] = list((await pacs.volume(uid)).voxels.shape)
    said["from files"] = list(aiodicom.Volume.from_files(moved.files).voxels.shape)
    print(json.dumps(said))

port, listen, series, out = sys.argv[1:]
asyncio.run(main(int(port), int(listen), series, out))
"""

_COMMAND = "from aiodicom.__main__ import main\nraise SystemExit(main())\n"


def elsewhere(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _TAKEN_AWAY + script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


@pytest.fixture
def listening() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_a_client_stores_finds_gets_and_moves(tmp_path: Path, series: Path, listening: int) -> None:
    served = serve(tmp_path / "archive", "--destination", f"ELSEWHERE=127.0.0.1:{listening}")
    try:
        done = elsewhere(_LIBRARY, served.port, listening, series, tmp_path)
        assert done.returncode == 0, done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        assert said.pop("stored") == said.pop("again") == said.pop("memory") == 4
        assert said.pop("volume") == said.pop("from files") == [4, 32, 32]
        assert said == {key: [True, 4, "None"] for key in ("none", "rename", "fsync", "moved")}
        kept = [
            [
                path.read_bytes().partition(b"\x08\x00\x05\x00")[2]
                for path in sorted((tmp_path / one).rglob("*.dcm"))
            ]
            for one in ("fsync", "moved")
        ]
        assert all(kept[0])
        assert kept[0] == kept[1]  # but for group 2, which names who sent it

        shown = elsewhere(_COMMAND, "find", "127.0.0.1", served.port, "--format", "json")
        assert shown.returncode == 0, shown.stderr
        patient = json.loads(shown.stdout)["PatientID"]
        got = elsewhere(
            _COMMAND,
            "get",
            "127.0.0.1",
            served.port,
            "--level",
            "PATIENT",
            "--out",
            tmp_path / "cli",
            patient,
        )
        assert got.returncode == 0, got.stderr
        assert len(list((tmp_path / "cli").rglob("*.dcm"))) == 4
    finally:
        assert stop(served) == 0


def test_the_archive_says_in_one_line_what_it_needs(tmp_path: Path) -> None:
    done = elsewhere(_COMMAND, "serve", tmp_path / "archive", "--port", "0")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("aiodicom: error: an archive needs POSIX (Linux, macOS, a BSD): ")
    assert not (tmp_path / "archive").exists()
