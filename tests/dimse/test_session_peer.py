"""What a session makes of what its peer sends: messages, refusals, faults, deviations (PS3.7, PS3.8 E)."""

from __future__ import annotations

import itertools
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from aiodicom.dimse import (
    CCancelRQ,
    CEchoRQ,
    CEchoRSP,
    CFindRQ,
    CFindRSP,
    CGetRQ,
    CGetRSP,
    CMoveRQ,
    CStoreRQ,
    CStoreRSP,
    Established,
    Message,
    MessageReceived,
    NEventReportRQ,
    NGetRQ,
    NGetRSP,
    NSetRQ,
    Proposal,
    Released,
    ReleaseRequested,
    RequestRefused,
    Session,
    SessionLimits,
    decode_message,
    encode_message,
)
from aiodicom.dimse.command import encode_command
from aiodicom.pdu import (
    PDV,
    AAbort,
    AAssociateAC,
    AbortIndication,
    AReleaseRP,
    AReleaseRQ,
    AsyncOperationsWindow,
    LocalProtocolError,
    PDataTF,
    PresentationContextAC,
    RoleSelection,
    SOPClassExtendedNegotiation,
    State,
    UserIdentityAC,
    encode,
)
from hypothesis import given
from hypothesis import strategies as st
from pair import (
    CT,
    CT_ID,
    ECHO_ID,
    FIND,
    FIND_ID,
    GET,
    GET_ID,
    IMPLICIT,
    MOVE,
    MOVE_ID,
    MPPS,
    MPPS_ID,
    VERIFICATION,
    Data,
    Fault,
    answer,
    command_pdv,
    data_pdv,
    ends,
    held,
    open_session,
    pdata,
    request,
    sent_bytes,
    sent_pdus,
    sent_pdvs,
    tell,
    unlimited,
    wire,
)
from strategies import cut, sizes
from strategies_dimse import US

ECHO = CEchoRQ(message_id=1)
STORE = CStoreRQ(message_id=2, affected_sop_class_uid=CT, affected_sop_instance_uid="1.2.3")
QUERY = CFindRQ(message_id=3, affected_sop_class_uid=FIND)
INVALID = 6  # PS3.8 Table 9-26: invalid PDU parameter value

Build = Callable[..., Session]


def received(told: list[object]) -> list[Message]:
    return [event.message for event in told if isinstance(event, MessageReceived)]


def refused(told: list[object]) -> list[tuple[int, int]]:
    return [(e.command_field, e.status) for e in told if isinstance(e, RequestRefused)]


def answers(session: Session) -> list[Message]:
    """The messages, without data sets, that wait to be sent."""
    return [decode_message(pdv.data, []) for pdv in sent_pdvs(session) if pdv.command]


def assert_aborted(session: Session, told: list[object], reason: int = INVALID, text: str = "") -> None:
    """One fault told, last; one A-ABORT of the service provider sent, last; nothing taken any more."""
    assert len(ends(told)) == 1
    fault = told[-1]
    assert isinstance(fault, Fault)
    assert (fault.kind, fault.reason, fault.sent) == ("RemoteProtocolError", reason, True)
    assert text in fault.text
    pdus = sent_pdus(session)
    assert [pdu for pdu in pdus if isinstance(pdu, AAbort)] == [AAbort(2, reason)]
    assert pdus[-1] == AAbort(2, reason)
    assert session.state is State.STA13
    assert tell(session, [wire(ECHO_ID, ECHO), encode(AReleaseRQ())]) == []
    assert session.connection_lost() == []


# --- any shape of P-DATA that PS3.8 Annex E allows


def test_command_and_data_in_one_pdu() -> None:
    session = open_session(requestor=False)
    told = tell(session, [pdata(command_pdv(CT_ID, STORE), data_pdv(CT_ID, b"dataset!"))])
    assert told == [MessageReceived(session.contexts[CT_ID], STORE), Data(b"dataset!", True)]


def test_several_messages_in_one_pdu() -> None:
    session = unlimited()
    told = tell(
        session,
        [
            pdata(
                command_pdv(ECHO_ID, ECHO),
                command_pdv(CT_ID, STORE),
                data_pdv(CT_ID, b"ab", last=False),
                data_pdv(CT_ID, b"cd"),
                command_pdv(FIND_ID, QUERY),
                data_pdv(FIND_ID, b""),
            )
        ],
    )
    assert received(told) == [ECHO, STORE, QUERY]
    assert [e for e in told if isinstance(e, Data)] == [Data(b"abcd", True), Data(b"", True)]


def test_a_pdu_without_pdvs_is_nothing() -> None:
    session = open_session(requestor=False)
    assert tell(session, [pdata(), wire(ECHO_ID, ECHO), pdata()])[0].message == ECHO
    assert session.established


@given(
    st.binary(max_size=200),
    st.integers(min_value=1, max_value=60),
    st.lists(st.integers(min_value=0, max_value=4), max_size=5),
    sizes(),
)
def test_any_cutting_into_pdvs_pdus_and_pieces(
    dataset: bytes, step: int, counts: list[int], pieces: list[int]
) -> None:
    """However a message is cut into PDVs, PDVs are put into PDUs and PDUs into segments, it is the same."""
    raw = encode_message(STORE)
    pdvs = [
        PDV(CT_ID, True, at + step >= len(raw), raw[at : at + step]) for at in range(0, len(raw), step)
    ] + [
        PDV(CT_ID, False, at + step >= len(dataset), dataset[at : at + step])
        for at in range(0, max(len(dataset), 1), step)
    ]
    pdus = []
    for count in itertools.cycle([*counts, 1]):
        if not pdvs:
            break
        pdus.append(pdata(*pdvs[:count]))
        pdvs = pdvs[count:]
    session = open_session(requestor=False)
    told = tell(session, cut(b"".join(pdus), pieces))
    assert told == [MessageReceived(session.contexts[CT_ID], STORE), Data(dataset, True)]
    assert not session.receiving


