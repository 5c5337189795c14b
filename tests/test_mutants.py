"""The table of mutants is of the product as it is: each change can be made, and its tests are there."""

from __future__ import annotations

from pathlib import Path

import pytest
from mutants.changes import MUTANTS, SURVIVE, Mutant

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: f"{one.file} {one.old.strip()[:40]!r}")
def test_a_mutant_can_be_made(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text("utf-8").count(mutant.old) == 1
    assert mutant.new != mutant.old
    assert all((ROOT / "tests" / one).exists() for one in mutant.tests.split())


def test_what_may_survive_is_a_mutant() -> None:
    assert SURVIVE.keys() <= {(one.file, one.old) for one in MUTANTS}
    assert len(SURVIVE) <= 2
