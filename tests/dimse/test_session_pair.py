"""Two sessions joined in memory, under any order of verbs and any cutting of the bytes between them.

What must hold, whatever the two users do:

- A verb either works or raises LocalProtocolError; nothing else is ever raised, by a verb or by bytes.
- Two sessions never accuse each other of breaking the protocol, and note nothing they did.
- Messages arrive as they were sent, in order, once; their data sets byte for byte. A C-CANCEL may be
  dropped when what it cancels is over; nothing else may, but for requests that are refused.
- Each request gets exactly one final response, or the association ends.
- No P-DATA-TF is over the other's maximum; each holds one PDV, even but at an end (`pair.check_pdata`).
- After its end an association tells its user nothing. There is one end, but for a release collision,
  which tells of the peer's request first.
- What a session holds of what has not arrived whole stays below a command set and a refusal.

And a session fed anything after a valid beginning never raises, does the same however the bytes are cut,
and ends in Sta1 or Sta13 when something was wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from aiodicom.dimse import (
    CCancelRQ,
    CEchoRQ,
    CFindRQ,
    CGetRQ,
    CMoveRQ,
    CStoreRQ,
    Message,
    MessageReceived,
    NActionRQ,
    NCreateRQ,
    NDeleteRQ,
    NEventReportRQ,
    NGetRQ,
    NSetRQ,
    Released,
    ReleaseRequested,
    Request,
    RequestRefused,
    Response,
    Session,
    SessionLimits,
)
from aiodicom.dimse.checks import MULTIPLE_RESPONSES
from aiodicom.dimse.contexts import least_window
from aiodicom.dimse.messages import make_response
from aiodicom.dimse.status import Category, categorize
from aiodicom.pdu import (
    AReleaseRQ,
    AsyncOperationsWindow,
    LocalProtocolError,
    PduLimits,
    Rejection,
    State,
    encode,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pair import (
    CT,
    CT_ID,
    ECHO_ID,
    FIND,
    FIND_ID,
    GET,
    GET_ID,
    MOVE,
    MOVE_ID,
    MPPS,
    MPPS_ID,
    Fault,
    Pair,
    Side,
    answer,
    ends,
    even,
    held,
    open_session,
    request,
    sent_bytes,
    tell,
    unlimited,
    wire,
)
from strategies import bent, cut, sizes, streams
from strategies_dimse import messages, raw_commands

NORMALIZED = {"requested_sop_class_uid": MPPS, "requested_sop_instance_uid": "1.2.3"}
KINDS: dict[str, tuple[int, Callable[[int], Request]]] = {
    "echo": (ECHO_ID, lambda n: CEchoRQ(message_id=n)),
    "store": (
        CT_ID,
        lambda n: CStoreRQ(message_id=n, affected_sop_class_uid=CT, affected_sop_instance_uid=f"1.2.{n}"),
    ),
    "find": (FIND_ID, lambda n: CFindRQ(message_id=n, affected_sop_class_uid=FIND)),
    "get": (GET_ID, lambda n: CGetRQ(message_id=n, affected_sop_class_uid=GET)),
    "move": (MOVE_ID, lambda n: CMoveRQ(message_id=n, affected_sop_class_uid=MOVE, move_destination="AE")),
    "report": (
        MPPS_ID,
        lambda n: NEventReportRQ(
            message_id=n, affected_sop_class_uid=MPPS, affected_sop_instance_uid="1.2.3", event_type_id=1
        ),
    ),
    "n-get": (MPPS_ID, lambda n: NGetRQ(message_id=n, **NORMALIZED)),
    "n-set": (MPPS_ID, lambda n: NSetRQ(message_id=n, **NORMALIZED)),
    "action": (MPPS_ID, lambda n: NActionRQ(message_id=n, action_type_id=1, has_dataset=True, **NORMALIZED)),
    "create": (MPPS_ID, lambda n: NCreateRQ(message_id=n, affected_sop_class_uid=MPPS)),
    "delete": (MPPS_ID, lambda n: NDeleteRQ(message_id=n, **NORMALIZED)),
    # what the other side must refuse: another SOP class than the context's
    "wrong store": (
        FIND_ID,
        lambda n: CStoreRQ(message_id=n, affected_sop_class_uid=CT, affected_sop_instance_uid=f"1.2.{n}"),
    ),
    "wrong find": (MOVE_ID, lambda n: CFindRQ(message_id=n, affected_sop_class_uid=FIND)),
}
SIDES = st.sampled_from(["requestor", "acceptor"])
FITTING = {  # what each side may ask for when the roles were granted
    "requestor": sorted(set(KINDS) - {"report"}),
    "acceptor": ["report", "store"],
}
SELDOM = st.integers(min_value=0, max_value=19).map(lambda n: n == 13)
MAXIMA = st.sampled_from([0, 16, 17, 30, 64, 101, 16384])
WINDOWS = st.none() | st.builds(
    AsyncOperationsWindow, st.sampled_from([0, 1, 2, 3]), st.sampled_from([0, 1, 2, 3])
)


class User:
    """What one side's user has sent, and what it knows."""

    def __init__(self) -> None:
        self.sent: list[tuple[Message, bytes | None]] = []  # whole messages
        self.sending: tuple[Message, bytes, int] | None = None  # message, data set, how much of it went
        self.next_id = 1