def test_a_last_fragment_of_no_bytes_ends_command_and_data() -> None:
    session = open_session(requestor=False)
    raw = encode_message(STORE)
    told = tell(
        session,
        [
            pdata(PDV(CT_ID, True, False, raw)),
            pdata(PDV(CT_ID, True, True, b"")),
            pdata(PDV(CT_ID, False, False, b"data")),
            pdata(PDV(CT_ID, False, True, b"")),
        ],
    )
    assert received(told) == [STORE]
    assert told[-1] == Data(b"data", True)


def test_receiving_is_true_from_the_first_byte_to_the_last() -> None:
    session = open_session(requestor=False)
    raw = wire(CT_ID, STORE, b"data")
    assert not session.receiving
    for byte in raw[:-1]:
        session.receive(bytes([byte]))
        assert session.receiving
    session.receive(raw[-1:])
    assert not session.receiving


# --- contexts and the order of fragments


@pytest.mark.parametrize("context_id", [0, 2, 13, 255])
@pytest.mark.parametrize("requestor", [True, False])
def test_a_context_that_was_not_proposed(requestor: bool, context_id: int) -> None:
    session = open_session(requestor)
    told = tell(session, [pdata(command_pdv(context_id, ECHO))])
    assert_aborted(session, told, text=f"context {context_id}")


@pytest.mark.parametrize("requestor", [True, False])
def test_a_context_that_was_not_accepted(requestor: bool) -> None:
    asked = request()
    session = open_session(requestor, asked=asked, given=answer(asked, refused=[CT_ID]))
    assert CT_ID not in session.contexts
    assert_aborted(session, tell(session, [pdata(command_pdv(CT_ID, STORE))]), text="not open")


def test_a_data_set_on_another_context_than_its_command() -> None:
    session = open_session(requestor=False)
    told = tell(session, [pdata(command_pdv(CT_ID, STORE)), pdata(data_pdv(FIND_ID, b"data"))])
    assert received(told) == [STORE]
    assert_aborted(session, told, text="another context")


def test_a_command_set_over_two_contexts() -> None:
    session = open_session(requestor=False)
    raw = encode_message(ECHO)
    told = tell(session, [pdata(PDV(ECHO_ID, True, False, raw[:20]), PDV(CT_ID, True, True, raw[20:]))])
    assert_aborted(session, told, text="two contexts")


def test_messages_on_two_contexts_interleaved() -> None:
    """Fragments of one message are not mixed with those of another (PS3.8 Annex E.1)."""
    session = open_session(requestor=False)
    told = tell(session, [pdata(command_pdv(CT_ID, STORE), command_pdv(ECHO_ID, ECHO))])
    assert received(told) == [STORE]
    assert_aborted(session, told, text="data set was awaited")


def test_data_without_a_command() -> None:
    session = open_session(requestor=False)
    assert_aborted(session, tell(session, [pdata(data_pdv(CT_ID, b"data"))]), text="without a command")


def test_data_in_the_middle_of_a_command() -> None:
    session = open_session(requestor=False)
    told = tell(session, [pdata(PDV(CT_ID, True, False, b"abcd"), data_pdv(CT_ID, b"data"))])
    assert_aborted(session, told, text="without a command")


def test_data_after_a_message_that_announced_none() -> None:
    """Command Data Set Type 0101H, and a data set comes all the same."""
    session = open_session(requestor=False)
    told = tell(session, [pdata(command_pdv(ECHO_ID, ECHO), data_pdv(ECHO_ID, b"data"))])
    assert received(told) == [ECHO]
    assert_aborted(session, told, text="without a command")


def test_an_announced_data_set_that_does_not_come() -> None:
    session = open_session(requestor=False)
    told = tell(session, [wire(CT_ID, STORE), wire(CT_ID, replace(STORE, message_id=9))])
    assert received(told) == [STORE]
    assert_aborted(session, told, text="data set was awaited")


def test_release_where_a_data_set_was_awaited() -> None:
    session = open_session(requestor=False)
    told = tell(session, [wire(CT_ID, STORE), encode(AReleaseRQ())])
    assert told[1:] == [ReleaseRequested()]
    assert sent_pdus(session) == [AReleaseRP()]


# --- command sets


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", "no Command Field"),
        (b"\0\0\0", "cut"),
        (bytes.fromhex("08001800 02000000 3100"), "no Command Field"),
        (bytes.fromhex("08001800 04000000 3100"), "(0008,0018) of 4 bytes where 2 are left"),
        (encode_command({0x0100: 0x0030, 0x0800: 0x0101}), "(0000,0110)"),
        (encode_command({0x0110: 1, 0x0800: 0x0101}), "no Command Field"),
        (encode_command({0x0100: 0x0030, 0x0110: 1}), "no Command Data Set Type"),
        (encode_command({0x0100: 0x8030, 0x0120: 1, 0x0800: 0x0101}), "(0000,0900)"),
        (encode_command({0x0100: 0x8030, 0x0900: 0, 0x0800: 0x0101}), "(0000,0120)"),
        (encode_command({0x0100: 0x0FFF, 0x0800: 0x0101}), "(0000,0120)"),
        (encode_command({0x0100: 0x9999, 0x0110: 1, 0x0800: 0x0101}), "9999H"),
        (encode_command({0x0100: 0x0002, 0x0800: 0x0101}), "0002H"),
    ],
)
def test_a_command_set_that_cannot_be_answered(raw: bytes, text: str) -> None:
    session = open_session(requestor=False)
    assert_aborted(session, tell(session, [pdata(command_pdv(ECHO_ID, raw))]), text=text)


