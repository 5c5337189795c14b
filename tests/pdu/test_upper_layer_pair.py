"""Two upper layers joined in memory, under any order of verbs and any cutting of the bytes between them.

What must hold, whatever the two users do:

- A verb either works or raises LocalProtocolError and changes nothing. Nothing else is ever raised.
- Two sides that keep to the protocol never accuse each other of breaking it.
- Every fragment that is delivered was sent, once, in order; and all sent before a release are delivered.
- The ARTIM timer runs in Sta2 and Sta13 and in no other state.
- A side whose association has ended is told nothing more of it.
- A side asks for its connection to be closed only when it has no association.
- Once all bytes are delivered and one side's connection is gone, neither side thinks it is open.
- No side is left with an association the other has no part in: when all has been delivered, the two
  states are a pair the standard can reach.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from aiodicom.pdu import (
    PDV,
    TRANSITIONS,
    AbortIndication,
    AssociateConfirmation,
    AssociateIndication,
    Event,
    Fragment,
    Indication,
    LocalProtocolError,
    PDataTF,
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
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from machines import ANSWER, DATA, REQUEST, Snapshot

S = State
SIDES = st.sampled_from([0, 1])
RARELY = st.integers(min_value=0, max_value=5).map(lambda n: n == 5)

# (requestor, acceptor) when nothing is under way between them and both connections are open
SETTLED = {
    (S.STA5, S.STA3),
    (S.STA6, S.STA6),
    (S.STA7, S.STA8),
    (S.STA8, S.STA7),
    (S.STA9, S.STA10),
    (S.STA11, S.STA12),
}


class Side:
    """One machine, what its user sent and got, and the bytes on their way to it."""

    def __init__(self, name: str, requestor: bool) -> None:
        self.name = name
        self.layer = UpperLayer(requestor=requestor)
        self.incoming = bytearray()
        self.connected = False
        self.peer_gone = False  # the other side closed: an end follows the incoming bytes
        self.sent: list[bytes] = []
        self.got: list[bytes] = []
        self.partial = b""
        self.told: deque[Indication] = deque()
        self.released = False

    def take(self, indications: list[Indication]) -> None:
        """Keep what was indicated, fragments joined and copied."""
        for indication in indications:
            if isinstance(indication, Fragment):
                self.partial += bytes(indication.data)
                if indication.last:
                    self.got.append(self.partial)
                    self.partial = b""
                continue
            self.told.append(indication)
            if isinstance(indication, ReleaseConfirmation):
                self.released = True
            if isinstance(indication, ProviderAbort):
                assert not isinstance(indication.error, RemoteProtocolError), (
                    f"{self.name} accuses its peer: {indication.error}"
                )


class Pair(RuleBasedStateMachine):
    """The two sides and everything that may happen to them."""

    def __init__(self) -> None:
        super().__init__()
        self.requestor = Side("requestor", True)
        self.acceptor = Side("acceptor", False)
        self.sides = (self.requestor, self.acceptor)

    def other(self, side: Side) -> Side:
        return self.acceptor if side is self.requestor else self.requestor

    def any_in(self, *states: State) -> bool:
        return any(side.layer.state in states for side in self.sides)

    def flush(self, side: Side) -> None:
        """Put what a side has to send on the wire, and close its connection when it asks for it."""
        raw = b"".join(side.layer.data_to_send())
        if side.connected:
            self.other(side).incoming += raw
            if side.layer.close_requested:
                self.drop(side)

    def drop(self, side: Side) -> None:
        side.connected = False
        side.incoming.clear()
        self.other(side).peer_gone = True
        side.take(side.layer.connection_lost())

    def attempt(self, side: Side, verb: Callable[[], object]) -> bool:
        before = Snapshot.of(side.layer)
        try:
            verb()
        except LocalProtocolError:
            assert Snapshot.of(side.layer) == before
            assert side.layer.data_to_send() == []
            return False
        self.flush(side)
        return True

    # --- what happens

    @initialize(associated=st.sampled_from([True, True, False]))
    def connect(self, associated: bool) -> None:
        """Most runs start with an association, or aborts would end them before anything happens."""
        self.requestor.layer.associate(REQUEST)
        for side in self.sides:
            side.connected = True
            side.layer.connection_made()
        self.flush(self.requestor)
        if associated:
            self.deliver_all()
            self.attempt(self.acceptor, lambda: self.acceptor.layer.accept(ANSWER))
            self.deliver_all()

    @precondition(lambda self: self.any_in(S.STA3))
    @rule()
    def accept(self) -> None:
        self.attempt(self.acceptor, lambda: self.acceptor.layer.accept(ANSWER))

    @precondition(lambda self: self.any_in(S.STA3))
    @rule(rarely=RARELY)
    def reject(self, rarely: bool) -> None:
        if rarely:
            self.attempt(self.acceptor, lambda: self.acceptor.layer.reject(Rejection.NO_REASON))

    @precondition(lambda self: self.any_in(S.STA6, S.STA8))
    @rule(at=SIDES, content=st.binary(min_size=1, max_size=60), pieces=st.integers(1, 4))
    def send(self, at: int, content: bytes, pieces: int) -> None:
        side = self.sides[at]
        step = -(-len(content) // pieces)
        parts = [content[n : n + step] for n in range(0, len(content), step)]
        pdvs = [PDV(1, False, n == len(parts) - 1, part) for n, part in enumerate(parts)]
        raw = [encode(PDataTF((pdv,))) for pdv in pdvs]
        if self.attempt(side, lambda: side.layer.send_pdata(list(raw))):
            side.sent.append(content)

    @precondition(lambda self: self.any_in(S.STA6))
    @rule(at=SIDES, rarely=RARELY)
    def release(self, at: int, rarely: bool) -> None:
        side = self.sides[at]
        if rarely:
            self.attempt(side, side.layer.release)

    @precondition(lambda self: self.any_in(S.STA6))
    @rule(rarely=RARELY)
    def release_from_both_sides(self, rarely: bool) -> None:
        if rarely:
            for side in self.sides:
                self.attempt(side, side.layer.release)

    @precondition(lambda self: self.any_in(S.STA8, S.STA9, S.STA12))
    @rule(at=SIDES)
    def release_response(self, at: int) -> None:
        side = self.sides[at]
        self.attempt(side, side.layer.release_response)

    @rule(at=SIDES, rarely=RARELY)
    def abort(self, at: int, rarely: bool) -> None:
        side = self.sides[at]
        if rarely:
            self.attempt(side, side.layer.abort)

    @rule(at=SIDES, count=st.integers(min_value=1, max_value=30) | st.just(400), eager=st.booleans())
    def deliver(self, at: int, count: int, eager: bool = False) -> None:
        """Some bytes arrive, in a buffer that is used again afterwards.

        An eager user answers each indication before the next PDU of the same bytes is judged.
        """
        side = self.sides[at]
        if not side.connected:
            return
        scratch = bytearray(side.incoming[:count])
        del side.incoming[:count]
        over = side.layer.state is S.STA13
        for indication in side.layer.indications(memoryview(scratch)):
            if indication is None:  # a pause
                continue
            assert not over, f"{side.name} is told {indication} after its association has ended"
            side.take([indication])
            if eager and isinstance(indication, AssociateIndication):
                side.layer.accept(ANSWER)
            elif eager and indication == ReleaseIndication(collision=False):
                side.layer.release_response()
        scratch[:] = b"\xff" * len(scratch)
        self.flush(side)
        if side.connected and side.peer_gone and not side.incoming:
            self.drop(side)

    @precondition(lambda self: any(len(side.incoming) > 1 for side in self.sides))
    @rule(at=SIDES, count=st.integers(min_value=1, max_value=30), aborts=st.booleans())
    def speak_amid_a_pdu(self, at: int, count: int, aborts: bool) -> None:
        """The end of a delivery lies in a PDU, and just there we abort or release."""
        side = self.sides[at]
        if len(side.incoming) > count:
            self.deliver(at, count)
            if side.layer.mid_pdu:
                self.attempt(side, side.layer.abort if aborts else side.layer.release)

    @rule(rarely=RARELY)
    def deliver_what_is_there(self, rarely: bool) -> None:
        if rarely:
            self.deliver_all()

    def deliver_all(self) -> None:
        while any(side.connected and (side.incoming or side.peer_gone) for side in self.sides):
            for at in (0, 1):
                self.deliver(at, 7)

    @rule(at=SIDES)
    def artim(self, at: int) -> None:
        side = self.sides[at]
        if side.layer.artim_running and side.layer.state is S.STA13:
            side.layer.artim_expired()
            self.flush(side)

    @precondition(lambda self: self.requestor.layer.state is S.STA6)
    @rule(at=SIDES, rarely=RARELY)
    def lose(self, at: int, rarely: bool) -> None:
        """The connection goes, with no word of anybody."""
        if rarely and self.sides[at].connected:
            self.drop(self.sides[at])

    @rule(at=SIDES, rarely=RARELY)
    def ask_out_of_turn(self, at: int, rarely: bool) -> None:
        side = self.sides[at]
        if not rarely:
            return
        layer, allowed = side.layer, {event for event, state in TRANSITIONS if state is side.layer.state}
        for event, verb in {
            Event.EVT1: lambda: layer.associate(REQUEST),
            Event.EVT2: layer.connection_made,
            Event.EVT7: lambda: layer.accept(ANSWER),
            Event.EVT8: lambda: layer.reject(Rejection.NO_REASON),
            Event.EVT9: lambda: layer.send_pdata([encode(DATA)]),
            Event.EVT11: layer.release,
            Event.EVT14: layer.release_response,
            Event.EVT15: layer.abort,
        }.items():
            if event not in allowed or layer.state is S.STA1:  # Sta1 here is the end of an association
                assert not self.attempt(side, verb)

    # --- what holds

    @invariant()
    def fragments_come_once_and_in_order(self) -> None:
        for side in self.sides:
            sent = self.other(side).sent
            assert side.got == sent[: len(side.got)]
            if side.partial:
                assert sent[len(side.got)].startswith(side.partial)

    @invariant()
    def a_released_association_has_lost_nothing(self) -> None:
        for side in self.sides:
            if side.released:
                assert side.got == self.other(side).sent

    @invariant()
    def the_timer_runs_where_the_standard_starts_it(self) -> None:
        for side in self.sides:
            assert side.layer.artim_running == (side.layer.state in (S.STA2, S.STA13))

    @invariant()
    def only_a_side_without_association_closes(self) -> None:
        for side in self.sides:
            if side.layer.close_requested:
                assert side.layer.state is S.STA1

    @invariant()
    def when_all_has_come_the_states_fit(self) -> None:
        if any(side.incoming for side in self.sides if side.connected):
            return
        states = (self.requestor.layer.state, self.acceptor.layer.state)
        if all(side.connected for side in self.sides):
            assert states in SETTLED or S.STA13 in states or states == (S.STA4, S.STA2), states
        elif not any(side.connected and side.peer_gone for side in self.sides):
            assert states == (S.STA1, S.STA1)

    @invariant()
    def the_end_is_told_once(self) -> None:
        ends = (AbortIndication, ProviderAbort, RejectConfirmation)
        for side in self.sides:
            assert sum(isinstance(indication, ends) for indication in side.told) <= 1
            assert sum(isinstance(i, AssociateConfirmation | AssociateIndication) for i in side.told) <= 1
            assert sum(isinstance(indication, ReleaseIndication) for indication in side.told) <= 1

    def teardown(self) -> None:
        """Everything arrives, every timer runs out: nobody is left open once one side has gone."""
        self.deliver_all()
        for side in self.sides:
            side.layer.artim_expired()
            self.flush(side)
        self.deliver_all()
        if not all(side.connected for side in self.sides):
            assert [side.layer.state for side in self.sides] == [S.STA1, S.STA1]


Pair.TestCase.settings = settings(max_examples=250, stateful_step_count=40, deadline=None)
TestPair = Pair.TestCase
