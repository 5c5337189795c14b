"""The first hour of a data manager with a list of accession numbers, in a shell."""

import asyncio
import csv
import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

import aiodicom
from aiodicom.testing import ct

folder = Path(tempfile.mkdtemp())


def run(*words: object, code: int = 0, given: str | None = None) -> str:
    """A command's output; its exit code is as expected, and there is no traceback."""
    command = [sys.executable, "-m", "aiodicom", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, input=given, check=False)
    assert done.returncode == code, (words, done.returncode, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout + (done.stderr if code else "")


def screen(width: int, *words: object) -> str:
    """What a terminal of so many columns shows, without its colours."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    command = [sys.executable, "-m", "aiodicom", *map(str, words)]
    env = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"TERM": "xterm"}
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=env)
    os.close(its)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # how a terminal says that nobody has its other end
        pass
    os.close(ours)
    assert process.wait() == 0, shown
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).replace("\r", "")


def trial(port: int) -> None:
    where = ("127.0.0.1", port)
    assert "find" in run("--help")
    assert "--from" in run("get", "--help")
    run("echo", *where)
    assert "association" in run("diagnose", *where)
    numbers = ["ACC-1", "ACC-2", "ACC-9"]
    found: list[str] = []
    for number in numbers:
        out = run(
            "find", *where, f"AccessionNumber={number}", "--format", "csv", "--columns", "StudyInstanceUID"
        )
        found += [row["StudyInstanceUID"] for row in csv.DictReader(io.StringIO(out))]
    assert len(found) == 2, found
    listed = folder / "list.txt"
    listed.write_text("\n".join(found))
    run("get", *where, "--level", "STUDY", "--from", listed, "--out", folder / "images")
    what = ("--level", "STUDY", "--from", "-", "--out", folder / "images", "--json")
    again = json.loads(run("get", *where, *what, given=listed.read_text()))
    assert (again["present"], again["received"]) == (6, 0), again
    assert len(list((folder / "images").rglob("*.dcm"))) == 6
    for width in (80, 120):
        shown = screen(width, "find", *where)
        for uid in found:
            assert re.search(rf"(?<![\d.]){re.escape(uid)}(?![\d.])", shown), shown
        assert max(map(len, shown.splitlines())) <= width, shown
    assert "AccesionNumber" in run("find", *where, "AccesionNumber=1", code=2)
    run("find", *where[:1], 70000, code=2)
    run("echo", "127.0.0.1", 1, code=3)
    run("get", *where, "--level", "STUDY", "1.2.3.4", "--out", folder / "none", code=1)
    run("store", *where, folder / "images")


async def main() -> None:
    objects = []
    for number in range(1, 7):
        one = ct(number)
        study = 1 + number % 2
        one.AccessionNumber = f"ACC-{study}"
        one.StudyInstanceUID = f"1.2.826.0.1.3680043.8.498.1234567890123456789012345678901234567{study}"
        one.SeriesInstanceUID = f"2.25.{study}"
        one.PatientName = "A^Patient^With^A^Rather^Long^Name"
        objects.append(one)
    async with aiodicom.serve_archive(folder / "archive", port=0) as server:
        async with aiodicom.connect("127.0.0.1", server.port) as pacs:
            assert (await pacs.store(objects)).ok
        await asyncio.to_thread(trial, server.port)
    print("manager: done")


asyncio.run(main())
