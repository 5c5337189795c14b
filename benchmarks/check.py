"""Single steps by the instructions they execute, so that other work on the machine does not hide a loss.

    python benchmarks/check.py [--only NAME] [--store] [--tolerance 3]

Each step runs in an interpreter of its own under `valgrind --tool=callgrind`, a hundred times and not at
all; what they differ in is the step's. Compared with benchmarks/instructions.json, which `--store` writes;
exits with 1 where a step takes more than `tolerance` per cent more than there, and with 2 where nothing is
stored to compare with. Figures of another Python or machine are not comparable: the file says whose they are.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

STORED = Path(__file__).with_name("instructions.json")
COUNT = 100

PRELUDE = """
import sys
from aiodicom.dimse import messages as m
from aiodicom.pdu.reader import PDUReader
CT = "1.2.840.10008.5.1.4.1.1.2"
store = m.CStoreRQ(message_id=7, affected_sop_class_uid=CT, affected_sop_instance_uid="2.25.98.1.1.345")
"""
DATA = """
sys.path.insert(0, {here!r})
from objects import _header
from aiodicom.dataset.coding import decode_answer, encode_dataset
EXPLICIT = "1.2.840.10008.1.2.1"
"""
STEPS = {
    "command set, encoded": ("", "m.encode_message(store)"),
    "command set, decoded": ("raw = m.encode_message(store)", "m.decode_message(raw, [])"),
    "response, made and encoded": ("", "m.encode_message(m.make_response(store, 0))"),
    "data set cut into 16 PDUs": (
        "from aiodicom.dimse.fragments import fragments; view = memoryview(bytes(260000))",
        "fragments(view, 1, 16378)",
    ),
    "16 PDUs framed": (
        "from aiodicom.dimse.fragments import fragments\n"
        "raw = memoryview(b''.join(fragments(memoryview(bytes(260000)), 1, 16378)))\n"
        "reader = PDUReader(lambda *_: True, [])",
        "reader.feed(raw)\n    while reader.step() is not None: pass",
    ),
    "header of 130 elements scanned": (
        DATA
        + "from aiodicom.dataset.scan import scan_dataset; raw = encode_dataset(_header(1, 1), EXPLICIT)",
        "scan_dataset(raw, EXPLICIT, (0x00080018,), check_nested=True)",
    ),
    "beginning of 130 elements, its layout known": (
        DATA
        + "from aiodicom.dataset.scan import scan_beginning; raw = encode_dataset(_header(1, 1), EXPLICIT)",
        "scan_beginning(raw, EXPLICIT, (0x00080018,), check_nested=True)",
    ),
    "answer of eight elements, decoded": (
        DATA + "from pydicom.dataset import Dataset; d = Dataset()\n"
        "d.QueryRetrieveLevel, d.Modality, d.PatientName = 'IMAGE', 'CT', 'Doe^Jane'\n"
        "d.StudyDate = '20240101'\n"
        "d.SOPInstanceUID = d.SeriesInstanceUID = d.StudyInstanceUID = '1.2.3'; d.InstanceNumber = 7\n"
        "raw = encode_dataset(d, EXPLICIT)",
        "decode_answer(raw, EXPLICIT)",
    ),
}


def executed(code: str) -> int:
    """Instructions an interpreter executes from its start to its end."""
    with tempfile.TemporaryDirectory() as place:
        command = [
            "valgrind",
            "--tool=callgrind",
            f"--callgrind-out-file={place}/out",
            sys.executable,
            "-c",
            code,
        ]
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or found is None:
        raise SystemExit(f"valgrind failed:\n{done.stderr[-2000:]}")
    return int(found[1])


def program(name: str, count: int) -> str:
    """A step so many times, and once before: what is loaded or remembered at first is no part of it."""
    setup, step = STEPS[name]
    setup = setup.replace("{here!r}", repr(str(Path(__file__).parent)))
    return f"{PRELUDE}\n{setup}\ndef one():\n    {step}\none()\nfor _ in range({count}): one()"


def measure(name: str) -> int:
    """Instructions of one step."""
    return (executed(program(name, COUNT)) - executed(program(name, 0))) // COUNT


def main() -> int:
    """Measure, compare, store."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", default=[], help="any part of a step's name")
    parser.add_argument("--store", action="store_true")
    parser.add_argument("--tolerance", type=float, default=3.0, help="per cent")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("valgrind is not on this machine", file=sys.stderr)
        return 2
    machine = f"Python {platform.python_version()}, {platform.machine()}"
    stored: dict[str, Any] = (
        json.loads(STORED.read_text()) if STORED.exists() else {"machine": machine, "steps": {}}
    )
    comparable = stored["machine"] == machine
    if not comparable:
        print(f"stored figures are of {stored['machine']}, this is {machine}: not compared", file=sys.stderr)
    names = [name for name in STEPS if not options.only or any(part in name for part in options.only)]
    if not options.store and not (comparable and stored["steps"].keys() & set(names)):
        print(f"nothing is stored to compare with on {machine}: --store writes its figures", file=sys.stderr)
        return 2
    found = {name: measure(name) for name in names}
    worse = []
    for name, count in found.items():
        before = stored["steps"].get(name) if comparable else None
        change = "" if before is None else f"  {(count / before - 1) * 100:+.1f} %"
        print(f"{count:>12,} instructions  {name}{change}")
        if before is not None and count > before * (1 + options.tolerance / 100):
            worse.append(name)
    if options.store:
        steps = {**(stored["steps"] if comparable else {}), **found}
        STORED.write_text(json.dumps({"machine": machine, "steps": steps}, indent=1) + "\n")
    elif worse:
        print(f"more than {options.tolerance} % slower: {', '.join(worse)}", file=sys.stderr)
    return 1 if worse and not options.store else 0


if __name__ == "__main__":
    raise SystemExit(main())
