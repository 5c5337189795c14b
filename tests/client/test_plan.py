"""What a retrieve proposes, by what the query told."""

from __future__ import annotations

import pytest
from aiodicom.client.planning import Plan, Target
from aiodicom.dimse.contexts import MAX_CONTEXTS
from aiodicom.dimse.levels import Level, Root, get_model
from aiodicom.dimse.sop_classes import TRANSFER_SYNTAXES

CT = "1.2.840.10008.5.1.4.1.1.2"
PRIVATE = "1.2.840.113619.4.27"
PRIVATE_SYNTAX = "1.2.840.113619.5.2"


def plan(*targets: Target) -> Plan:
    return Plan(Level.SERIES, Root.STUDY, list(targets))


def told(classes: set[str], syntaxes: set[str]) -> Target:
    return Target("1.2", {}, ("1.2.3",), frozenset(classes), frozenset(syntaxes))


def test_a_class_that_was_told_gets_one_context_a_transfer_syntax() -> None:
    model, *storage = plan(told({CT}, {PRIVATE_SYNTAX})).proposals()
    assert model.abstract_syntax == get_model(Root.STUDY)
    assert not model.scp_role
    assert [p.transfer_syntaxes for p in storage] == [(PRIVATE_SYNTAX,), *((s,) for s in TRANSFER_SYNTAXES)]
    assert all(p.abstract_syntax == CT and p.scp_role for p in storage)


@pytest.mark.parametrize("count", [1, 7, 8, 60, 126, 127])
def test_every_class_and_syntax_is_proposed_within_the_limit(count: int) -> None:
    classes = {f"1.2.840.10008.5.1.4.1.1.999.{n}" for n in range(count)}
    proposals = plan(told(classes, {PRIVATE_SYNTAX})).proposals()
    assert len(proposals) <= MAX_CONTEXTS
    offered: dict[str, set[str]] = {}
    for p in proposals[1:]:
        offered.setdefault(p.abstract_syntax, set()).update(p.transfer_syntaxes)
    assert offered == {uid: {PRIVATE_SYNTAX, *TRANSFER_SYNTAXES} for uid in classes}


def test_an_unknown_target_does_not_cost_a_known_one_its_syntaxes() -> None:
    proposals = plan(told({PRIVATE}, {PRIVATE_SYNTAX}), Target("1.3", {})).proposals()
    assert len(proposals) == MAX_CONTEXTS
    assert any(p.abstract_syntax == PRIVATE and p.transfer_syntaxes == (PRIVATE_SYNTAX,) for p in proposals)
    assert any(p.abstract_syntax == CT for p in proposals)


def test_nothing_known_proposes_the_standards_classes() -> None:
    proposals = plan(Target("1.3", {})).proposals()
    assert len(proposals) == MAX_CONTEXTS
    assert proposals[1].abstract_syntax == CT
    assert set(proposals[1].transfer_syntaxes) == set(TRANSFER_SYNTAXES)


def test_what_is_expected_is_known_only_when_every_target_was_found() -> None:
    assert plan(told({CT}, set()), Target("1.3", {})).expected is None
    assert plan(told({CT}, set()), told({CT}, set())).expected == ["1.2.3"]
