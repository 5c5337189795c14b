"""What a session does for its own side: fragments, accounting, windows, release, verbs out of place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from aiodicom.dimse import (
    CCancelRQ,
    CEchoRQ,
    CEchoRSP,
    CFindRQ,
    CFindRSP,
    CStoreRQ,
    CStoreRSP,
    Established,
    MessageReceived,
    Released,
    ReleaseRequested,
    Session,
    SessionLimits,
    encode_message,
)
from aiodicom.pdu import (
    AAbort,
    AAssociateRQ,
    AReleaseRQ,
    AssociateIndication,
    AsyncOperationsWindow,
    LocalProtocolError,
    PduLimits,
    PresentationContextAC,
    RejectConfirmation,
    Rejection,
    State,
    encode,
)
from hypothesis import example, given
from hypothesis import strategies as st
from pair import (
    CT,
    CT_ID,
    ECHO_ID,
    FIND,
    FIND_ID,
    IMPLICIT,
    Data,
    Pair,
    answer,
    check_pdata,
    even,
    open_pair,
    open_session,
    request,
    sent_bytes,
    sent_pdus,
    sent_pdvs,
    split_pdus,
    tell,
    wire,
)
from strategies import sizes
from strategies_dimse import messages

ECHO = CEchoRQ(message_id=1)
STORE = CStoreRQ(message_id=2, affected_sop_class_uid=CT, affected_sop_instance_uid="1.2.3")
QUERY = CFindRQ(message_id=3, affected_sop_class_uid=FIND)

MAXIMA = st.one_of(
    st.sampled_from([0, 16, 17, 18, 19, 20, 64, 16384, 16385, 131072, 0x7FFFFFFF, 0xFFFFFFFF]),
    st.integers(min_value=16, max_value=300),
)


# --- fragments


@given(MAXIMA, st.binary(max_size=700), st.lists(st.integers(min_value=0, max_value=200), max_size=6))
@example(0, b"", [])
@example(16, b"odd", [])
@example(17, bytes(10), [])
@example(17, bytes(11), [10])
def test_one_even_pdv_a_pdu_within_the_peers_maximum(maximum: int, data: bytes, parts: list[int]) -> None:
    """Whatever the maximum and the parts a data set is given in; one of odd length is padded."""
    session = open_session(requestor=True, peer_maximum=maximum)
    session.send(CT_ID, STORE)
    at = 0
    for part in parts:
        piece = data[at : at + part * 2]
        if len(piece) % 2:
            break
        session.send_data(piece, last=False)
        at += len(piece)
    session.send_data(memoryview(data)[at:], last=True)
    raw = sent_bytes(session)
    for pdu in split_pdus(raw):
        check_pdata(pdu, maximum)
    peer = open_session(requestor=False, limits=SessionLimits(pdu=PduLimits(maximum_length=maximum)))
    assert tell(peer, [raw]) == [MessageReceived(peer.contexts[CT_ID], STORE), Data(even(data), True)]


@given(messages(), st.integers(min_value=16, max_value=60))
def test_command_sets_are_cut_likewise(message: object, maximum: int) -> None:
    session = open_session(requestor=True, peer_maximum=maximum)
    raw = encode_message(message)  # type: ignore[arg-type]
    session._fragment(CT_ID, memoryview(raw), command=True, last=True)
    pdus = split_pdus(sent_bytes(session))
    for pdu in pdus:
        check_pdata(pdu, maximum)
    assert b"".join(pdu[12:] for pdu in pdus) == raw
    assert [pdu[11] for pdu in pdus] == [1] * (len(pdus) - 1) + [3]


@pytest.mark.parametrize(
    ("maximum", "largest"),
    [(16, 10), (17, 10), (18, 12), (64, 58), (65, 58), (16384, 16378), (0, 1048570), (None, 1048570)],
)
def test_the_largest_fragment(maximum: int | None, largest: int) -> None:
    session = open_session(requestor=True, peer_maximum=maximum)
    assert session.largest_fragment == largest
    assert session.peer_maximum_length == (maximum or 0)


@pytest.mark.parametrize("maximum", [1, 2, 6, 7, 8, 12, 15])
def test_a_maximum_that_leaves_no_room_cannot_be_accepted(maximum: int) -> None:
    session = Session(requestor=False)
    asked = request()
    tiny = replace(asked, user_information=replace(asked.user_information, maximum_length=maximum))
    session.connection_made()
    session.receive(encode(tiny))
    with pytest.raises(LocalProtocolError, match="no room"):
        session.accept(answer(asked))
    assert session.state is State.STA3
    session.reject(Rejection.NO_REASON)
    assert sent_pdus(session) == [Rejection.NO_REASON]


@pytest.mark.parametrize("requestor", [True, False])
@pytest.mark.parametrize("maximum", [0, 4096, 131072])
def test_what_we_announce_is_what_our_limits_say(requestor: bool, maximum: int) -> None:
    limits = SessionLimits(pdu=PduLimits(maximum_length=maximum))
    session = Session(requestor=requestor, limits=limits)
    if requestor:
        session.associate(request())
        session.connection_made()
    else:
        session.connection_made()
        session.receive(encode(request()))
        session.accept(answer(request(), maximum_length=99))
    (pdu,) = sent_pdus(session)
    assert pdu.user_information.maximum_length == maximum  # type: ignore[union-attr]


def test_a_data_set_of_no_bytes_is_one_empty_last_fragment() -> None:
    session = open_session(requestor=True)
    session.send(CT_ID, STORE)
    session.send_data(b"", last=False)
    session.send_data(b"", last=True)
    assert [(p.command, p.last, p.data) for p in sent_pdvs(session)][1:] == [(False, True, b"")]


def test_a_data_set_is_not_copied() -> None:
    session = open_session(requestor=True, peer_maximum=100)
    data = bytearray(b"x" * 500)
    session.send(CT_ID, STORE)
    session.data_to_send()
    session.send_data(data, last=True)
    pieces = [buffer for buffer in session.data_to_send() if isinstance(buffer, memoryview)]
    assert all(piece.obj is data for piece in pieces)
    assert sum(piece.nbytes for piece in pieces) == 500


def test_views_of_wider_items_are_sent_as_their_bytes() -> None:
    session = open_session(requestor=True)
    session.send(CT_ID, STORE)
    session.data_to_send()
    session.send_data(memoryview(b"\1\0\2\0\3\0\4\0").cast("H"), last=True)
    assert [p.data for p in sent_pdvs(session)] == [b"\1\0\2\0\3\0\4\0"]


# --- what our own side may not do: LocalProtocolError, and nothing changes


def frozen(session: Session) -> tuple[object, ...]:
    return (
        session.state,
        dict(session._invoked),
        dict(session._performed.requests),
        session._outgoing,
        session.window,
        dict(session.contexts),
    )


def refused(session: Session, verb: Callable[[], object], match: str = ".") -> None:
    """The verb is a LocalProtocolError that leaves no trace."""
    before = frozen(session)
    with pytest.raises(LocalProtocolError, match=match):
        verb()
    assert frozen(session) == before
    assert sent_bytes(session) == b""


def test_a_context_that_is_not_open() -> None:
    session = open_session(requestor=True, given=answer(request(), refused=[CT_ID]))
    refused(session, lambda: session.send(CT_ID, STORE), "not open")
    refused(session, lambda: session.send(99, ECHO), "not open")


def test_a_message_in_the_middle_of_a_data_set() -> None:
    session = open_session(requestor=True)
    session.send(CT_ID, STORE)
    session.data_to_send()
    refused(session, lambda: session.send(ECHO_ID, ECHO), "middle")
    refused(session, lambda: session.send(CT_ID, CCancelRQ(message_id_being_responded_to=2)), "middle")
    refused(session, session.release, "middle")
    session.send_data(b"data", last=True)
    session.release()


def test_a_data_set_nobody_announced() -> None:
    session = open_session(requestor=True)
    refused(session, lambda: session.send_data(b"data", last=True), "announced")
    session.send(CT_ID, STORE)
    session.send_data(b"data", last=True)
    session.data_to_send()
    refused(session, lambda: session.send_data(b"data", last=True), "announced")


def test_an_odd_part_that_is_not_the_last() -> None:
    session = open_session(requestor=True)
    session.send(CT_ID, STORE)
    session.data_to_send()
    refused(session, lambda: session.send_data(b"odd", last=False), "odd")
    session.send_data(b"odd", last=True)


def test_a_message_id_in_use() -> None:
    asked = request(window=AsyncOperationsWindow(0, 0))
    session = open_session(
        requestor=True, asked=asked, given=answer(asked, window=AsyncOperationsWindow(0, 0))
    )
    session.send(ECHO_ID, ECHO)
    session.data_to_send()
    refused(session, lambda: session.send(ECHO_ID, ECHO), "in use")


def test_a_response_nobody_asked_for() -> None:
    session = open_session(requestor=False)
    response = CEchoRSP(message_id_being_responded_to=1, status=0)
    refused(session, lambda: session.send(ECHO_ID, response), "not outstanding")
    session.receive(wire(ECHO_ID, ECHO))
    session.send(ECHO_ID, response)
    session.data_to_send()
    refused(session, lambda: session.send(ECHO_ID, response), "not outstanding")


def test_a_response_that_does_not_fit_its_request() -> None:
    session = open_session(requestor=False)
    session.receive(wire(ECHO_ID, ECHO))
    store = CStoreRSP(message_id_being_responded_to=1, status=0)
    pending = CEchoRSP(message_id_being_responded_to=1, status=0xFF00)
    refused(session, lambda: session.send(ECHO_ID, store), "another kind")
    refused(session, lambda: session.send(ECHO_ID, pending), "pending")
    elsewhere = CEchoRSP(message_id_being_responded_to=1, status=0)
    refused(session, lambda: session.send(CT_ID, elsewhere), "another context")
    session.send(ECHO_ID, elsewhere)


@given(MAXIMA, st.lists(st.binary(max_size=200), max_size=4))
def test_a_response_with_each_of_many_data_sets_is_as_many_messages(
    maximum: int, datasets: list[bytes]
) -> None:
    pending = CFindRSP(message_id_being_responded_to=QUERY.message_id, status=0xFF01, has_dataset=True)
    one, many = (open_session(requestor=False, peer_maximum=maximum) for _ in range(2))
    for session in (one, many):
        session.receive(wire(FIND_ID, QUERY, b"12"))
    for data in datasets:
        one.send(FIND_ID, pending)
        one.send_data(data, last=True)
    many.send_each(FIND_ID, pending, datasets)
    assert sent_bytes(many) == sent_bytes(one)
    done = CFindRSP(message_id_being_responded_to=QUERY.message_id, status=0)
    many.send(FIND_ID, done)  # it is still outstanding, until now
    many.data_to_send()
    refused(many, lambda: many.send_each(FIND_ID, pending, datasets), "not outstanding")


def test_what_is_not_sent_many_at_a_time() -> None:
    session = open_session(requestor=False)
    pending = CFindRSP(message_id_being_responded_to=QUERY.message_id, status=0xFF00, has_dataset=True)
    refused(session, lambda: session.send_each(FIND_ID, pending, [b""]), "not outstanding")
    session.receive(wire(FIND_ID, QUERY, b"12"))
    for wrong in (replace(pending, status=0), replace(pending, has_dataset=False)):
        refused(session, lambda: session.send_each(FIND_ID, wrong, [b""]), "only pending")
    refused(session, lambda: session.send_each(CT_ID, pending, [b""]), "another context")
    refused(session, lambda: session.send_each(99, pending, [b""]), "not open")
    session.send(FIND_ID, pending)
    session.data_to_send()
    refused(session, lambda: session.send_each(FIND_ID, pending, [b""]), "in the middle")


def test_a_message_that_cannot_be_encoded() -> None:
    session = open_session(requestor=True)
    refused(session, lambda: session.send(CT_ID, replace(STORE, affected_sop_instance_uid="1.é")))
    refused(session, lambda: session.send(CT_ID, replace(STORE, message_id=0x10000)))
    session.send(CT_ID, STORE)


@pytest.mark.parametrize("requestor", [True, False])
def test_messages_before_and_after_the_association(requestor: bool) -> None:
    for end in (Session.release, Session.abort):
        session = open_session(requestor)
        end(session)
        session.data_to_send()
        refused(session, lambda s=session: s.send(FIND_ID if requestor else ECHO_ID, QUERY))  # type: ignore[misc]
    session = Session(requestor=requestor)
    refused(session, lambda: session.send(ECHO_ID, ECHO))
    refused(session, session.release)
    refused(session, session.abort)
    refused(session, lambda: session.accept(answer(request())))
    refused(session, lambda: session.reject(Rejection.NO_REASON))


def test_an_answer_that_does_not_fit_the_request() -> None:
    session = Session(requestor=False)
    session.connection_made()
    asked = request()
    session.receive(encode(asked))
    good = answer(asked)
    stranger = PresentationContextAC(99, 0, IMPLICIT)
    refused(session, lambda: session.accept(replace(good, presentation_contexts=(stranger,))))
    other = PresentationContextAC(1, 0, "1.2.3")
    refused(session, lambda: session.accept(replace(good, presentation_contexts=(other,))))
    session.accept(good)
    refused_again = sent_pdus(session)
    assert len(refused_again) == 1
    refused(session, lambda: session.accept(good))


@pytest.mark.parametrize("requestor", [True, False])
def test_a_session_serves_one_association(requestor: bool) -> None:
    session = open_session(requestor)
    session.abort()
    session.connection_lost()
    session.data_to_send()
    refused(session, session.connection_made)
    if requestor:
        refused(session, lambda: session.associate(request()))


# --- the asynchronous operations window (PS3.7 D.3.3.3)


@pytest.mark.parametrize(
    ("asked", "given_", "window"),
    [
        (None, None, (1, 1)),
        ((5, 5), None, (1, 1)),
        (None, (5, 5), (1, 1)),
        ((5, 4), (3, 2), (3, 2)),
        ((0, 0), (0, 0), (0, 0)),
        ((0, 1), (8, 1), (8, 1)),
        ((3, 2), (9, 9), (3, 2)),
        ((3, 2), (0, 0), (3, 2)),
    ],
)
def test_the_window_from_both_sides(
    asked: tuple[int, int] | None, given_: tuple[int, int] | None, window: tuple[int, int]
) -> None:
    """What the answer calls invoked is what the requestor may invoke and the acceptor be asked."""
    rq = request(window=None if asked is None else AsyncOperationsWindow(*asked))
    ac = answer(rq, window=None if given_ is None else AsyncOperationsWindow(*given_))
    here, there = open_session(True, asked=rq, given=ac), open_session(False, asked=rq, given=ac)
    assert here.window == AsyncOperationsWindow(*window)
    assert there.window == AsyncOperationsWindow(window[1], window[0])


@pytest.mark.parametrize("invoked", [1, 2, 3])
def test_no_more_requests_than_negotiated(invoked: int) -> None:
    rq = request(window=AsyncOperationsWindow(5, 1))
    session = open_session(True, asked=rq, given=answer(rq, window=AsyncOperationsWindow(invoked, 1)))
    for number in range(invoked):
        session.send(ECHO_ID, CEchoRQ(message_id=number))
    session.data_to_send()
    refused(session, lambda: session.send(ECHO_ID, CEchoRQ(message_id=77)), "negotiated")
    session.receive(wire(ECHO_ID, CEchoRSP(message_id_being_responded_to=0, status=0)))
    session.send(ECHO_ID, CEchoRQ(message_id=77))


def test_an_unlimited_window() -> None:
    rq = request(window=AsyncOperationsWindow(0, 0))
    session = open_session(True, asked=rq, given=answer(rq, window=AsyncOperationsWindow(0, 0)))
    for number in range(200):
        session.send(ECHO_ID, CEchoRQ(message_id=number))
    assert session.established


def test_overlapping_operations_are_answered_in_any_order() -> None:
    window = AsyncOperationsWindow(3, 1)
    pair = open_pair(asked=request(window=window), window=window)
    for number in (1, 2, 3):
        pair.requestor.session.send(ECHO_ID, CEchoRQ(message_id=number))
    pair.flush(pair.requestor)
    pair.settle()
    for number in (3, 1, 2):
        pair.acceptor.session.send(ECHO_ID, CEchoRSP(message_id_being_responded_to=number, status=0))
    pair.flush(pair.acceptor)
    pair.settle()
    assert [m.message_id_being_responded_to for m, _ in pair.requestor.messages] == [3, 1, 2]  # type: ignore[union-attr]
    assert list(pair.acceptor.session.deviations) == []


def test_outstanding_says_what_waits_for_a_final_response() -> None:
    session = open_session(requestor=True)
    session.send(FIND_ID, QUERY)
    session.send_data(b"identifier", last=True)
    assert session.outstanding(3)
    session.receive(wire(FIND_ID, CFindRSP(message_id_being_responded_to=3, status=0xFF00)))
    assert session.outstanding(3)
    session.receive(wire(FIND_ID, CFindRSP(message_id_being_responded_to=3, status=0)))
    assert not session.outstanding(3)


# --- the beginning and the end, both sides joined


@given(sizes())
def test_an_association_and_its_release(pieces: list[int]) -> None:
    pair = open_pair()
    pair.requestor.session.send(ECHO_ID, ECHO)
    pair.flush(pair.requestor)
    pair.settle(pieces)
    pair.acceptor.session.send(ECHO_ID, CEchoRSP(message_id_being_responded_to=1, status=0))
    pair.flush(pair.acceptor)
    pair.settle(pieces)
    pair.requestor.session.release()
    pair.flush(pair.requestor)
    pair.settle(pieces)
    assert pair.requestor.ends == [Released()]
    assert pair.acceptor.ends == [ReleaseRequested()]
    assert [side.session.state for side in pair.sides] == [State.STA1, State.STA1]
    assert not any(side.connected for side in pair.sides)


@given(sizes())
def test_a_release_collision(pieces: list[int]) -> None:
    """Both ask: the requestor answers first, the acceptor last, and both have both (PS3.8 7.2.2)."""
    pair = open_pair()
    for side in pair.sides:
        side.session.release()
    for side in pair.sides:
        pair.flush(side)
    pair.settle(pieces)
    assert pair.requestor.ends == [ReleaseRequested(), Released()]
    assert pair.acceptor.ends == [ReleaseRequested(), Released()]
    assert [side.session.state for side in pair.sides] == [State.STA1, State.STA1]


def test_the_acceptors_answer_to_a_collision_comes_last() -> None:
    session = open_session(requestor=False)
    session.release()
    session.data_to_send()
    assert tell(session, [encode(AReleaseRQ())]) == [ReleaseRequested()]
    assert session.state is State.STA10
    assert sent_bytes(session) == b""


@pytest.mark.parametrize("size", [1, 3, None])
def test_a_rejection(size: int | None) -> None:
    pair = open_pair_until_asked(request())
    pair.acceptor.session.reject(Rejection.CALLED_AE_NOT_RECOGNIZED)
    pair.flush(pair.acceptor)
    pair.settle([size] if size else [])
    assert pair.requestor.told == [RejectConfirmation(Rejection.CALLED_AE_NOT_RECOGNIZED)]
    assert pair.requestor.session.contexts == {}
    assert not pair.acceptor.connected


def open_pair_until_asked(asked: AAssociateRQ) -> Pair:
    """A pair whose acceptor has been asked and has not answered."""
    pair = Pair()
    pair.requestor.session.associate(asked)
    pair.connect()
    pair.settle()
    (event,) = pair.acceptor.told
    assert isinstance(event, AssociateIndication)
    pair.acceptor.told.clear()
    return pair


@given(sizes())
def test_both_sides_see_the_same_contexts(pieces: list[int]) -> None:
    pair = open_pair_until_asked(request())
    here = pair.acceptor.session.accept(answer(pair.acceptor.session.request, refused=[FIND_ID]))
    pair.flush(pair.acceptor)
    pair.settle(pieces)
    (event,) = pair.requestor.told
    assert isinstance(event, Established)
    assert here == pair.acceptor.session.contexts
    assert event.contexts == pair.requestor.session.contexts
    assert {i: (c.abstract_syntax, c.scu, c.scp) for i, c in here.items()} == {
        i: (c.abstract_syntax, c.scp, c.scu) for i, c in event.contexts.items()
    }
    assert FIND_ID not in here
    assert here[CT_ID].scu
    assert here[CT_ID].scp


def test_an_abort_says_who_and_why() -> None:
    pair = open_pair()
    pair.acceptor.session.abort(0, 0)
    pair.flush(pair.acceptor)
    pair.settle()
    (event,) = pair.requestor.told
    assert (event.source, event.reason) == (0, 0)
    assert pair.acceptor.told == []  # who aborts need not be told
    session = open_session(requestor=True)
    session.abort(2, 6)
    assert sent_pdus(session) == [AAbort(2, 6)]
