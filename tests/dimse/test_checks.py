"""What a message must agree with: its context, its role, its request."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aiodicom.dimse import (
    CEchoRQ,
    CFindRQ,
    CGetRQ,
    CMoveRQ,
    Context,
    CStoreRQ,
    NActionRQ,
    NCreateRQ,
    NDeleteRQ,
    NEventReportRQ,
    NGetRQ,
    NSetRQ,
    Request,
)
from aiodicom.dimse import messages as m
from aiodicom.dimse.checks import failed_list, may_invoke, may_perform, refusal, response_fault, sop_class
from aiodicom.dimse.messages import REQUESTS, RESPONSES
from aiodicom.dimse.status import Category, categorize
from hypothesis import given
from hypothesis import strategies as st
from pair import CT, FIND, GET, IMPLICIT, MOVE, MPPS, VERIFICATION
from strategies_dimse import US

PERFORMER = Context(1, CT, IMPLICIT, scu=False, scp=True)
INVOKER = Context(1, CT, IMPLICIT, scu=True, scp=False)
NORMALIZED = {"requested_sop_class_uid": MPPS, "requested_sop_instance_uid": "1.2.3"}
GOOD: list[tuple[str, Request]] = [
    (VERIFICATION, CEchoRQ(message_id=1)),
    (CT, CStoreRQ(message_id=1, affected_sop_class_uid=CT, affected_sop_instance_uid="1.2.3")),
    (FIND, CFindRQ(message_id=1, affected_sop_class_uid=FIND)),
    (GET, CGetRQ(message_id=1, affected_sop_class_uid=GET)),
    (MOVE, CMoveRQ(message_id=1, affected_sop_class_uid=MOVE, move_destination="AE")),
    (MPPS, NGetRQ(message_id=1, **NORMALIZED)),
    (MPPS, NSetRQ(message_id=1, **NORMALIZED)),
    (MPPS, NActionRQ(message_id=1, action_type_id=1, **NORMALIZED)),
    (MPPS, NCreateRQ(message_id=1, affected_sop_class_uid=MPPS)),
    (MPPS, NDeleteRQ(message_id=1, **NORMALIZED)),
]
REPORT = NEventReportRQ(
    message_id=1, affected_sop_class_uid=MPPS, affected_sop_instance_uid="1.2.3", event_type_id=1
)


def named(value: object) -> str:
    return type(value).__name__


def test_every_request_is_here() -> None:
    assert {type(request) for _, request in GOOD} | {NEventReportRQ} == set(REQUESTS.values())


@pytest.mark.parametrize(("uid", "request_"), GOOD, ids=named)
def test_a_request_where_it_belongs(uid: str, request_: Request) -> None:
    context = replace(PERFORMER, abstract_syntax=uid)
    assert refusal(context, request_) is None
    assert sop_class(request_) == uid


@pytest.mark.parametrize(("uid", "request_"), GOOD, ids=named)
def test_a_request_to_who_is_not_the_scp(uid: str, request_: Request) -> None:
    context = replace(INVOKER, abstract_syntax=uid)
    found = refusal(context, request_)
    assert found is not None
    assert found[0] == 0x0122


def test_an_event_report_goes_the_other_way() -> None:
    assert refusal(replace(INVOKER, abstract_syntax=MPPS), REPORT) is None
    found = refusal(replace(PERFORMER, abstract_syntax=MPPS), REPORT)
    assert found is not None
    assert found[0] == 0x0122


@pytest.mark.parametrize(("uid", "request_"), GOOD[1:5], ids=named)
@pytest.mark.parametrize("other", [CT, FIND, GET, MOVE, VERIFICATION])
def test_another_sop_class_than_the_contexts(other: str, uid: str, request_: Request) -> None:
    found = refusal(replace(PERFORMER, abstract_syntax=other), request_)
    assert (found is None) == (other == uid)
    assert found is None or found[0] == 0x0122


def test_a_normalized_request_may_name_a_class_of_a_meta_sop_class() -> None:
    request_ = NGetRQ(message_id=1, requested_sop_class_uid="1.2.9", requested_sop_instance_uid="1.2.3")
    assert refusal(replace(PERFORMER, abstract_syntax=MPPS), request_) is None


@pytest.mark.parametrize(("uid", "request_"), GOOD[1:], ids=named)
def test_verification_performs_nothing_but_echo(uid: str, request_: Request) -> None:
    fields = {
        name: VERIFICATION
        for name in ("affected_sop_class_uid", "requested_sop_class_uid")
        if hasattr(request_, name)
    }
    found = refusal(replace(PERFORMER, abstract_syntax=VERIFICATION), replace(request_, **fields))  # type: ignore[arg-type]
    assert found is not None
    assert found[0] == 0x0211


def test_an_echo_names_the_verification_class() -> None:
    found = refusal(
        replace(PERFORMER, abstract_syntax=VERIFICATION), CEchoRQ(message_id=1, affected_sop_class_uid=CT)
    )
    assert found is not None
    assert found[0] == 0x0122


@pytest.mark.parametrize("uid", [CT, FIND, GET, MOVE, MPPS])
def test_echo_belongs_to_verification(uid: str) -> None:
    found = refusal(replace(PERFORMER, abstract_syntax=uid), CEchoRQ(message_id=1))
    assert found is not None
    assert found[0] == 0x0122


@pytest.mark.parametrize(("uid", "request_"), GOOD, ids=named)
def test_the_data_set_a_request_must_have(uid: str, request_: Request) -> None:
    found = refusal(replace(PERFORMER, abstract_syntax=uid), replace(request_, has_dataset=False))
    needs = isinstance(request_, CStoreRQ | CFindRQ | CGetRQ | CMoveRQ | NSetRQ)
    assert found == ((0x0212, "request without its data set") if needs else None)


@given(st.booleans(), st.booleans(), st.sampled_from(sorted(REQUESTS)))
def test_who_may_invoke_may_not_be_asked(scu: bool, scp: bool, field: int) -> None:
    """What one side may send, the other with the opposite roles may be sent."""
    here, there = replace(INVOKER, scu=scu, scp=scp), replace(INVOKER, scu=scp, scp=scu)
    assert may_invoke(here, field) == may_perform(there, field)
    assert may_invoke(here, field) == (scp if field == 0x0100 else scu)


@given(st.sampled_from(sorted(REQUESTS)), st.sampled_from(list(RESPONSES.values())), US)
def test_a_response_fits_its_request(field: int, kind: type, status: int) -> None:
    response = kind(message_id_being_responded_to=1, status=status)
    fits = kind.command_field == field | 0x8000  # type: ignore[attr-defined]
    pending = categorize(status) is Category.PENDING
    may_be_pending = field in (0x0020, 0x0010, 0x0021)
    assert (response_fault(field, response) is None) == (fits and (may_be_pending or not pending))


@pytest.mark.parametrize(
    ("syntax", "head"),
    [
        ("1.2.840.10008.1.2", b"\x08\0\x58\0\x0a\0\0\0"),
        ("1.2.840.10008.1.2.1", b"\x08\0\x58\0UI\x0a\0"),
        ("1.2.840.10008.1.2.2", b"\0\x08\0\x58UI\0\x0a"),
        ("1.2.840.10008.1.2.1.99", None),
    ],
)
def test_a_failed_list_inside_a_command_set_is_a_data_set(syntax: str, head: bytes | None) -> None:
    """As Orthanc sends it, in each transfer syntax of a context but the deflated one."""
    response = m.CGetRSP(message_id_being_responded_to=1, status=0xB000)
    value = b"1.2.3\\1.2\0"
    command = bytearray(m.encode_message(response) + b"\x08\0\x58\0\x0a\0\0\0" + value)
    assert failed_list(response, command, syntax) == (None if head is None else head + value)
    assert failed_list(response, bytearray(m.encode_message(response)), syntax) is None
