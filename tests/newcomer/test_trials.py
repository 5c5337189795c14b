"""The trials of newcomers: CI runs each from the wheel in a fresh environment; this sees that it does."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def test_there_are_four_and_ci_runs_each() -> None:
    trials = sorted(HERE.glob("trial_*.py"))
    assert [one.stem.removeprefix("trial_") for one in trials] == [
        "application",
        "manager",
        "matlab",
        "tester",
    ]
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert re.search(r"newcomer=\$PWD/tests/newcomer\n", script)
    assert 'for trial in "$newcomer"/trial_*.py; do venv/bin/python -I "$trial"; done' in script
    for one in trials:
        text = one.read_text("utf-8")
        compile(text, str(one), "exec")
        assert "import pytest" not in text
        assert text.rstrip().endswith(("asyncio.run(main())", 'print("tester: done")'))