def test_a_command_set_over_the_limit() -> None:
    limits = SessionLimits(command_length=100)
    session = open_session(requestor=False, limits=limits)
    told = tell(session, [pdata(PDV(ECHO_ID, True, False, bytes(100)))])
    assert told == []
    told = tell(session, [pdata(PDV(ECHO_ID, True, False, b"\0"))])
    assert_aborted(session, told, text="over 100 bytes")


def test_a_command_set_at_the_limit_is_taken() -> None:
    raw = encode_message(ECHO)
    session = open_session(requestor=False, limits=SessionLimits(command_length=len(raw)))
    assert received(tell(session, [pdata(command_pdv(ECHO_ID, raw))])) == [ECHO]


def test_empty_fragments_hold_no_memory() -> None:
    """Thousands of fragments that carry nothing, of commands and of data, leave nothing behind."""
    session = open_session(requestor=False)
    flood = pdata(*[PDV(CT_ID, True, False, b"")] * 2000)
    tell(session, [pdata(PDV(CT_ID, True, False, encode_message(STORE)))])
    before = held(session)
    tracemalloc.start()
    try:
        for _ in range(20):
            assert session.receive(flood) == []
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held(session) == before
    assert kept < 20_000
    assert received(tell(session, [pdata(PDV(CT_ID, True, True, b""))])) == [STORE]
    assert session.receive(pdata(*[PDV(CT_ID, False, False, b"")] * 2000)) == []
    assert tell(session, [pdata(data_pdv(CT_ID, b"end!"))]) == [Data(b"end!", True)]


def test_a_data_set_is_handed_on_and_not_held() -> None:
    session = open_session(requestor=False)
    tell(session, [wire(CT_ID, STORE)])
    part = pdata(PDV(CT_ID, False, False, bytes(100_000)))
    for _ in range(10):
        session.receive(part)
        assert held(session) == 0


# --- responses


@pytest.mark.parametrize("requestor", [True, False])
def test_a_response_to_an_unknown_message(requestor: bool) -> None:
    session = open_session(requestor)
    told = tell(session, [wire(ECHO_ID, CEchoRSP(message_id_being_responded_to=7, status=0))])
    assert_aborted(session, told, text="message 7")


def test_a_second_final_response() -> None:
    session = open_session(requestor=True)
    session.send(ECHO_ID, ECHO)
    response = wire(ECHO_ID, CEchoRSP(message_id_being_responded_to=1, status=0))
    session.data_to_send()
    told = tell(session, [response])
    assert len(received(told)) == 1
    assert_aborted(session, tell(session, [response]), text="not outstanding")


def test_a_response_of_another_kind() -> None:
    session = open_session(requestor=True)
    session.send(ECHO_ID, ECHO)
    session.data_to_send()
    told = tell(session, [wire(ECHO_ID, CStoreRSP(message_id_being_responded_to=1, status=0))])
    assert_aborted(session, told, text="another kind of request")


def test_a_response_on_another_context() -> None:
    session = open_session(requestor=True)
    session.send(ECHO_ID, ECHO)
    session.data_to_send()
    told = tell(session, [wire(CT_ID, CEchoRSP(message_id_being_responded_to=1, status=0))])
    assert_aborted(session, told, text="another context")


@pytest.mark.parametrize("status", [0xFF00, 0xFF01])
def test_a_pending_status_where_one_response_is_due(status: int) -> None:
    session = open_session(requestor=True)
    session.send(ECHO_ID, ECHO)
    session.data_to_send()
    told = tell(session, [wire(ECHO_ID, CEchoRSP(message_id_being_responded_to=1, status=status))])
    assert_aborted(session, told, text="pending")


def test_pending_responses_until_the_final_one() -> None:
    session = open_session(requestor=True)
    session.send(FIND_ID, QUERY)
    session.send_data(b"identifier", last=True)
    session.data_to_send()
    pending = CFindRSP(message_id_being_responded_to=3, status=0xFF00, has_dataset=True)
    final = CFindRSP(message_id_being_responded_to=3, status=0)
    told = tell(session, [wire(FIND_ID, pending, b"match1"), wire(FIND_ID, pending, b"match2")])
    told += tell(session, [wire(FIND_ID, final)])
    assert received(told) == [pending, pending, final]
    assert session.established


# --- requests refused with a status (PS3.7 Annex C)


def store_with(**changed: object) -> bytes:
    elements = {
        0x0002: CT,
        0x0100: 0x0001,
        0x0110: 5,
        0x0700: 0,
        0x0800: 0x0001,
        0x1000: "1.2.3",
    }
    for name, value in changed.items():
        element = int(name.removeprefix("x"), 16)
        if value is None:
            del elements[element]
        else:
            elements[element] = value  # type: ignore[assignment]
    return encode_command(elements)


