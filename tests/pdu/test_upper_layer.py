"""The upper layer does in every state, for every event, what Tables 9-6 to 9-9 say of the table's action."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Literal

import pytest
from aiodicom.pdu import (
    PDV,
    TRANSITIONS,
    AAbort,
    AAssociateAC,
    AAssociateRJ,
    AAssociateRQ,
    AbortIndication,
    AbortReason,
    Action,
    AReleaseRP,
    AReleaseRQ,
    AssociateConfirmation,
    AssociateIndication,
    ConnectionClosed,
    Event,
    Fragment,
    LocalProtocolError,
    PDataTF,
    Pdu,
    PduLimits,
    PresentationContextAC,
    PresentationContextRQ,
    ProviderAbort,
    RejectConfirmation,
    Rejection,
    ReleaseConfirmation,
    ReleaseIndication,
    RemoteProtocolError,
    State,
    UpperLayer,
    encode,
)
from aiodicom.pdu.fsm import NEXT_STATE
from aiodicom.pdu.upper_layer import _DATA_STATES
from machines import (
    ANSWER,
    DATA,
    EVENTS,
    INVALID,
    REQUEST,
    ROLES,
    UNRECOGNIZED,
    VERBS,
    Snapshot,
    happens_to,
    in_state,
    sent_by,
)
from strategies import cut

RELEASE = encode(AReleaseRQ())
RELEASED = encode(AReleaseRP())
ABORT = encode(AAbort(0, 0))


@dataclass(frozen=True)
class Effect:
    """What an action does, in the words of Tables 9-6 to 9-9."""

    next_state: State
    sends: list[Pdu] = field(default_factory=list)
    issues: list[type] = field(default_factory=list)
    artim: Literal["starts", "stops", "stays"] = "stays"
    closes: bool = False


def effect_of(action: Action, event: Event, requestor: bool) -> Effect:
    """The effect of an action that this event has caused in this role."""
    S, A = State, Action
    reason = AbortReason.UNRECOGNIZED_PDU if event is Event.EVT19 else AbortReason.UNEXPECTED_PDU
    refusal = Rejection.CALLED_AE_NOT_RECOGNIZED
    by_us = event is Event.EVT15
    return {
        A.AE_1: Effect(S.STA4),
        A.AE_2: Effect(S.STA5, sends=[REQUEST]),
        A.AE_3: Effect(S.STA6, issues=[AssociateConfirmation]),
        A.AE_4: Effect(S.STA1, issues=[RejectConfirmation], closes=True),
        A.AE_5: Effect(S.STA2, artim="starts"),
        A.AE_6: Effect(S.STA3, issues=[AssociateIndication], artim="stops"),
        A.AE_7: Effect(S.STA6, sends=[ANSWER]),
        A.AE_8: Effect(S.STA13, sends=[refusal], artim="starts"),
        A.DT_1: Effect(S.STA6, sends=[DATA]),
        A.DT_2: Effect(S.STA6, issues=[Fragment]),
        A.AR_1: Effect(S.STA7, sends=[AReleaseRQ()]),
        A.AR_2: Effect(S.STA8, issues=[ReleaseIndication]),
        A.AR_3: Effect(S.STA1, issues=[ReleaseConfirmation], closes=True),
        A.AR_4: Effect(S.STA13, sends=[AReleaseRP()], artim="starts"),
        A.AR_5: Effect(S.STA1, artim="stops"),
        A.AR_6: Effect(S.STA7, issues=[Fragment]),
        A.AR_7: Effect(S.STA8, sends=[DATA]),
        A.AR_8: Effect(S.STA9 if requestor else S.STA10, issues=[ReleaseIndication]),
        A.AR_9: Effect(S.STA11, sends=[AReleaseRP()]),
        A.AR_10: Effect(S.STA12, issues=[ReleaseConfirmation]),
        # what the peer did in Sta2 is told as well, beyond the standard: the owner may want to log it
        A.AA_1: Effect(S.STA13, [AAbort(0, 0)], issues=[] if by_us else [ProviderAbort], artim="starts"),
        A.AA_2: Effect(S.STA1, artim="stops", closes=True),
        A.AA_3: Effect(S.STA1, issues=[AbortIndication], closes=True),
        A.AA_4: Effect(S.STA1, issues=[ProviderAbort]),
        A.AA_5: Effect(S.STA1, artim="stops"),
        A.AA_6: Effect(S.STA13),
        A.AA_7: Effect(S.STA13, sends=[AAbort(0, 0)]),
        A.AA_8: Effect(S.STA13, sends=[AAbort(2, reason)], issues=[ProviderAbort], artim="starts"),
    }[action]


CELLS = [
    (state, requestor, event)
    for state in State
    for requestor in ROLES[state]
    for event in Event
    if happens_to(event, requestor)
]


@pytest.mark.parametrize(("state", "requestor", "event"), CELLS)
def test_every_event_in_every_state(state: State, requestor: bool, event: Event) -> None:
    layer = in_state(state, requestor)
    before = Snapshot.of(layer)
    action = TRANSITIONS.get((event, state))
    if action is None:
        if event in VERBS:
            with pytest.raises(LocalProtocolError):
                EVENTS[event](layer)
        else:
            assert EVENTS[event](layer) == []
        assert Snapshot.of(layer) == before
        assert sent_by(layer) == []
        return
    want = effect_of(action, event, requestor)
    issued = EVENTS[event](layer)
    assert layer.state is want.next_state
    assert sent_by(layer) == want.sends
    assert [type(indication) for indication in issued] == want.issues
    assert layer.close_requested == want.closes
    if want.artim == "starts":
        assert layer.artim_running
        assert layer.artim_generation == before.artim_generation + 1  # started anew if it ran
    elif want.artim == "stops":
        assert not layer.artim_running
    else:
        assert (layer.artim_running, layer.artim_generation) == (
            before.artim_running,
            before.artim_generation,
        )


PDUS: dict[Event, bytes] = {
    Event.EVT3: encode(ANSWER),
    Event.EVT4: encode(AAssociateRJ(1, 1, 1)),
    Event.EVT6: encode(REQUEST),
    Event.EVT10: encode(DATA),
    Event.EVT12: RELEASE,
    Event.EVT13: RELEASED,
    Event.EVT16: ABORT,
    Event.EVT19: UNRECOGNIZED,
}
PDU_CELLS = [cell for cell in CELLS if cell[2] in PDUS]


@pytest.mark.parametrize(("state", "requestor", "event"), PDU_CELLS)
def test_pdus_in_single_bytes_do_the_same(state: State, requestor: bool, event: Event) -> None:
    whole, bytewise = in_state(state, requestor), in_state(state, requestor)
    issued = [repr(i) for i in whole.receive(PDUS[event]) if not isinstance(i, Fragment)]
    found = []
    for piece in cut(PDUS[event], [1]):
        found += [repr(i) for i in bytewise.receive(piece) if not isinstance(i, Fragment)]
    assert found == issued
    assert Snapshot.of(bytewise) == Snapshot.of(whole)
    assert sent_by(bytewise) == sent_by(whole)


INVALID_PDUS = {
    "an A-ABORT of length 5": INVALID,
    "an A-ABORT of length 3": b"\x07\x00\x00\x00\x00\x03\x00\x00\x00",
    "a release request of no length": b"\x05\x00\x00\x00\x00\x00",
    "a release answer of length FFFFFFFF": b"\x06\x00\xff\xff\xff\xff",
    "a rejection of length 5": b"\x03\x00\x00\x00\x00\x05\x00\x01\x01\x01\x00",
    "an answer of 10 bytes": b"\x02\x00\x00\x00\x00\x0a" + bytes(10),
    "an answer of length FFFFFFFF": b"\x02\x00\xff\xff\xff\xff",
    "a request of 10 bytes": b"\x01\x00\x00\x00\x00\x0a" + bytes(10),
    "a request of length FFFFFFFF": b"\x01\x00\xff\xff\xff\xff",
    "data with a PDV too long": b"\x04\x00\x00\x00\x00\x06\x00\x00\x00\x03\x01\x00",
    "data with a PDV too short": b"\x04\x00\x00\x00\x00\x06\x00\x00\x00\x01\x01\x00",
    "data with half a PDV": b"\x04\x00\x00\x00\x00\x03\x00\x00\x00",
    "data of length FFFFFFFF": b"\x04\x00\xff\xff\xff\xff",
}


@pytest.mark.parametrize("name", INVALID_PDUS)
@pytest.mark.parametrize(("state", "requestor"), [(s, r) for s in State for r in ROLES[s]])
def test_invalid_pdus_are_unexpected_or_invalid(name: str, state: State, requestor: bool) -> None:
    """Evt19 with a known type: where the type itself is not expected, the PDU is not read at all."""
    layer = in_state(state, requestor)
    before = Snapshot.of(layer)
    raw = INVALID_PDUS[name]
    issued = layer.receive(raw)
    action = TRANSITIONS.get((_EVENT[raw[0]], state))
    if state in (State.STA1, State.STA4):
        assert (issued, sent_by(layer), Snapshot.of(layer)) == ([], [], before)
        return
    if state is State.STA13:
        # AA-6 ignores a PDU by its type; what is not ignored is answered with AA-7
        assert (issued, layer.state) == ([], State.STA13)
        assert sent_by(layer) == ([] if action is Action.AA_6 else [AAbort(0, 0)])
        return
    assert action is not None
    expected = action not in (Action.AA_1, Action.AA_8)
    reason = AbortReason.INVALID_PARAMETER if expected else AbortReason.UNEXPECTED_PDU
    assert sent_by(layer) == [AAbort(0, 0) if state is State.STA2 else AAbort(2, reason)]
    (told,) = issued
    assert isinstance(told, ProviderAbort)
    assert isinstance(told.error, RemoteProtocolError)
    assert (told.reason, told.sent) == (reason, True)
    assert (layer.state, layer.artim_running, layer.close_requested) == (State.STA13, True, False)


_EVENT = {
    1: Event.EVT6,
    2: Event.EVT3,
    3: Event.EVT4,
    4: Event.EVT10,
    5: Event.EVT12,
    6: Event.EVT13,
    7: Event.EVT16,
}


# --- a verb between the halves of a PDU: what counts is the state when the PDU is whole


@pytest.mark.parametrize(
    ("state", "requestor", "raw"),
    [
        (State.STA5, True, encode(ANSWER)),
        (State.STA5, True, encode(Rejection.NO_REASON)),
        (State.STA6, True, RELEASE),
        (State.STA6, False, RELEASE),
        (State.STA7, True, RELEASE),
        (State.STA7, False, RELEASE),
        (State.STA7, True, RELEASED),
        (State.STA10, False, RELEASED),
        (State.STA11, True, RELEASED),
        (State.STA6, True, encode(DATA)),
        (State.STA7, True, encode(DATA)),
    ],
)
def test_our_abort_in_the_middle_of_a_pdu_stands(state: State, requestor: bool, raw: bytes) -> None:
    for at in range(1, len(raw)):
        layer = in_state(state, requestor)
        layer.receive(raw[:at])
        layer.abort()
        before = Snapshot.of(layer)
        assert layer.receive(raw[at:]) == []  # AA-6
        assert replace(Snapshot.of(layer), mid_pdu=True) == replace(before, mid_pdu=True)
        assert sent_by(layer) == [AAbort(0, 0)]
        assert not layer.mid_pdu


@pytest.mark.parametrize("at", range(1, 10))
def test_an_abort_that_crosses_ours_closes(at: int) -> None:
    layer = in_state(State.STA6, requestor=True)
    layer.receive(ABORT[:at])
    layer.abort()
    assert layer.receive(ABORT[at:]) == []  # AA-2: nothing is issued
    assert (layer.state, layer.close_requested, layer.artim_running) == (State.STA1, True, False)


@pytest.mark.parametrize(("requestor", "state"), [(True, State.STA9), (False, State.STA10)])
@pytest.mark.parametrize("at", range(1, 10))
def test_our_release_in_the_middle_of_the_peers_is_a_collision(
    at: int, requestor: bool, state: State
) -> None:
    layer = in_state(State.STA6, requestor)
    layer.receive(RELEASE[:at])
    layer.release()
    assert layer.receive(RELEASE[at:]) == [ReleaseIndication(collision=True)]
    assert layer.state is state


def test_data_that_our_release_finds_half_received_is_delivered() -> None:
    raw = encode(PDataTF((PDV(1, False, True, b"half and half"),)))
    layer = in_state(State.STA6, requestor=True)
    got = b"".join(bytes(i.data) for i in layer.receive(raw[:16]) if isinstance(i, Fragment))
    layer.release()
    got += b"".join(bytes(i.data) for i in layer.receive(raw[16:]) if isinstance(i, Fragment))
    assert (got, layer.state) == (b"half and half", State.STA7)


def test_artim_that_expires_in_the_middle_of_a_request_closes() -> None:
    layer = in_state(State.STA2, requestor=False)
    layer.receive(encode(REQUEST)[:50])
    layer.artim_expired()
    assert (layer.state, layer.close_requested) == (State.STA1, True)
    assert layer.receive(encode(REQUEST)[50:]) == []
    assert (layer.state, sent_by(layer)) == (State.STA1, [])


def test_artim_is_not_started_anew_by_bytes() -> None:
    layer = in_state(State.STA2, requestor=False)
    generation = layer.artim_generation
    for piece in cut(encode(REQUEST)[:-1], [1]):
        layer.receive(piece)
    assert (layer.artim_running, layer.artim_generation) == (True, generation)


# --- AE-6: is the request acceptable?


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ({"protocol_version": 0}, Rejection.PROTOCOL_VERSION_NOT_SUPPORTED),
        ({"protocol_version": 2}, Rejection.PROTOCOL_VERSION_NOT_SUPPORTED),
        ({"protocol_version": 0xFFFE}, Rejection.PROTOCOL_VERSION_NOT_SUPPORTED),
        ({"application_context_name": "1.2.3"}, Rejection.APPLICATION_CONTEXT_NOT_SUPPORTED),
        ({"application_context_name": ""}, Rejection.APPLICATION_CONTEXT_NOT_SUPPORTED),
        (
            {"protocol_version": 2, "application_context_name": "1.2.3"},
            Rejection.PROTOCOL_VERSION_NOT_SUPPORTED,
        ),
    ],
)
def test_requests_the_provider_cannot_accept(change: dict[str, object], answer: AAssociateRJ) -> None:
    layer = in_state(State.STA2, requestor=False)
    generation = layer.artim_generation
    assert layer.receive(encode(replace(REQUEST, **change))) == [RejectConfirmation(answer)]
    assert sent_by(layer) == [answer]
    assert (layer.state, layer.artim_running, layer.close_requested) == (State.STA13, True, False)
    assert layer.artim_generation > generation


def test_the_codes_of_those_rejections() -> None:
    assert encode(Rejection.PROTOCOL_VERSION_NOT_SUPPORTED)[7:] == bytes((1, 2, 2))  # Table 9-21
    assert encode(Rejection.APPLICATION_CONTEXT_NOT_SUPPORTED)[7:] == bytes((1, 1, 2))


@pytest.mark.parametrize("version", [1, 3, 0xFFFF])
def test_of_the_version_one_bit_counts(version: int) -> None:
    layer = in_state(State.STA2, requestor=False)
    request = replace(REQUEST, protocol_version=version)
    assert layer.receive(encode(request)) == [AssociateIndication(request)]
    assert layer.state is State.STA3


def test_the_user_may_refuse_as_the_provider_would() -> None:
    seen: list[AAssociateRQ] = []

    def check(request: AAssociateRQ) -> AAssociateRJ | None:
        seen.append(request)
        return Rejection.TEMPORARY_CONGESTION

    layer = UpperLayer(requestor=False, check_request=check)
    layer.connection_made()
    assert layer.receive(encode(REQUEST)) == [RejectConfirmation(Rejection.TEMPORARY_CONGESTION)]
    assert (sent_by(layer), layer.state) == ([Rejection.TEMPORARY_CONGESTION], State.STA13)
    assert seen == [REQUEST]


def test_the_user_is_not_asked_about_what_the_provider_refuses() -> None:
    layer = UpperLayer(requestor=False, check_request=lambda request: pytest.fail("asked"))
    layer.connection_made()
    layer.receive(encode(replace(REQUEST, protocol_version=0)))
    assert sent_by(layer) == [Rejection.PROTOCOL_VERSION_NOT_SUPPORTED]


def test_a_user_without_objection_gets_the_request() -> None:
    layer = UpperLayer(requestor=False, check_request=lambda request: None)
    layer.connection_made()
    assert layer.receive(encode(REQUEST)) == [AssociateIndication(REQUEST)]


# --- lengths are judged from the header


@pytest.mark.parametrize("state", [State.STA6, State.STA7])
@pytest.mark.parametrize(("length", "limit", "passes"), [(16, 16, True), (17, 16, False), (10**6, 0, True)])
def test_data_beyond_our_maximum(state: State, length: int, limit: int, passes: bool) -> None:
    layer = in_state(state, requestor=True)
    layer.limits = PduLimits(maximum_length=limit)
    issued = layer.receive(b"\x04\x00" + length.to_bytes(4, "big"))
    if passes:
        assert (issued, sent_by(layer), layer.state) == ([], [], state)
    else:
        (told,) = issued
        assert isinstance(told, ProviderAbort)
        assert (told.reason, layer.state) == (AbortReason.INVALID_PARAMETER, State.STA13)
        assert sent_by(layer) == [AAbort(2, AbortReason.INVALID_PARAMETER)]


@pytest.mark.parametrize(("length", "passes"), [(1000, True), (1001, False), (0xFFFFFFFF, False)])
@pytest.mark.parametrize(("state", "requestor", "kind"), [(State.STA2, False, 1), (State.STA5, True, 2)])
def test_association_pdus_beyond_the_limit(
    state: State, requestor: bool, kind: int, length: int, passes: bool
) -> None:
    layer = in_state(state, requestor)
    layer.limits = PduLimits(associate_length=1000)
    layer.receive(bytes((kind, 0)) + length.to_bytes(4, "big"))
    assert (layer.state is state) == passes
    assert [type(pdu) for pdu in sent_by(layer)] == ([] if passes else [AAbort])


def test_the_largest_sensible_request_fits_the_default_limit() -> None:
    longest = "1." + "2" * 62
    contexts = tuple(PresentationContextRQ(n, longest, (longest,) * 25) for n in range(1, 256, 2))
    request = replace(REQUEST, presentation_contexts=contexts)
    layer = in_state(State.STA2, requestor=False)
    assert layer.receive(encode(request)) == [AssociateIndication(request)]


@pytest.mark.parametrize(("state", "requestor", "event"), PDU_CELLS)
def test_what_is_refused_is_refused_by_its_header(state: State, requestor: bool, event: Event) -> None:
    action = TRANSITIONS.get((event, state))
    layer = in_state(state, requestor)
    issued = layer.receive(PDUS[event][:6])
    if action in (Action.AA_1, Action.AA_8):
        assert [type(i) for i in issued] == [ProviderAbort]
        assert layer.state is State.STA13
    else:
        assert (issued, layer.state) == ([], state)


# --- after the end


@pytest.mark.parametrize("garbage", [encode(REQUEST), ABORT, UNRECOGNIZED, b"\x00" * 100, RELEASE * 5])
def test_nothing_is_read_once_the_framing_is_lost(garbage: bytes) -> None:
    layer = in_state(State.STA6, requestor=True)
    layer.receive(UNRECOGNIZED)
    assert sent_by(layer) == [AAbort(2, AbortReason.UNRECOGNIZED_PDU)]
    assert (layer.receive(garbage), sent_by(layer), layer.state) == ([], [], State.STA13)


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("state", [State.STA3, State.STA6, State.STA8])
def test_behind_a_pdu_out_of_place_sta13_reads_on(state: State, size: int) -> None:
    """Its length is known, so what follows can be read: AA-6, AA-7, and AA-2 for an A-ABORT."""
    layer = in_state(state, requestor=False)
    stream = encode(REQUEST) + encode(DATA) + RELEASE + encode(REQUEST) + ABORT
    issued = [one for piece in cut(stream, [size]) for one in layer.receive(piece)]
    assert [type(one) for one in issued] == [ProviderAbort]
    assert sent_by(layer) == [AAbort(2, AbortReason.UNEXPECTED_PDU), AAbort(0, 0)]
    assert (layer.state, layer.close_requested, layer.artim_running) == (State.STA1, True, False)


@pytest.mark.parametrize("size", [1, 10_000])
def test_what_follows_a_pdu_out_of_place_may_break_the_framing(size: int) -> None:
    layer = in_state(State.STA6, requestor=False)
    issued = [one for piece in cut(encode(REQUEST) + UNRECOGNIZED, [size]) for one in layer.receive(piece)]
    assert [type(one) for one in issued] == [ProviderAbort]
    assert sent_by(layer) == [AAbort(2, AbortReason.UNEXPECTED_PDU), AAbort(0, 0)]  # AA-8, AA-7
    assert (layer.receive(ABORT), layer.state) == ([], State.STA13)


def test_an_association_request_after_our_abort_is_answered_with_an_abort() -> None:
    layer = in_state(State.STA13, requestor=False)
    generation = layer.artim_generation
    assert layer.receive(encode(DATA) + encode(REQUEST) + RELEASE + encode(ANSWER)) == []
    assert sent_by(layer) == [AAbort(0, 0)]  # AA-7 for the request, AA-6 for all the others
    assert (layer.state, layer.artim_running) == (State.STA13, True)
    assert layer.artim_generation == generation  # the timer runs on: a peer cannot keep us here
    layer.receive(encode(REQUEST))
    assert sent_by(layer) == [AAbort(0, 0)]
    layer.receive(ABORT)  # the framing is sound: reading has gone on
    assert layer.close_requested


@pytest.mark.parametrize(
    ("state", "requestor", "raw"),
    [
        (State.STA6, True, ABORT),
        (State.STA7, True, RELEASED),
        (State.STA5, True, encode(Rejection.NO_REASON)),
        (State.STA2, False, ABORT),
        (State.STA13, False, ABORT),
    ],
)
def test_nothing_is_read_after_a_pdu_that_closes(state: State, requestor: bool, raw: bytes) -> None:
    alone, glued = in_state(state, requestor), in_state(state, requestor)
    for more in (encode(REQUEST), ABORT, UNRECOGNIZED, encode(DATA)):
        assert [type(i) for i in glued.receive(raw + more)] == [type(i) for i in alone.receive(raw)]
        assert glued.receive(more) == []
        assert (glued.state, glued.close_requested, sent_by(glued)) == (State.STA1, True, [])
        alone, glued = in_state(state, requestor), in_state(state, requestor)


def test_data_glued_to_the_request_is_too_early() -> None:
    layer = in_state(State.STA2, requestor=False)
    issued = layer.receive(encode(REQUEST) + encode(DATA))
    assert [type(i) for i in issued] == [AssociateIndication, ProviderAbort]
    assert sent_by(layer) == [AAbort(2, AbortReason.UNEXPECTED_PDU)]


def test_data_glued_to_the_answer_is_in_time() -> None:
    layer = in_state(State.STA5, requestor=True)
    issued = layer.receive(encode(ANSWER) + encode(DATA) + RELEASE)
    assert [type(i) for i in issued] == [AssociateConfirmation, Fragment, ReleaseIndication]
    assert layer.state is State.STA8


def test_data_glued_to_a_request_that_is_accepted_at_once_is_in_time() -> None:
    layer = in_state(State.STA2, requestor=False)
    got: list[object] = []
    for indication in layer.indications(encode(REQUEST) + encode(DATA) + RELEASE):
        got.append(type(indication))
        if isinstance(indication, AssociateIndication):
            layer.accept(ANSWER)
    assert got == [AssociateIndication, Fragment, ReleaseIndication]
    assert (sent_by(layer), layer.state) == ([ANSWER], State.STA8)


def test_our_abort_between_two_indications_silences_the_rest() -> None:
    two = encode(PDataTF((PDV(1, False, True, b"one"), PDV(1, False, True, b"two"))))
    layer = in_state(State.STA6, requestor=True)
    got = []
    for indication in layer.indications(two + encode(DATA) + RELEASE):
        if indication is not None:  # a pause
            got.append(indication)
            layer.abort()
    assert len(got) == 1
    assert (sent_by(layer), layer.state) == ([AAbort(0, 0)], State.STA13)


def test_a_connection_that_goes_between_two_indications_ends_the_reading() -> None:
    layer = in_state(State.STA6, requestor=True)
    got = []
    for indication in layer.indications(encode(DATA) + encode(DATA)):
        got.append(indication)
        layer.connection_lost()
    assert len(got) == 1
    assert (sent_by(layer), layer.state) == ([], State.STA1)


@pytest.mark.parametrize("state", [s for s in State if s not in (State.STA1, State.STA2, State.STA13)])
def test_a_lost_connection_is_told_once(state: State) -> None:
    layer = in_state(state, ROLES[state][0])
    (told,) = layer.connection_lost()
    assert isinstance(told, ProviderAbort)
    assert isinstance(told.error, ConnectionClosed)
    assert not told.sent
    assert layer.connection_lost() == []


@pytest.mark.parametrize("raw", [ABORT, RELEASED])
def test_a_connection_that_closes_as_agreed_is_not_told(raw: bytes) -> None:
    layer = in_state(State.STA7, requestor=True)
    layer.receive(raw)
    assert layer.connection_lost() == []


# --- release collision, both sides joined


def deliver(source: UpperLayer, sink: UpperLayer) -> list[type]:
    return [type(i) for i in sink.receive(b"".join(source.data_to_send()))]


def test_release_collision() -> None:
    requestor, acceptor = in_state(State.STA6, True), in_state(State.STA6, False)
    requestor.release()
    acceptor.release()
    assert deliver(requestor, acceptor) == [ReleaseIndication]
    assert deliver(acceptor, requestor) == [ReleaseIndication]
    assert (requestor.state, acceptor.state) == (State.STA9, State.STA10)
    with pytest.raises(LocalProtocolError):
        acceptor.release_response()  # the requestor answers first
    requestor.release_response()
    assert deliver(requestor, acceptor) == [ReleaseConfirmation]
    assert (requestor.state, acceptor.state) == (State.STA11, State.STA12)
    acceptor.release_response()
    assert (acceptor.state, acceptor.artim_running) == (State.STA13, True)
    assert deliver(acceptor, requestor) == [ReleaseConfirmation]
    assert (requestor.state, requestor.close_requested) == (State.STA1, True)
    assert acceptor.connection_lost() == []
    assert (acceptor.state, acceptor.artim_running) == (State.STA1, False)


# --- verbs


def test_an_acceptor_cannot_request() -> None:
    layer = UpperLayer(requestor=False)
    with pytest.raises(LocalProtocolError):
        layer.associate(REQUEST)
    layer.connection_made()
    assert layer.state is State.STA2


def test_a_used_machine_starts_no_second_association() -> None:
    for requestor in (True, False):
        layer = in_state(State.STA6, requestor)
        layer.receive(ABORT)
        layer.connection_lost()
        before = Snapshot.of(layer)
        with pytest.raises(LocalProtocolError):
            layer.associate(REQUEST)
        with pytest.raises(LocalProtocolError):
            layer.connection_made()
        assert Snapshot.of(layer) == before


@pytest.mark.parametrize(
    ("state", "requestor", "verb"),
    [
        (State.STA1, True, lambda layer: layer.associate(replace(REQUEST, calling_ae=""))),
        (State.STA3, False, lambda layer: layer.accept(replace(ANSWER, protocol_version=-1))),
        (State.STA3, False, lambda layer: layer.reject(AAssociateRJ(1, 1, 256))),
        (State.STA6, True, lambda layer: layer.abort(256)),
    ],
)
def test_what_cannot_be_sent_changes_nothing(
    state: State, requestor: bool, verb: Callable[[UpperLayer], None]
) -> None:
    layer = in_state(state, requestor)
    before = Snapshot.of(layer)
    with pytest.raises(LocalProtocolError):
        verb(layer)
    assert Snapshot.of(layer) == before
    assert sent_by(layer) == []


@pytest.mark.parametrize(
    ("state", "answer"),
    [
        (State.STA3, lambda layer: layer.accept(ANSWER)),
        (State.STA3, lambda layer: layer.reject(Rejection.NO_REASON)),
    ],
)
def test_a_request_is_answered_once(state: State, answer: Callable[[UpperLayer], None]) -> None:
    layer = in_state(state, requestor=False)
    answer(layer)
    layer.data_to_send()
    with pytest.raises(LocalProtocolError):
        layer.accept(ANSWER)
    with pytest.raises(LocalProtocolError):
        layer.reject(Rejection.NO_REASON)
    assert sent_by(layer) == []


def test_our_abort_carries_what_the_user_says() -> None:
    layer = in_state(State.STA6, requestor=True)
    layer.abort(2, AbortReason.UNEXPECTED_PARAMETER)
    assert sent_by(layer) == [AAbort(2, 5)]


@pytest.mark.parametrize(("source", "reason"), [(0, 0), (2, 6), (1, 9), (255, 255)])
def test_the_peers_abort_is_told_as_it_came(source: int, reason: int) -> None:
    layer = in_state(State.STA6, requestor=True)
    assert layer.receive(encode(AAbort(source, reason))) == [AbortIndication(source, reason)]


def test_buffers_are_handed_over_uncopied_and_in_order() -> None:
    layer = in_state(State.STA6, requestor=True)
    first, second = bytearray(encode(DATA)), memoryview(encode(DATA))
    layer.send_pdata([first, second])
    layer.release()
    out = layer.data_to_send()
    assert out[0] is first
    assert out[1] is second
    assert out[2] == RELEASE
    assert layer.data_to_send() == []


def test_fragments_are_views_of_what_was_received() -> None:
    layer = in_state(State.STA6, requestor=True)
    buffer = bytearray(encode(PDataTF((PDV(1, False, True, bytes(100)),))))
    (fragment,) = layer.receive(buffer)
    assert isinstance(fragment, Fragment)
    assert fragment.data.obj is buffer


# --- what the owner can see


def test_pdus_are_counted_and_a_begun_one_is_seen() -> None:
    layer = in_state(State.STA6, requestor=True)
    started = layer.pdus_started
    layer.receive(encode(DATA) + encode(DATA)[:7])
    assert (layer.pdus_started - started, layer.mid_pdu) == (2, True)
    layer.receive(encode(DATA)[7:])
    assert (layer.pdus_started - started, layer.mid_pdu) == (2, False)


@pytest.mark.parametrize(
    ("first", "spoken", "words"),
    [
        (b"\x16\x03\x01\x00\xa5\x01", "TLS", "speaks TLS"),
        (b"GET / HTTP/1.1\r\n", "HTTP", "speaks HTTP"),
        (b"SSH-2.0-OpenSSH", "SSH", "speaks SSH"),
        (b"\x0bMSH|^~\\&|", "HL7", "speaks HL7"),
        (b"\x99\x00\x00\x00\x00\x00", None, "unrecognized PDU type 99H"),
    ],
)
@pytest.mark.parametrize(("state", "requestor"), [(State.STA2, False), (State.STA5, True)])
def test_a_peer_that_speaks_something_else(
    state: State, requestor: bool, first: bytes, spoken: str | None, words: str
) -> None:
    layer = in_state(state, requestor)
    (told,) = layer.receive(first)
    assert isinstance(told, ProviderAbort)
    assert isinstance(told.error, RemoteProtocolError)
    assert told.error.spoken == spoken
    assert words in str(told)


@pytest.mark.parametrize("values", [(0, 1, 1), (3, 1, 1), (1, 4, 1), (1, 1, 4), (1, 3, 0), (2, 2, 3)])
def test_a_rejection_that_the_standard_does_not_have_is_noted(values: tuple[int, int, int]) -> None:
    layer = in_state(State.STA5, requestor=True)
    assert layer.receive(encode(AAssociateRJ(*values))) == [RejectConfirmation(AAssociateRJ(*values))]
    assert [d.clause for d in layer.deviations] == ["PS3.8 9.3.4"]


@pytest.mark.parametrize(("source", "reason"), [(1, 0), (3, 0), (2, 3), (2, 7)])
def test_an_abort_that_the_standard_does_not_have_is_noted(source: int, reason: int) -> None:
    layer = in_state(State.STA6, requestor=True)
    before = len(layer.deviations)
    assert layer.receive(encode(AAbort(source, reason))) == [AbortIndication(source, reason)]
    assert [d.clause for d in layer.deviations[before:]] == ["PS3.8 9.3.8"]


def test_rejections_and_aborts_of_the_standard_are_not_noted() -> None:
    for values in ((1, 1, 1), (1, 1, 2), (1, 1, 3), (1, 1, 7), (1, 2, 1), (1, 2, 2), (2, 3, 1), (2, 3, 2)):
        layer = in_state(State.STA5, requestor=True)
        layer.receive(encode(AAssociateRJ(*values)))
        assert list(layer.deviations) == []
    for abort in (AAbort(0, 0), AAbort(0, 9), *(AAbort(2, reason) for reason in (0, 1, 2, 4, 5, 6))):
        layer = in_state(State.STA6, requestor=True)
        before = len(layer.deviations)
        layer.receive(encode(abort))
        assert len(layer.deviations) == before


def test_deviations_of_the_peer_are_kept() -> None:
    layer = in_state(State.STA2, requestor=False)
    raw = bytearray(encode(REQUEST))
    raw[1] = 7
    layer.receive(raw)
    assert "PS3.8 9.3.1" in [d.clause for d in layer.deviations]


def test_an_answer_may_refuse_every_context() -> None:
    layer = in_state(State.STA5, requestor=True)
    answer = AAssociateAC(called_ae="", calling_ae="", presentation_contexts=(PresentationContextAC(1, 3),))
    assert layer.receive(encode(answer)) == [AssociateConfirmation(answer)]


def test_every_state_has_a_role() -> None:
    assert set(ROLES) == set(State)
    assert {(s, e) for s, _, e in CELLS} | {(s, Event.EVT2) for s in State} | {
        (s, Event.EVT1) for s in State
    } | {(s, Event.EVT5) for s in State} == set(product(State, Event))


def test_the_short_way_of_data_is_the_tables() -> None:
    """P-DATA takes no step through the table: that holds only while its actions leave the state as it is."""
    for (event, state), action in TRANSITIONS.items():
        if event is Event.EVT10:
            assert (state in _DATA_STATES) == (NEXT_STATE[action] == (state,) and state is not State.STA13)


def test_one_place_assigns_the_state() -> None:
    source = inspect.getsource(UpperLayer)
    assert len(re.findall(r"self\.state(: State)? = ", source)) == 2, "where it begins, and the step"
