"""Claimed beside observed: from a run's JSON to Markdown, whatever the names are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from aiodicom.conformance import Effect, Profile, cases, report, run_scp
from aiodicom.conformance.foils import FoilServer
from aiodicom.conformance.runner import Options
from aiodicom.conformance.statement import to_markdown

HOSTILE = "<b>|`x` [a](b) *c*\n\x1b[31m"
QUICK = Options(repeats=0, recovery=5)


async def ran(knob: str = "", **profile: object) -> str:
    async with FoilServer(knob) as server:
        made = Profile(port=server.port, allow=frozenset(Effect), **profile)  # type: ignore[arg-type]
        chosen = cases("group:claims,group:sanity,ps3.8/9.3.3.3/nothing-not-asked-for")
        return report.to_json(await run_scp(made, chosen, QUICK))


async def test_claimed_beside_observed() -> None:
    text = to_markdown(json.loads(await ran(name="ACME", claims={"verification": True, "storage": ["CT"]})))
    assert text.startswith("# ACME: claimed and observed")
    [row] = [line for line in text.splitlines() if line.startswith("| verification")]
    assert row.startswith("| verification (1.2.840.10008.1.1) | yes | accepted | ")
    assert "Implicit VR Little Endian" in row
    assert "| storage CT (1.2.840.10008.5.1.4.1.1.2) | yes | refused |  |" in text
    assert "| maximum PDU length | nothing | 16384 |" in text
    assert "| C-ECHO | 0000H" in text
    assert "| kit/claims/accepted | shall | fail | refused-storage-ct |" in text
    assert "worklist" not in text  # neither claimed nor asked for


async def test_a_run_without_claims_and_a_deviation() -> None:
    text = to_markdown(json.loads(await ran("ac-unasked-role")))
    assert "| verification (1.2.840.10008.1.1) | nothing | accepted |" in text
    assert "| ps3.8/9.3.3.3/nothing-not-asked-for | shall | fail | unasked |" in text


async def test_what_a_client_proposes_is_not_said_to_be_accepted() -> None:
    data = json.loads(await ran())
    data["role"] = "scu"
    [row] = [line for line in to_markdown(data).splitlines() if line.startswith("| verification")]
    assert row.startswith("| verification (1.2.840.10008.1.1) | nothing | proposed | ")


async def test_hostile_names_are_text() -> None:
    text = to_markdown(json.loads(await ran(name=HOSTILE, version=HOSTILE)))
    head = text.splitlines()[0]
    assert "<b>" not in head.replace("\\<b\\>", "")
    assert "\x1b" not in text
    assert "[a](b)" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in rows)


async def test_the_command(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(await ran(), "utf-8")
    words = [sys.executable, "-m", "aiodicom", "conformance", "statement", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout == to_markdown(json.loads(path.read_text("utf-8")))
