"""The first hour of a tester of protocols: what is on the wire, faults, and the judge."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from aiodicom.testing import FakePacs, ct, on

folder = Path(tempfile.mkdtemp())


def run(*words: object, code: int = 0) -> tuple[str, str]:
    command = [sys.executable, "-m", "aiodicom", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, (words, done.returncode, done.stderr)
    return done.stdout, done.stderr


with FakePacs(objects=[ct(1)]) as pacs:
    where = (pacs.host, pacs.port)
    _, log = run("echo", *where, "-vv")
    assert "C-ECHO-RQ" in log and "A-ASSOCIATE-RQ" in log, log
    _, more = run("find", *where, "PatientID=FAKE-1", "-vvv", "--trace", folder / "trace.jsonl")
    assert "C-FIND-RQ" in more and "FAKE-1" not in more, more
    events = [json.loads(line) for line in (folder / "trace.jsonl").read_text().splitlines()]
    assert len(events) > 5
    shown, _ = run("trace", folder / "trace.jsonl")
    assert "C-FIND-RQ" in shown
    run(
        "get",
        *where,
        "--level",
        "STUDY",
        ct(1).StudyInstanceUID,
        "--out",
        folder / "out",
        "--trace",
        folder / "t.pcap",
    )
    assert (folder / "t.pcap").stat().st_size > 500
    assert not pacs.deviations, pacs.deviations


with FakePacs(faults=[on("C-ECHO", nth=1).abort()]) as pacs:
    _, error = run("echo", pacs.host, pacs.port, code=5)
    assert "abort" in error and "Traceback" not in error, error

listed, _ = run("conformance", "list")
assert len(listed.splitlines()) > 100
print("tester: done")