REFUSALS = {
    "unknown command field": (CT_ID, store_with(x0100=0x0002), 0x0211, 0x0002),
    "no SOP class": (CT_ID, store_with(x0002=None), 0x0212, 0x0001),
    "no SOP instance": (CT_ID, store_with(x1000=None), 0x0212, 0x0001),
    "SOP class of another context": (CT_ID, store_with(x0002=FIND), 0x0122, 0x0001),
    "C-ECHO elsewhere": (CT_ID, encode_message(replace(ECHO, has_dataset=True)), 0x0122, 0x0030),
    "C-STORE on Verification": (ECHO_ID, store_with(x0002=VERIFICATION), 0x0211, 0x0001),
    "N-GET on Verification": (
        ECHO_ID,
        encode_message(
            NGetRQ(
                message_id=5,
                requested_sop_class_uid=VERIFICATION,
                requested_sop_instance_uid="1.2",
                has_dataset=True,
            )
        ),
        0x0211,
        0x0110,
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_refused_request_is_answered_once_its_data_set_is_over(case: str, step: int) -> None:
    """Its data set is dropped; the failure response goes out after it, never before."""
    context_id, command, status, field = REFUSALS[case]
    session = open_session(requestor=False)
    told = tell(session, cut(pdata(command_pdv(context_id, command)), [step]))
    assert refused(told) == [(field, status)]
    assert sent_bytes(session) == b""
    told += tell(session, cut(pdata(data_pdv(context_id, b"dropped!", last=False)), [step]))
    assert sent_bytes(session) == b""
    told += tell(session, cut(pdata(data_pdv(context_id, b"dropped!")), [step]))
    assert len(told) == 1  # the refusal: no message, no data
    pdvs = sent_pdvs(session)
    assert [(p.context_id, p.command, p.last) for p in pdvs] == [(context_id, True, True)]
    noted: list[object] = []
    response = struct.unpack_from("<HHLH", pdvs[0].data, pdvs[0].data.index(b"\0\0\0\x09"))[3]
    assert response == status
    if field != 0x0002:
        message = decode_message(pdvs[0].data, noted)  # type: ignore[arg-type]
        assert message.command_field == field | 0x8000
        assert message.status == status  # type: ignore[union-attr]
        assert not message.has_dataset
    assert session.established
    assert received(tell(session, [wire(ECHO_ID, ECHO)])) == [ECHO]


def test_the_refusal_of_an_unknown_command_field_answers_its_message_id() -> None:
    session = open_session(requestor=False)
    tell(session, [pdata(command_pdv(CT_ID, store_with(x0100=0x0002, x0800=0x0101)))])
    (pdv,) = sent_pdvs(session)
    assert bytes.fromhex("0000 2001 02000000 0500") in pdv.data  # Message ID Being Responded To
    assert bytes.fromhex("0000 0001 02000000 0280") in pdv.data  # Command Field 8002H


@pytest.mark.parametrize("request_", [STORE, QUERY, CGetRQ(message_id=4, affected_sop_class_uid=GET)])
def test_a_request_without_the_data_set_it_needs(request_: CStoreRQ | CFindRQ | CGetRQ) -> None:
    session = open_session(requestor=False)
    context_id = {CT: CT_ID, FIND: FIND_ID, GET: GET_ID}[request_.affected_sop_class_uid]
    told = tell(session, [wire(context_id, replace(request_, has_dataset=False))])
    assert refused(told) == [(request_.command_field, 0x0212)]
    assert [m.status for m in answers(session)] == [0x0212]  # type: ignore[union-attr]


def test_an_n_set_without_its_modification_list() -> None:
    """The Modification List is mandatory (PS3.7 Table 10.1-4)."""
    session = open_session(requestor=False)
    message = NSetRQ(
        message_id=4, requested_sop_class_uid=MPPS, requested_sop_instance_uid="1.2", has_dataset=False
    )
    assert refused(tell(session, [wire(MPPS_ID, message)])) == [(0x0120, 0x0212)]


def test_a_message_id_in_use() -> None:
    session = open_session(requestor=False)
    told = tell(session, [wire(ECHO_ID, ECHO), wire(ECHO_ID, ECHO)])
    assert received(told) == [ECHO]
    assert refused(told) == [(0x0030, 0x0210)]
    assert [(m.message_id_being_responded_to, m.status) for m in answers(session)] == [(1, 0x0210)]  # type: ignore[union-attr]


def test_a_message_id_is_free_again_after_the_final_response() -> None:
    session = open_session(requestor=False)
    for _ in range(3):
        assert received(tell(session, [wire(ECHO_ID, ECHO)])) == [ECHO]
        session.send(ECHO_ID, CEchoRSP(message_id_being_responded_to=1, status=0))
    assert session.established


def test_the_limit_of_outstanding_requests() -> None:
    asked = request(window=AsyncOperationsWindow(0, 0))
    session = open_session(
        requestor=False,
        limits=SessionLimits(outstanding_requests=3),
        asked=asked,
        given=answer(asked, window=AsyncOperationsWindow(0, 0)),
    )
    told = tell(session, [b"".join(wire(ECHO_ID, CEchoRQ(message_id=n)) for n in range(5))])
    assert [m.message_id for m in received(told)] == [0, 1, 2]  # type: ignore[union-attr]
    assert refused(told) == [(0x0030, 0x0213)] * 2
    assert [(m.message_id_being_responded_to, m.status) for m in answers(session)] == [  # type: ignore[union-attr]
        (3, 0x0213),
        (4, 0x0213),
    ]


def test_a_refusal_waits_for_the_end_of_a_data_set_of_ours() -> None:
    session = open_session(requestor=False)
    tell(session, [wire(FIND_ID, QUERY, b"identifier")])
    session.send(FIND_ID, CFindRSP(message_id_being_responded_to=3, status=0xFF00, has_dataset=True))
    session.send_data(b"part", last=False)
    told = tell(session, [wire(CT_ID, store_with(x0002=FIND), b"data")])
    assert refused(told) == [(0x0001, 0x0122)]
    session.send_data(b"more", last=False)
    assert [(p.command, p.last) for p in sent_pdvs(session)] == [(True, True), (False, False), (False, False)]
    session.send_data(b"last", last=True)
    pdvs = sent_pdvs(session)
    assert [(p.context_id, p.command, p.last) for p in pdvs] == [(FIND_ID, False, True), (CT_ID, True, True)]
    assert decode_message(pdvs[1].data, []).status == 0x0122  # type: ignore[union-attr]


def test_refusals_that_wait_are_bounded() -> None:
    """A peer that sends refused requests while a data set of ours is under way cannot fill memory."""
    session = open_session(requestor=False, limits=SessionLimits(outstanding_requests=8))
    tell(session, [wire(FIND_ID, QUERY, b"identifier")])
    session.send(FIND_ID, CFindRSP(message_id_being_responded_to=3, status=0xFF00, has_dataset=True))
    session.data_to_send()
    bad = wire(CT_ID, store_with(x0002=FIND, x0800=0x0101))
    told: list[object] = []
    for _ in range(100):
        told += tell(session, [bad])
        assert held(session) < 5000
    assert_aborted(session, told)


@pytest.mark.parametrize("uid", [b"1.2.\xe9", b"\xff\xfe", b"1." + b"2" * 70])
def test_a_refused_request_whose_uids_cannot_be_sent_back(uid: bytes) -> None:
    """What cannot be sent is left out of the answer; nothing is raised."""
    session = open_session(requestor=False)
    value = uid + b"\0" * (len(uid) % 2)
    raw = struct.pack("<HHL", 0, 0x0002, len(value)) + value + store_with(x0002=None, x0800=0x0101)[12:]
    assert refused(tell(session, [pdata(command_pdv(CT_ID, raw))])) == [(0x0001, 0x0122)]
    (response,) = answers(session)
    assert response.affected_sop_class_uid is None  # type: ignore[union-attr]


# --- cancelling


def test_a_cancel_of_a_running_query() -> None:
    session = open_session(requestor=False)
    cancel = CCancelRQ(message_id_being_responded_to=3)
    told = tell(session, [wire(FIND_ID, QUERY, b"identifier"), wire(FIND_ID, cancel)])
    assert received(told) == [QUERY, cancel]
    assert sent_bytes(session) == b""


@pytest.mark.parametrize("has_dataset", [False, True], ids=["", "with a data set"])
@pytest.mark.parametrize("what", ["late", "foreign", "not cancellable", "other context"])
def test_a_cancel_that_cancels_nothing_is_ignored(what: str, has_dataset: bool) -> None:
    asked = request(window=AsyncOperationsWindow(3, 1))
    session = open_session(
        requestor=False, asked=asked, given=answer(asked, window=AsyncOperationsWindow(3, 1))
    )
    tell(session, [wire(FIND_ID, QUERY, b"identifier")])
    context_id, message_id = FIND_ID, 3
    if what == "late":
        session.send(FIND_ID, CFindRSP(message_id_being_responded_to=3, status=0))
    elif what == "foreign":
        message_id = 99
    elif what == "not cancellable":
        tell(session, [wire(ECHO_ID, ECHO)])
        context_id, message_id = ECHO_ID, 1
    else:
        context_id = ECHO_ID
    session.data_to_send()
    cancel = CCancelRQ(message_id_being_responded_to=message_id, has_dataset=has_dataset)
    told = tell(session, [wire(context_id, cancel, b"data" if has_dataset else None)])
    assert told == []
    assert sent_bytes(session) == b""
    assert session.established
    assert not session.receiving
    assert received(tell(session, [wire(ECHO_ID, CEchoRQ(message_id=8))])) == [CEchoRQ(message_id=8)]


# --- roles


def roles_case(requestor: bool, granted: bool, lenient: bool) -> Session:
    """A session whose requestor asked for the SCP role of CT; `granted` says whether the answer has it."""
    asked = request()
    given = answer(asked, roles=None if granted else ())
    return open_session(requestor, asked=asked, given=given, lenient_roles=lenient)


def test_a_store_from_the_acceptor_with_the_role_granted() -> None:
    session = roles_case(requestor=True, granted=True, lenient=False)
    assert received(tell(session, [wire(CT_ID, STORE, b"data")])) == [STORE]
    assert list(session.deviations) == []


def test_a_store_from_the_acceptor_with_the_role_left_out() -> None:
    session = roles_case(requestor=True, granted=False, lenient=True)
    assert received(tell(session, [wire(CT_ID, STORE, b"data")])) == [STORE]
    assert [d.clause for d in session.deviations] == ["PS3.7 D.3.3.4"]


def test_a_store_from_the_acceptor_without_the_role() -> None:
    session = roles_case(requestor=True, granted=False, lenient=False)
    assert refused(tell(session, [wire(CT_ID, STORE, b"data")])) == [(0x0001, 0x0122)]
    assert [m.status for m in answers(session)] == [0x0122]  # type: ignore[union-attr]


def test_our_own_store_as_acceptor_follows_what_we_granted() -> None:
    session = roles_case(requestor=False, granted=True, lenient=True)
    session.send(CT_ID, STORE)
    without = roles_case(requestor=False, granted=False, lenient=True)
    with pytest.raises(LocalProtocolError, match="role"):
        without.send(CT_ID, STORE)


def test_an_event_report_comes_from_the_scp() -> None:
    report = NEventReportRQ(
        message_id=1, affected_sop_class_uid=MPPS, affected_sop_instance_uid="1.2", event_type_id=1
    )
    scu = open_session(requestor=True)
    assert received(tell(scu, [wire(MPPS_ID, report)])) == [report]
    with pytest.raises(LocalProtocolError, match="role"):
        scu.send(MPPS_ID, report)
    scp = open_session(requestor=False)
    scp.send(MPPS_ID, report)
    assert refused(tell(scp, [wire(MPPS_ID, replace(report, message_id=2))])) == [(0x0100, 0x0122)]


@pytest.mark.parametrize(
    "message",
    [ECHO, QUERY, CMoveRQ(message_id=6, affected_sop_class_uid=MOVE, move_destination="AE")],
)
def test_an_acceptor_that_asks_without_a_role(message: CEchoRQ | CFindRQ | CMoveRQ) -> None:
    session = open_session(requestor=True)
    context_id = {VERIFICATION: ECHO_ID, FIND: FIND_ID, MOVE: MOVE_ID}[message.affected_sop_class_uid]
    raw = wire(context_id, message, b"data" if message.has_dataset else None)
    assert refused(tell(session, [raw])) == [(message.command_field, 0x0122)]


# --- the end of an association in one read with what came before it


FAULT = pdata(data_pdv(CT_ID, b"data"))


@pytest.mark.parametrize(
    "after",
    [
        b"",
        encode(AAbort(0, 0)),
        encode(AAbort(2, 1)),
        encode(AReleaseRQ()),
        encode(AReleaseRP()),
        b"\x09garbage",
        FAULT,
    ],
)
@pytest.mark.parametrize("requestor", [True, False])
def test_a_fault_is_told_once_whatever_follows_in_the_same_read(requestor: bool, after: bytes) -> None:
    session = open_session(requestor)
    told = tell(session, [FAULT + after])
    assert [event for event in told if not isinstance(event, Fault)] == []
    assert len(told) == 1
    first = sent_pdus(session)[0]
    assert first == AAbort(2, INVALID)
    assert session.state in (State.STA1, State.STA13)
    assert session.connection_lost() == []


@pytest.mark.parametrize("requestor", [True, False])
def test_a_fault_while_our_release_is_under_way(requestor: bool) -> None:
    session = open_session(requestor)
    session.release()
    session.data_to_send()
    told = tell(session, [FAULT + encode(AReleaseRP())])
    assert_aborted(session, told)


@given(sizes())
def test_a_read_that_holds_everything_is_as_good_as_many(pieces: list[int]) -> None:
    """The answers to each message come in the order and the state they would have, read by read."""
    stream = b"".join(
        [
            wire(ECHO_ID, ECHO),
            wire(CT_ID, store_with(x0002=FIND), b"dropped"),
            wire(FIND_ID, QUERY, b"identifier"),
            encode(AReleaseRQ()),
            wire(ECHO_ID, CEchoRQ(message_id=9)),
        ]
    )
    one, many = open_session(requestor=False), open_session(requestor=False)
    assert tell(one, cut(stream, pieces)) == tell(many, cut(stream, [1]))
    assert sent_bytes(one) == sent_bytes(many)
    assert one.state is many.state is State.STA13


def test_data_after_the_release_request_is_ignored() -> None:
    """The session answers the request at once and is then in Sta13, where P-DATA is ignored (AA-6)."""
    session = open_session(requestor=False)
    told = tell(session, [encode(AReleaseRQ()) + wire(ECHO_ID, ECHO)])
    assert told == [ReleaseRequested()]
    assert sent_pdus(session) == [AReleaseRP()]


def test_an_abort_in_the_middle_of_a_data_set() -> None:
    session = open_session(requestor=False)
    told = tell(session, [wire(CT_ID, STORE) + pdata(PDV(CT_ID, False, False, b"da")) + encode(AAbort(0))])
    assert told[1:] == [Data(b"da", False), AbortIndication(0, 0)]
    assert session.upper.close_requested


@pytest.mark.parametrize("requestor", [True, False])
def test_the_connection_goes_in_the_middle_of_a_message(requestor: bool) -> None:
    session = open_session(requestor)
    tell(session, [pdata(PDV(CT_ID, True, False, b"\0\0"))])
    (lost,) = session.connection_lost()
    assert (lost.reason, lost.sent) == (0, False)  # type: ignore[union-attr]
    assert session.connection_lost() == []
    assert sent_bytes(session) == b""


# --- the answer to our request


def established(given: AAssociateAC, **options: object) -> tuple[Session, list[object]]:
    asked = request([Proposal(VERIFICATION, (IMPLICIT,)), Proposal(CT, (IMPLICIT,), scp_role=True)])
    session = Session(requestor=True, **options)  # type: ignore[arg-type]
    session.associate(asked)
    session.connection_made()
    session.data_to_send()
    return session, tell(session, [encode(given)])


def given_for(*contexts: PresentationContextAC) -> AAssociateAC:
    plain = answer(request([Proposal(VERIFICATION, (IMPLICIT,)), Proposal(CT, (IMPLICIT,), scp_role=True)]))
    return replace(plain, presentation_contexts=contexts)


def test_an_answer_as_it_should_be() -> None:
    session, told = established(
        given_for(PresentationContextAC(1, 0, IMPLICIT), PresentationContextAC(3, 0, IMPLICIT))
    )
    (event,) = told
    assert isinstance(event, Established)
    assert set(event.contexts) == {1, 3}
    assert list(session.deviations) == []


def test_a_context_answered_that_was_not_proposed() -> None:
    session, told = established(
        given_for(
            PresentationContextAC(1, 0, IMPLICIT),
            PresentationContextAC(3, 0, IMPLICIT),
            PresentationContextAC(5, 0, IMPLICIT),
        )
    )
    assert isinstance(told[0], Established)
    assert set(session.contexts) == {1, 3}
    assert [str(d) for d in session.deviations] == ["context 5 was answered but not proposed (PS3.8 9.3.3.2)"]


def test_a_transfer_syntax_accepted_that_was_not_proposed() -> None:
    session, _ = established(
        given_for(PresentationContextAC(1, 0, "1.2.840.10008.1.2.2"), PresentationContextAC(3, 0, IMPLICIT))
    )
    assert set(session.contexts) == {3}
    assert [d.clause for d in session.deviations] == ["PS3.8 9.3.3.2"]
    assert_aborted(session, tell(session, [wire(1, ECHO)]), text="not open")


def test_a_context_that_was_not_answered() -> None:
    session, _ = established(given_for(PresentationContextAC(3, 0, IMPLICIT)))
    assert set(session.contexts) == {3}
    assert [d.message for d in session.deviations] == ["not every proposed context was answered"]


@pytest.mark.parametrize("version", [0, 2, 0xFFFE])
def test_an_answer_of_another_protocol_version(version: int) -> None:
    plain = given_for(PresentationContextAC(1, 0, IMPLICIT), PresentationContextAC(3, 0, IMPLICIT))
    session, told = established(replace(plain, protocol_version=version))
    assert_aborted(session, told, text="protocol version")


@pytest.mark.parametrize(
    ("changed", "clause"),
    [
        ({"application_context_name": "1.2.3"}, "PS3.8 9.3.3.1"),
        ({"roles": (RoleSelection(VERIFICATION, True, True),)}, "PS3.7 D.3.3.4"),
        ({"extended": (SOPClassExtendedNegotiation(CT, b"x"),)}, "PS3.7 D.3.3.5"),
        ({"async_operations": AsyncOperationsWindow(1, 1)}, "PS3.7 D.3.3.3"),
        ({"user_identity_response": UserIdentityAC(b"welcome")}, "PS3.7 D.3.3.7"),
    ],
    ids=["application context", "role", "extended", "window", "identity"],
)
def test_what_an_answer_holds_beyond_what_was_proposed(changed: dict[str, Any], clause: str) -> None:
    plain = given_for(PresentationContextAC(1, 0, IMPLICIT), PresentationContextAC(3, 0, IMPLICIT))
    if "application_context_name" in changed:
        given = replace(plain, **changed)
    else:
        given = replace(plain, user_information=replace(plain.user_information, **changed))
    session, told = established(given)
    assert isinstance(told[0], Established)
    assert not session.contexts[1].scp
    assert session.window == AsyncOperationsWindow(1, 1)
    assert [d.clause for d in session.deviations] == [clause]


@pytest.mark.parametrize("maximum", [1, 2, 6, 7, 8, 12, 15])
def test_a_maximum_that_leaves_no_room_is_a_fault_of_the_answer(maximum: int) -> None:
    plain = given_for(PresentationContextAC(1, 0, IMPLICIT), PresentationContextAC(3, 0, IMPLICIT))
    tiny = replace(plain, user_information=replace(plain.user_information, maximum_length=maximum))
    session, told = established(tiny)
    assert_aborted(session, told, text=f"maximum length of {maximum}")
    assert session.contexts == {}


# --- deviations that are told


@pytest.mark.parametrize("windowed", [1, 2])
def test_requests_over_the_window_are_refused_and_noted(windowed: int) -> None:
    """What was refused can be asked again."""
    window = AsyncOperationsWindow(windowed, windowed)
    asked = request(window=window)
    session = open_session(False, asked=asked, given=answer(asked, window=window))
    stores = [replace(STORE, message_id=n) for n in range(windowed + 1)]
    for one in stores[:-1]:
        assert received(tell(session, [wire(CT_ID, one, b"data")])) == [one]
    assert list(session.deviations) == []
    told = tell(session, [wire(CT_ID, stores[-1], b"data")])
    assert received(told) == []
    assert refused(told) == [(0x0001, 0x0213)]
    assert [(m.message_id_being_responded_to, m.status) for m in answers(session)] == [  # type: ignore[union-attr]
        (windowed, 0x0213)
    ]
    assert [d.clause for d in session.deviations] == ["PS3.7 D.3.3.3"]
    session.send(CT_ID, CStoreRSP(message_id_being_responded_to=0, status=0))
    assert received(tell(session, [wire(CT_ID, stores[-1], b"data")])) == [stores[-1]]


def test_sub_operations_over_the_window_are_taken_and_noted() -> None:
    """They are what we asked for ourselves."""
    session = open_session(requestor=True)
    for number in range(3):
        one = replace(STORE, message_id=number)
        assert received(tell(session, [wire(CT_ID, one, b"data")])) == [one]
    assert sent_bytes(session) == b""
    assert [d.clause for d in session.deviations] == ["PS3.7 D.3.3.3"]


def test_requests_within_the_window_are_not_noted() -> None:
    asked = request(window=AsyncOperationsWindow(3, 1))
    session = open_session(
        requestor=False, asked=asked, given=answer(asked, window=AsyncOperationsWindow(2, 1))
    )
    tell(session, [wire(ECHO_ID, ECHO), wire(ECHO_ID, CEchoRQ(message_id=2))])
    assert list(session.deviations) == []
    tell(session, [wire(ECHO_ID, CEchoRQ(message_id=3))])
    assert [d.clause for d in session.deviations] == ["PS3.7 D.3.3.3"]


@pytest.mark.parametrize(
    ("raw", "clause"),
    [
        (encode_message(ECHO)[12:], "PS3.7 E.1"),
        (struct.pack("<HHLL", 0, 0, 4, 1) + encode_message(ECHO)[12:], "PS3.7 E.1"),
        (encode_message(ECHO) + encode_command({0x0110: 3})[12:], "PS3.7 6.3.1"),
        (
            encode_command({0x0002: VERIFICATION + "   ", 0x0100: 0x30, 0x0110: 1, 0x0800: 0x0101}),
            "PS3.5 9.1",
        ),
        (encode_command({0x0100: 0x30, 0x0110: 1, 0x0800: 0x0101}), "PS3.7 E.1"),
    ],
    ids=["no group length", "wrong group length", "doubled element", "padded UID", "no SOP class"],
)
def test_deviations_of_a_command_set(raw: bytes, clause: str) -> None:
    session = open_session(requestor=False)
    (event,) = tell(session, [pdata(command_pdv(ECHO_ID, raw))])
    assert event.message == ECHO
    assert clause in [d.clause for d in session.deviations]


def test_a_store_without_priority_is_noted() -> None:
    session = open_session(requestor=False)
    told = tell(session, [wire(CT_ID, store_with(x0700=None), b"data")])
    assert received(told) == [replace(STORE, message_id=5)]
    assert ["(0000,0700)" in d.message for d in session.deviations] == [True]


@pytest.mark.parametrize(
    ("status", "has_dataset"), [(0xFF00, False), (0xFF01, False), (0, True), (0xFE00, True)]
)
def test_an_identifier_where_there_is_none_and_the_reverse_are_noted(status: int, has_dataset: bool) -> None:
    session = open_session(requestor=True)
    session.send(FIND_ID, QUERY)
    session.send_data(b"1234", last=True)
    response = CFindRSP(message_id_being_responded_to=3, status=status, has_dataset=has_dataset)
    tell(session, [wire(FIND_ID, response)])
    assert [d.clause for d in session.deviations] == ["PS3.7 9.3.2.2"]


def test_a_priority_that_is_none_is_noted() -> None:
    session = open_session(requestor=False)
    tell(session, [wire(CT_ID, replace(STORE, priority=3))])
    assert [d.message for d in session.deviations] == ["CStoreRQ with priority 3"]


def test_a_uid_that_is_none_is_noted() -> None:
    session = open_session(requestor=False)
    tell(session, [wire(CT_ID, replace(STORE, affected_sop_instance_uid="../../x"))])
    assert [d.clause for d in session.deviations] == ["PS3.5 9.1"]


def test_a_message_that_may_have_no_data_set_is_noted_when_it_has() -> None:
    session = open_session(requestor=False)
    told = tell(session, [wire(ECHO_ID, replace(ECHO, has_dataset=True), b"data")])
    assert received(told) == [replace(ECHO, has_dataset=True)]
    assert [d.clause for d in session.deviations] == ["PS3.7 E.1"]


def test_deviations_are_kept_once() -> None:
    session = open_session(requestor=False)
    for number in range(50):
        tell(session, [pdata(command_pdv(ECHO_ID, encode_message(CEchoRQ(message_id=number))[12:]))])
        session.send(ECHO_ID, CEchoRSP(message_id_being_responded_to=number, status=0))
    assert len(session.deviations) == 1


# --- a release between messages, and both asking


def test_release_in_mid_operation() -> None:
    session = open_session(requestor=True)
    session.send(FIND_ID, QUERY)
    session.send_data(b"identifier", last=True)
    session.data_to_send()
    assert tell(session, [encode(AReleaseRQ())]) == [ReleaseRequested()]
    assert sent_pdus(session) == [AReleaseRP()]
    with pytest.raises(LocalProtocolError):
        session.send(ECHO_ID, ECHO)


def test_responses_still_come_while_our_release_waits() -> None:
    session = open_session(requestor=True)
    session.send(ECHO_ID, ECHO)
    session.release()
    response = CEchoRSP(message_id_being_responded_to=1, status=0)
    told = tell(session, [wire(ECHO_ID, response), encode(AReleaseRP())])
    assert received(told) == [response]
    assert told[-1] == Released()
    assert session.upper.close_requested


def test_a_refused_request_while_our_release_waits_is_not_answered() -> None:
    """No P-DATA may be sent in Sta7."""
    session = open_session(requestor=True)
    session.release()
    session.data_to_send()
    told = tell(session, [wire(ECHO_ID, ECHO), encode(AReleaseRP())])
    assert refused(told) == [(0x0030, 0x0122)]
    assert told[-1] == Released()
    assert sent_pdus(session) == []
    assert held(session) == 0


@given(US, US)
def test_any_status_of_an_answer_is_told_as_it_is(message_id: int, status: int) -> None:
    """A status nobody has heard of is the caller's to judge."""
    session = open_session(requestor=True)
    query = replace(QUERY, message_id=message_id)
    session.send(FIND_ID, query)
    session.send_data(b"identifier", last=True)
    response = CFindRSP(message_id_being_responded_to=message_id, status=status)
    assert received(tell(session, [wire(FIND_ID, response)])) == [response]


def test_counters_of_sub_operations_come_through() -> None:
    session = open_session(requestor=True)
    session.send(GET_ID, CGetRQ(message_id=4, affected_sop_class_uid=GET))
    session.send_data(b"identifier", last=True)
    response = CGetRSP(
        message_id_being_responded_to=4, status=0xFF00, remaining=1, completed=2, failed=3, warning=4
    )
    store = replace(STORE, move_originator_ae="AE", move_originator_message_id=4)
    told = tell(session, [wire(CT_ID, store, b"data"), wire(GET_ID, response)])
    assert received(told) == [store, response]


def test_an_n_get_response_with_a_data_set() -> None:
    session = open_session(requestor=True)
    session.send(
        MPPS_ID, NGetRQ(message_id=1, requested_sop_class_uid=MPPS, requested_sop_instance_uid="1.2")
    )
    response = NGetRSP(message_id_being_responded_to=1, status=0, has_dataset=True)
    told = tell(session, [wire(MPPS_ID, response, b"data")])
    assert told == [MessageReceived(session.contexts[MPPS_ID], response), Data(b"data", True)]


def test_nothing_is_read_before_an_association() -> None:
    session = Session(requestor=False)
    session.connection_made()
    told = tell(session, [encode(PDataTF((command_pdv(ECHO_ID, ECHO),)))])
    assert len(told) == 1
    assert sent_pdus(session) == [AAbort(0, 0)]