class SessionPair(RuleBasedStateMachine):
    """The two sides and everything that may happen to them."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair()
        self.users = {side.name: User() for side in self.pair.sides}
        self.answered = False
        self.ended_by_us: set[str] = set()

    # --- helpers

    def side(self, name: str) -> Side:
        return getattr(self.pair, name)  # type: ignore[no-any-return]

    def attempt(self, side: Side, verb: Callable[[], object]) -> bool:
        try:
            verb()
        except LocalProtocolError:
            assert sent_bytes(side.session) == b""
            return False
        self.pair.flush(side)
        return True

    def waiting(self, side: Side) -> list[tuple[int, Request]]:
        """Requests received whole, with their context, that have had no final response."""
        found: dict[int, tuple[int, Request]] = {}
        whole = [message for message, _ in side.messages]
        for event in side.told:
            if not isinstance(event, MessageReceived) or not isinstance(event.message, Request):
                continue
            if any(event.message is message for message in whole):
                found[event.message.message_id] = (event.context.context_id, event.message)
        open_ids = side.session._performed.requests
        return [found[n] for n in open_ids if n in found]

    # --- the beginning

    @initialize(
        requestor=MAXIMA,
        acceptor=MAXIMA,
        lenient=st.booleans(),
        window=WINDOWS,
        accepted=st.sampled_from([True, True, True, False]),
    )
    def ask(
        self,
        requestor: int,
        acceptor: int,
        lenient: bool,
        window: AsyncOperationsWindow | None,
        accepted: bool,
    ) -> None:
        self.pair = Pair(
            requestor_limits=SessionLimits(pdu=PduLimits(maximum_length=requestor)),
            acceptor_limits=SessionLimits(pdu=PduLimits(maximum_length=acceptor)),
            lenient_roles=lenient,
        )
        self.pair.requestor.session.associate(request(window=window))
        self.pair.connect()
        if accepted:
            self.pair.settle()
            self.accept(set(), roles=True, window=window)
            self.pair.settle()

    @precondition(lambda self: self.pair.acceptor.session.state is State.STA3)
    @rule(
        refused=st.sets(st.sampled_from([CT_ID, FIND_ID, MPPS_ID]), max_size=1),
        roles=st.booleans(),
        window=WINDOWS,
    )
    def accept(self, refused: set[int], roles: bool, window: AsyncOperationsWindow | None) -> None:
        asked = self.pair.acceptor.session.request
        assert asked is not None
        offered = asked.user_information.async_operations
        if offered is None:
            window = None
        elif window is not None:
            window = AsyncOperationsWindow(
                least_window(offered.invoked, window.invoked),
                least_window(offered.performed, window.performed),
            )
        given_ = answer(asked, roles=None if roles else (), window=window, refused=sorted(refused))
        assert self.attempt(self.pair.acceptor, lambda: self.pair.acceptor.session.accept(given_))

    @precondition(lambda self: self.pair.acceptor.session.state is State.STA3)
    @rule(really=SELDOM)
    def reject(self, really: bool) -> None:
        if really:
            side = self.pair.acceptor
            assert self.attempt(side, lambda: side.session.reject(Rejection.TEMPORARY_CONGESTION))

    # --- messages

    @rule(
        name=SIDES,
        pick=st.integers(min_value=0, max_value=20),
        any_kind=SELDOM,
        data=st.binary(max_size=150),
        same_id=SELDOM,
    )
    def send_request(self, name: str, pick: int, any_kind: bool, data: bytes, same_id: bool) -> None:
        kinds = sorted(KINDS) if any_kind else FITTING[name]
        self.request(name, kinds[pick % len(kinds)], data, same_id)

    def request(self, name: str, kind: str, data: bytes, same_id: bool = False) -> None:
        side, user = self.side(name), self.users[name]
        context_id, make = KINDS[kind]
        number = user.next_id - 1 if same_id else user.next_id
        message = make(number)
        if self.attempt(side, lambda: side.session.send(context_id, message)):
            assert side.session.state is State.STA6
            user.next_id += 1
            self.begun(user, message, data)

    def begun(self, user: User, message: Message, data: bytes) -> None:
        assert user.sending is None
        if message.has_dataset:
            user.sending = (message, data, 0)
        else:
            user.sent.append((message, None))

    @rule(name=SIDES, size=st.integers(min_value=0, max_value=60), whole=st.booleans())
    def send_part(self, name: str, size: int, whole: bool) -> None:
        side, user = self.side(name), self.users[name]
        if user.sending is None:
            assert not self.attempt(side, lambda: side.session.send_data(b"xx", last=False))
            return
        message, data, at = user.sending
        end = len(data) if whole else min(at + size * 2, len(data) & ~1)
        part = memoryview(data)[at:end]
        if self.attempt(side, lambda: side.session.send_data(part, last=whole)):
            if whole:
                user.sending = None
                user.sent.append((message, data))
            else:
                user.sending = (message, data, end)

    @rule(
        name=SIDES,
        pick=st.integers(min_value=0, max_value=5),
        status=st.sampled_from([0x0000, 0xFF00, 0xFF01, 0xB000, 0xC000, 0xFE00]),
        data=st.none() | st.binary(max_size=100),
    )
    def respond(self, name: str, pick: int, status: int, data: bytes | None) -> None:
        side, user = self.side(name), self.users[name]
        waiting = self.waiting(side)
        if not waiting:
            return
        context_id, asked = waiting[pick % len(waiting)]
        may_carry = not isinstance(asked, CEchoRQ | CStoreRQ | NDeleteRQ)
        response = make_response(asked, status, has_dataset=data is not None and may_carry)
        if self.attempt(side, lambda: side.session.send(context_id, response)):
            assert categorize(status) is not Category.PENDING or asked.command_field in MULTIPLE_RESPONSES
            self.begun(user, response, data or b"")

    @rule(
        name=SIDES,
        pick=st.integers(min_value=0, max_value=20),
        data=st.binary(max_size=150),
        pieces=st.lists(st.integers(min_value=1, max_value=100), max_size=4),
        answer_too=st.booleans(),
    )
    def exchange(self, name: str, pick: int, data: bytes, pieces: list[int], answer_too: bool) -> None:
        """A request as it should be, delivered whole, and its answer."""
        kinds = FITTING[name]
        self.send_part(name, 0, True)
        self.request(name, kinds[pick % len(kinds)], data)
        self.send_part(name, 0, True)
        self.pair.settle(pieces)
        other = self.pair.other(self.side(name)).name
        if answer_too:
            self.send_part(other, 0, True)
            self.respond(other, pick, 0x0000, None)
            self.pair.settle(pieces)

    @rule(name=SIDES, number=st.integers(min_value=1, max_value=12))
    def cancel(self, name: str, number: int) -> None:
        side, user = self.side(name), self.users[name]
        invoked = side.session._invoked.get(number)
        message = CCancelRQ(message_id_being_responded_to=number)
        context_id = ECHO_ID if invoked is None else invoked[0]
        if self.attempt(side, lambda: side.session.send(context_id, message)):
            user.sent.append((message, None))

    # --- the end, and the network

    @rule(name=SIDES, really=SELDOM)
    def release(self, name: str, really: bool) -> None:
        side = self.side(name)
        if really and self.attempt(side, side.session.release):
            assert self.users[name].sending is None

    @rule(name=SIDES, really=SELDOM)
    def abort(self, name: str, really: bool) -> None:
        side = self.side(name)
        if really and side.connected and self.attempt(side, side.session.abort):
            self.ended_by_us.add(name)

    @rule(name=SIDES, really=SELDOM)
    def lose_the_connection(self, name: str, really: bool) -> None:
        if really and self.side(name).connected:
            self.pair.drop(self.side(name))

    @rule(name=SIDES)
    def artim_runs_out(self, name: str) -> None:
        side = self.side(name)
        if side.connected and side.session.upper.artim_running and side.session.state is State.STA13:
            side.session.upper.artim_expired()
            self.pair.flush(side)

    @rule(name=SIDES, size=st.none() | st.integers(min_value=1, max_value=100))
    def deliver(self, name: str, size: int | None) -> None:
        self.pair.deliver(self.side(name), size)

    @rule(pieces=st.lists(st.integers(min_value=1, max_value=100), max_size=4))
    def settle(self, pieces: list[int]) -> None:
        self.pair.settle(pieces)

    # --- what must hold

    @invariant()
    def nobody_is_accused(self) -> None:
        for side in self.pair.sides:
            for event in side.ends:
                assert not isinstance(event, Fault) or event.kind == "ConnectionClosed", event
            # what these users do: use a role that lenience granted, answer a C-FIND with a data set last
            # or without one first
            noted = {d.clause for d in side.session.deviations}
            assert noted <= {"PS3.7 D.3.3.4", "PS3.7 9.3.2.2"}, side.session.deviations

    @invariant()
    def messages_arrive_in_order_and_unchanged(self) -> None:
        for side in self.pair.sides:
            sender = self.users[self.pair.other(side).name]
            refused = [e for e in side.told if isinstance(e, RequestRefused)]
            sent = list(sender.sent)
            if sender.sending is not None:
                sent.append((sender.sending[0], None))
            turn = iter(sent)
            for message, data in side.messages:
                if isinstance(message, Response) and message.status == 0x0122:
                    continue  # the other session's own
                for candidate, its_data in turn:
                    arrives = None if its_data is None else even(its_data)
                    may_be_refused = any(e.command_field == candidate.command_field for e in refused)
                    # one that is alike in all but its context and its data set may have been refused before
                    if candidate == message and (data == arrives or not may_be_refused):
                        assert data == arrives
                        break
                    # passed over: a cancel without effect, or a request that was refused
                    assert isinstance(candidate, CCancelRQ) or may_be_refused, candidate
                else:
                    raise AssertionError(f"{message} was never sent")
            if side.partial is not None:
                message, data = side.partial
                whole = sender.sending[:2] if sender.sending is not None else None
                candidates = [*sender.sent, *([whole] if whole is not None else [])]
                assert any(m == message and even(d or b"").startswith(data) for m, d in candidates)

    @invariant()
    def one_final_response_at_most(self) -> None:
        for side in self.pair.sides:
            asked = [m.message_id for m, _ in self.users[side.name].sent if isinstance(m, Request)]
            sending = self.users[side.name].sending
            if sending is not None and isinstance(sending[0], Request):
                asked.append(sending[0].message_id)
            final = [
                e.message.message_id_being_responded_to
                for e in side.told
                if isinstance(e, MessageReceived)
                and isinstance(e.message, Response)
                and categorize(e.message.status) is not Category.PENDING
            ]
            for number in set(final):
                assert final.count(number) <= asked.count(number)

    @invariant()
    def the_end_is_the_end(self) -> None:
        for side in self.pair.sides:
            found = side.ends
            if found:
                tail = side.told[side.told.index(found[0]) :]
                assert tail == found, "something was told after the end"
            assert len(found) <= (2 if found[:1] == [ReleaseRequested()] else 1)
            if side.name in self.ended_by_us:
                assert found in ([], [ReleaseRequested()])

    @invariant()
    def little_is_held(self) -> None:
        for side in self.pair.sides:
            assert held(side.session) <= 4096
            assert len(side.session._refusals) <= 1 or side.session._outgoing is not None

    def teardown(self) -> None:
        """Deliver everything; what is still open is answered, and then every request has its end."""
        pair = self.pair
        pair.settle()
        for side in pair.sides:
            self.send_part(side.name, 0, True)
        pair.settle()
        for _ in range(100):
            moved = False
            for side in pair.sides:
                for context_id, asked in self.waiting(side):
                    response = make_response(asked, 0)
                    if self.attempt(side, lambda s=side, c=context_id, r=response: s.session.send(c, r)):  # type: ignore[misc]
                        self.users[side.name].sent.append((response, None))
                        moved = True
            pair.settle()
            if not moved:
                break
        states = {side.session.state for side in pair.sides}
        if states == {State.STA6}:
            for side in pair.sides:
                assert side.session._invoked == {}
                assert side.session._performed.requests == {}
                assert not side.session.receiving
                assert held(side.session) == 0
                assert side.ends == []
        self.messages_arrive_in_order_and_unchanged()
        self.one_final_response_at_most()
        self.the_end_is_the_end()
        self.nobody_is_accused()
        for side in pair.sides:
            if side.connected:
                pair.drop(side)
        pair.settle()
        for side in pair.sides:
            assert side.session.state is State.STA1
            assert not side.session.upper.artim_running


TestSessionPair = SessionPair.TestCase
TestSessionPair.settings = settings(stateful_step_count=60)


# --- one session, and whatever may come after a valid beginning


def _conversation() -> bytes:
    """What a requestor may send an acceptor, its requests answered or not."""
    parts = []
    for number, kind in enumerate(sorted(KINDS), 1):
        context_id, make = KINDS[kind]
        message = make(number)
        parts.append(wire(context_id, message, b"data set" if message.has_dataset else None))
    return b"".join([*parts, encode(AReleaseRQ())])


CONVERSATION = _conversation()


def _state_of(session: Session) -> tuple[object, ...]:
    return (
        session.state,
        session._invoked,
        session._performed.requests,
        list(session.deviations),
        session.upper.close_requested,
        session.upper.artim_running,
    )


def _fresh(requestor: bool) -> Session:
    session = open_session(requestor)
    if requestor:
        session.send(FIND_ID, KINDS["find"][1](1))
        session.send_data(b"identifier", last=True)
        session.data_to_send()
    return session


def _same_however_cut(requestor: bool, stream: bytes, pieces: list[int]) -> Session:
    whole, cut_up = _fresh(requestor), _fresh(requestor)
    told = tell(whole, [stream])
    assert tell(cut_up, cut(stream, pieces)) == told
    assert sent_bytes(cut_up) == sent_bytes(whole)
    assert _state_of(cut_up) == _state_of(whole)
    assert len(ends(told)) <= 1
    if ends(told):
        assert whole.state in (State.STA1, State.STA13)
        assert isinstance(told[-1], type(ends(told)[0]))
    else:
        assert whole.state is State.STA6
    lost = whole.connection_lost()
    assert len(lost) == (0 if ends(told) else 1)
    assert held(whole) <= 65536 + len(stream)
    return whole


@given(st.booleans(), bent(CONVERSATION), sizes())
def test_a_bent_conversation(requestor: bool, stream: bytes, pieces: list[int]) -> None:
    _same_however_cut(requestor, stream, pieces)


@given(st.booleans(), streams(), sizes())
def test_any_pdus(requestor: bool, stream: bytes, pieces: list[int]) -> None:
    _same_however_cut(requestor, stream, pieces)


@given(
    st.booleans(),
    st.lists(
        st.tuples(
            st.sampled_from([ECHO_ID, CT_ID, FIND_ID, GET_ID, MOVE_ID, MPPS_ID]),
            messages() | raw_commands(),
            st.none() | st.binary(max_size=40),
        ),
        max_size=5,
    ),
    sizes(),
)
def test_any_messages(
    requestor: bool, sent: list[tuple[int, Message | bytes, bytes | None]], pieces: list[int]
) -> None:
    """Well-framed messages of any kind, with a data set or without, whatever they announce."""
    stream = b"".join(wire(context_id, message, data) for context_id, message, data in sent)
    _same_however_cut(requestor, stream, pieces)


def test_the_conversation_itself() -> None:
    session = unlimited()
    told = tell(session, [CONVERSATION])
    assert told[-1] == ReleaseRequested()
    refused = [e.status for e in told if isinstance(e, RequestRefused)]
    assert sorted(refused) == [0x0122, 0x0122, 0x0122]  # the two wrong ones, and the report to an SCP
    assert len([e for e in told if isinstance(e, MessageReceived)]) == len(KINDS) - 3


def test_the_machine_reaches_released_on_both_sides() -> None:
    """The rules above can carry an association through: associate, store, answer, release."""
    machine = SessionPair()
    machine.ask(0, 0, True, None, False)
    machine.settle([])
    machine.accept(set(), True, None)
    machine.settle([])
    machine.request("requestor", "store", b"data")
    machine.send_part("requestor", 0, True)
    machine.settle([7])
    machine.respond("acceptor", 0, 0, None)
    machine.settle([1])
    machine.release("requestor", True)
    machine.settle([3])
    assert machine.pair.requestor.ends == [Released()]
    assert machine.pair.acceptor.ends == [ReleaseRequested()]
    ((response, _),) = machine.pair.requestor.messages
    assert response == make_response(KINDS["store"][1](1), 0)
    machine.teardown()
    assert replace(response, status=0) == response  # type: ignore[type-var]
