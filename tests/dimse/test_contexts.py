"""Presentation contexts from both sides (PS3.7 D.3.3.4, PS3.8 9.3.2.2 and 9.3.3.2)."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from aiodicom.dimse import Context, Proposal, Supported, build_contexts
from aiodicom.dimse.contexts import acceptor_contexts, describe_context_result, prefer, requestor_contexts
from aiodicom.pdu import (
    AAssociateAC,
    AAssociateRQ,
    Deviation,
    LocalProtocolError,
    PresentationContextAC,
    PresentationContextRQ,
    RoleSelection,
    decode,
    encode,
)
from aiodicom.pdu.uids import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN as DEFLATED
from aiodicom.pdu.uids import EXPLICIT_VR_BIG_ENDIAN as BIG
from hypothesis import given, settings
from hypothesis import strategies as st
from pair import CT, EXPLICIT, IMPLICIT, VERIFICATION, answer, request
from strategies import associate_requests

JPEG = "1.2.840.10008.1.2.4.50"


# --- roles: PS3.7 Table D.3-11 and the default of D.3.3.4


def asked_and_given(
    asked: tuple[bool, bool] | None, given: tuple[bool, bool] | None
) -> tuple[AAssociateRQ, AAssociateAC]:
    plain = request([Proposal(CT, (IMPLICIT,))])
    roles = () if asked is None else (RoleSelection(CT, *asked),)
    rq = replace(plain, user_information=replace(plain.user_information, roles=roles))
    return rq, answer(rq, roles=() if given is None else (RoleSelection(CT, *given),))


CHOICES: list[tuple[bool, bool] | None] = [None, *itertools.product([False, True], repeat=2)]  # type: ignore[list-item]


@pytest.mark.parametrize("asked", CHOICES)
@pytest.mark.parametrize("given_", CHOICES)
def test_both_sides_see_the_same_roles(
    asked: tuple[bool, bool] | None, given_: tuple[bool, bool] | None
) -> None:
    """A role is had when both said so; without both items the requestor is SCU and the acceptor SCP."""
    rq, ac = asked_and_given(asked, given_)
    if asked is None or given_ is None:
        scu, scp = True, False
    else:
        scu, scp = asked[0] and given_[0], asked[1] and given_[1]
    assert requestor_contexts(rq, ac, [], lenient_roles=False) == {1: Context(1, CT, IMPLICIT, scu, scp)}
    assert acceptor_contexts(rq, ac) == {1: Context(1, CT, IMPLICIT, scp, scu)}


@pytest.mark.parametrize("asked", CHOICES)
@pytest.mark.parametrize("given_", CHOICES)
def test_lenience_fills_in_what_the_answer_left_out(
    asked: tuple[bool, bool] | None, given_: tuple[bool, bool] | None
) -> None:
    rq, ac = asked_and_given(asked, given_)
    strict = requestor_contexts(rq, ac, [], lenient_roles=False)[1]
    lenient = requestor_contexts(rq, ac, [], lenient_roles=True)[1]
    if asked is not None and asked[1] and given_ is None:
        assert lenient == replace(strict, scp=True, roles_assumed=True)
    else:
        assert lenient == strict


def test_a_role_is_that_of_its_sop_class() -> None:
    rq = request([Proposal(CT, (IMPLICIT,), scp_role=True), Proposal(VERIFICATION, (IMPLICIT,))])
    found = requestor_contexts(rq, answer(rq), [], lenient_roles=False)
    assert [(c.scu, c.scp) for c in found.values()] == [(True, True), (True, False)]


# --- what the answer may say


def results(*contexts: PresentationContextAC) -> tuple[AAssociateRQ, AAssociateAC]:
    rq = request([Proposal(VERIFICATION, (IMPLICIT, EXPLICIT)), Proposal(CT, (EXPLICIT,))])
    return rq, replace(answer(rq), presentation_contexts=contexts)


@pytest.mark.parametrize("result", [1, 2, 3, 4, 5, 255])
def test_anything_but_acceptance_is_no_context(result: int) -> None:
    rq, ac = results(PresentationContextAC(1, result, IMPLICIT), PresentationContextAC(3, 0, EXPLICIT))
    assert list(requestor_contexts(rq, ac, [], lenient_roles=True)) == [3]
    assert list(acceptor_contexts(rq, ac)) == [3]


@pytest.mark.parametrize("syntax", [BIG, "", "1.2.3"])
def test_a_syntax_that_was_not_proposed(syntax: str) -> None:
    rq, ac = results(PresentationContextAC(1, 0, syntax), PresentationContextAC(3, 0, EXPLICIT))
    noted: list[Deviation] = []
    assert list(requestor_contexts(rq, ac, noted, lenient_roles=True)) == [3]
    assert [d.clause for d in noted] == ["PS3.8 9.3.3.2"]
    with pytest.raises(LocalProtocolError, match="not proposed in"):
        acceptor_contexts(rq, ac)


@pytest.mark.parametrize("context_id", [5, 2, 0, 255])
def test_a_context_that_was_not_proposed(context_id: int) -> None:
    rq, ac = results(
        PresentationContextAC(1, 0, IMPLICIT),
        PresentationContextAC(3, 0, EXPLICIT),
        PresentationContextAC(context_id, 0, IMPLICIT),
    )
    noted: list[Deviation] = []
    assert list(requestor_contexts(rq, ac, noted, lenient_roles=True)) == [1, 3]
    assert [d.message for d in noted] == [f"context {context_id} was answered but not proposed"]
    with pytest.raises(LocalProtocolError, match=f"context {context_id}"):
        acceptor_contexts(rq, ac)


def test_a_context_left_unanswered_is_noted() -> None:
    rq, ac = results(PresentationContextAC(1, 0, EXPLICIT))
    noted: list[Deviation] = []
    assert list(requestor_contexts(rq, ac, noted, lenient_roles=True)) == [1]
    assert [d.clause for d in noted] == ["PS3.8 9.3.3.2"]


_IDS = st.sampled_from([1, 3, 5])
_SYNTAXES = st.sampled_from([IMPLICIT, EXPLICIT, JPEG])
_PROPOSED = st.builds(
    PresentationContextRQ,
    _IDS,
    st.sampled_from([CT, VERIFICATION]),
    st.lists(_SYNTAXES, min_size=1).map(tuple),
)
_ANSWERED = st.builds(PresentationContextAC, _IDS, st.sampled_from([0, 0, 0, 1, 4]), _SYNTAXES)


@given(st.lists(_PROPOSED), st.lists(_ANSWERED), st.booleans())
def test_any_answer_to_any_request(
    asked: list[PresentationContextRQ], given_: list[PresentationContextAC], lenient: bool
) -> None:
    """What is open was proposed and accepted, in a syntax proposed, under its own id."""
    rq = replace(request(), presentation_contexts=tuple(asked))
    ac = replace(answer(rq), presentation_contexts=tuple(given_))
    found = requestor_contexts(rq, ac, [], lenient_roles=lenient)
    proposed = {c.context_id: c for c in rq.presentation_contexts}
    accepted = {c.context_id for c in ac.presentation_contexts if c.result == 0}
    for context_id, context in found.items():
        assert context.context_id == context_id
        assert context_id in accepted
        assert context.abstract_syntax == proposed[context_id].abstract_syntax
        assert context.transfer_syntax in proposed[context_id].transfer_syntaxes


@pytest.mark.parametrize("result", range(6))
def test_results_in_words(result: int) -> None:
    words = describe_context_result(result)
    assert (
        words
        == (
            [
                "accepted",
                "rejected by the user",
                "rejected, no reason given",
                "abstract syntax not supported",
                "transfer syntaxes not supported",
                "unknown result 5",
            ][result]
        )
    )


# --- proposing


@pytest.mark.parametrize("count", [1, 127, 128])
def test_up_to_128_contexts_with_odd_ids(count: int) -> None:
    contexts, roles = build_contexts([Proposal(f"1.2.{n}") for n in range(count)])
    assert [c.context_id for c in contexts] == list(range(1, 2 * count, 2))
    assert roles == ()
    rq = request([Proposal(f"1.2.{n}") for n in range(count)])
    raw = encode(rq)
    assert decode(raw[0], raw[6:]) == rq


def test_a_129th_context_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="129"):
        build_contexts([Proposal(f"1.2.{n}") for n in range(129)])


def test_the_same_proposal_twice_is_one_context() -> None:
    contexts, _ = build_contexts([Proposal(CT), Proposal(CT), Proposal(CT, (JPEG,))])
    assert [(c.context_id, c.transfer_syntaxes) for c in contexts] == [
        (1, (EXPLICIT, IMPLICIT)),
        (3, (JPEG,)),
    ]


def test_one_role_item_a_sop_class() -> None:
    _, roles = build_contexts([Proposal(CT, scp_role=True), Proposal(CT, (JPEG,), scp_role=True)])
    assert roles == (RoleSelection(CT, True, True),)
    _, roles = build_contexts([Proposal(CT, scp_role=True, scu_role=False)])
    assert roles == (RoleSelection(CT, False, True),)


# --- answering


SUPPORTED = Supported({CT: (IMPLICIT, EXPLICIT, JPEG), VERIFICATION: ()})


@pytest.mark.parametrize(
    ("uid", "proposed", "result", "chosen"),
    [
        (CT, (IMPLICIT,), 0, IMPLICIT),
        (CT, (IMPLICIT, EXPLICIT), 0, EXPLICIT),
        (CT, (JPEG, IMPLICIT), 0, IMPLICIT),
        (CT, (BIG, JPEG), 0, JPEG),
        (CT, (BIG,), 4, None),
        (CT, (), 4, None),
        ("1.2.3", (IMPLICIT,), 3, None),
        (VERIFICATION, ("1.2.3.4",), 0, "1.2.3.4"),
        (VERIFICATION, (DEFLATED,), 4, None),
        (VERIFICATION, (DEFLATED, BIG), 0, BIG),
    ],
)
def test_the_answer_to_a_proposal(
    uid: str, proposed: tuple[str, ...], result: int, chosen: str | None
) -> None:
    found = SUPPORTED.answer(PresentationContextRQ(7, uid, proposed))
    assert (found.context_id, found.result) == (7, result)
    assert chosen is None or found.transfer_syntax == chosen


def test_deflate_is_taken_only_where_it_is_listed() -> None:
    listed = Supported({CT: (DEFLATED,)})
    assert listed.answer(PresentationContextRQ(1, CT, (DEFLATED,))).result == 0
    any_syntax = Supported({CT: ()}, excluded_transfer_syntaxes=frozenset())
    assert any_syntax.answer(PresentationContextRQ(1, CT, (DEFLATED,))).result == 0


def test_unknown_abstract_syntaxes_by_a_rule() -> None:
    promiscuous = Supported({}, accept_unknown=lambda uid: () if uid.startswith("1.2.") else None)
    assert promiscuous.answer(PresentationContextRQ(1, "1.2.9", (JPEG,))).result == 0
    assert promiscuous.answer(PresentationContextRQ(1, "1.3.9", (JPEG,))).result == 3


@given(st.lists(st.sampled_from([EXPLICIT, IMPLICIT, BIG, DEFLATED, JPEG, "1.2.3"]), unique=True))
def test_the_order_of_preference(proposed: list[str]) -> None:
    found = prefer(proposed)
    assert sorted(found) == sorted(proposed)
    rank = [EXPLICIT, IMPLICIT, None, BIG, DEFLATED]
    places = [rank.index(uid) if uid in rank else rank.index(None) for uid in found]
    assert places == sorted(places)
    assert [u for u in found if u not in rank] == [u for u in proposed if u not in rank]


@settings(max_examples=30)
@given(associate_requests(), st.booleans())
def test_an_answer_we_build_is_an_answer_we_take(rq: AAssociateRQ, any_role: bool) -> None:
    supported = Supported({}, accept_unknown=lambda uid: (), any_scp_role=any_role)
    ac = replace(
        answer(rq, roles=supported.roles(rq)),
        presentation_contexts=tuple(supported.answer(c) for c in rq.presentation_contexts),
    )
    here = acceptor_contexts(rq, ac)
    noted: list[Deviation] = []
    there = requestor_contexts(rq, ac, noted, lenient_roles=False)
    assert noted == []
    assert {i: (c.scu, c.scp) for i, c in here.items()} == {i: (c.scp, c.scu) for i, c in there.items()}
    assert all(role.scp_role <= any_role for role in ac.user_information.roles)


def test_scp_roles_are_granted_where_listed() -> None:
    rq = request([Proposal(CT, scp_role=True), Proposal("1.2.3", scp_role=True)])
    supported = Supported({}, scp_roles=frozenset({CT}))
    assert supported.roles(rq) == (RoleSelection(CT, True, True), RoleSelection("1.2.3", True, False))
