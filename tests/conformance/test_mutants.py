"""Each one-line change of ours is noticed by a case of its clause while the sanity case still passes.

AIODICOM_MUTANTS=K/N tries the K-th of N parts; unset it is a tenth, as with tests/mutants.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import kit_mutants
import pytest
from aiodicom.conformance import Case, Effect, Profile, all_cases
from aiodicom.conformance.caller import CommandCaller
from aiodicom.conformance.calling import ScuRunner
from aiodicom.conformance.runner import Options, Result, Runner
from kit_mutants import FIELDS, MUTANTS, Mutant
from peers.judged import serving

PART, PARTS = map(int, os.environ.get("AIODICOM_MUTANTS", "4/10").split("/"))
OPTIONS = Options(repeats=0, recovery=10)
PROFILE = Profile(allow=frozenset(Effect))
CASES = {case.id: case for case in all_cases()}
SCP_SANITY, SCU_SANITY = CASES["kit/sanity/echo-and-release"], CASES["scu:kit/sanity/request-and-release"]
PATIENCE = 5.0


def test_there_are_enough_and_each_names_its_case() -> None:
    assert len(MUTANTS) >= 80
    assert {mutant.case for mutant in MUTANTS} <= CASES.keys()
    root = Path(__file__).parents[2]
    for mutant in FIELDS:
        assert (root / mutant.file).read_text("utf-8").count(mutant.old) == 1, mutant
        assert mutant.old != mutant.new


async def of_server(mutant: Mutant, case: Case, folder: Path) -> tuple[Result, Result]:
    with serving(folder, (mutant.file, mutant.old, mutant.new)) as port:
        runner = Runner(Profile(port=port, allow=frozenset(Effect)), OPTIONS)
        assert await runner.calibrate()
        runner.patience = PATIENCE
        return await runner.one(SCP_SANITY), await runner.one(case)


async def of_client(mutant: Mutant, case: Case) -> tuple[Result, Result]:
    script = Path(kit_mutants.__file__)
    words = [
        sys.executable,
        str(script),
        *(w.replace("{", "{{").replace("}", "}}") for w in (mutant.file, mutant.old, mutant.new)),
    ]
    caller = CommandCaller(shlex.join([*words, "--", "echo"]) + " {host} {port}")
    runner = ScuRunner(PROFILE, OPTIONS, caller)
    runner.patience = PATIENCE
    assert await runner.calibrate()
    try:
        return await runner.one(SCU_SANITY), await runner.one(case)
    finally:
        await runner.listener.close()


@pytest.mark.parametrize("mutant", MUTANTS[PART - 1 :: PARTS], ids=lambda m: f"{m.file}-{m.case}")
async def test_a_mutant_is_noticed_by_its_case(mutant: Mutant, tmp_path: Path) -> None:
    case = CASES[mutant.case]
    role = of_client(mutant, case) if case.role == "scu" else of_server(mutant, case, tmp_path)
    sanity, result = await role
    assert not sanity.finding(), f"a plain echo fails already: {sanity.verdict}, {sanity.outcome}"
    assert result.finding(strict=True), f"{result.verdict}, {result.outcome}"
