"""The one adapter between a `Session` and asyncio: reads, writes, flow control, ARTIM.

Facts behind the shape: one fixed buffer parsed in place is faster than append-and-cut; `get_buffer` must give
a memoryview (asyncio's TLS slices copies of a bytearray); an exception out of `buffer_updated` would drop the
connection without an A-ABORT; a buffer given to `write` belongs to the transport from then on.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import threading
from collections.abc import Iterator
from itertools import islice
from time import monotonic
from typing import Protocol, cast

from ..dimse.events import SessionEvent
from ..dimse.session import Session
from ..pdu.fsm import State
from ..pdu.upper_layer import Buffer
from .reading import TURN as NEXT_TURN
from .reading import Reading
from .tap import Tap
from .turns import MOST_EVENTS, turns_of

log: logging.Logger = logging.getLogger("aiodicom.transport")

READ_BUFFER = 256 * 1024
# A read is filled, handled and done with in one go, so one scratch buffer a thread serves every
# connection of its event loop, and an idle association holds none.
_local = threading.local()

WRITE_HIGH = 1024 * 1024
"""Bytes waiting to be written over which producers are held."""
WRITE_LIMIT = 16 * 1024 * 1024
"""Bytes waiting to be written over which a peer that does not read is cut off."""

_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)


def _scratch() -> memoryview:
    view: memoryview | None = getattr(_local, "view", None)
    if view is None:
        view = _local.view = memoryview(bytearray(READ_BUFFER))
    return view


_WRITELINES_FORGETS_TO_PAUSE = (3, 12) <= sys.version_info < (3, 12, 9) or (3, 13) <= sys.version_info < (
    3,
    13,
    2,
)
"""CVE-2024-12254: there asyncio's `writelines` buffers without bound for a peer that does not read."""


class Owner(Protocol):
    """Who a connection reports to. Nothing here may block."""

    def on_event(self, event: SessionEvent) -> None:
        """A session event, within the read that brought it, in order."""

    def on_read(self) -> None:
        """A read has been dealt with."""

    def on_held(self) -> None:
        """The peer reads too slowly: producers are held from now on."""

    def on_overflow(self, text: str) -> None:
        """More waits to be written than may: the connection is cut off, once this returns."""

    def on_closed(self, error: Exception | None) -> None:
        """The transport is gone; called once."""


class Connection(asyncio.BufferedProtocol):
    """Runs one session over one transport and reports to `owner`.

    `artim` is the ARTIM time; `opening` is the loop's time until which the A-ASSOCIATE-RQ is awaited
    instead, for a listener counts from the TCP accept; `opening_missed` tells that it did not come.
    `pdu_since` is when the PDU arriving now began, None between PDUs; `message_since` and `message_bytes`
    are the same of the message, with what has come of it.
    """

    def __init__(self, session: Session, owner: Owner, *, artim: float, opening: float | None = None) -> None:
        self.session = session
        self.pdu_since: float | None = None
        self._pdu_number = 0
        self.message_since: float | None = None
        self.message_bytes: int = 0
        self._message_number = 0
        self._handed = 0  # bytes given to the transport, and how many of them it had sent at the last look
        self._taken = 0
        self._taken_at = 0.0
        self._paused_at = 0.0
        self._opening = opening
        self.opening_missed: bool = False
        self.last_activity: float = 0.0
        self.bytes_received: int = 0
        self.lost_error: Exception | None = None
        self.tap: Tap | None = None
        self._loop = asyncio.get_running_loop()
        self._owner = owner
        self._artim = artim
        self._artim_generation = 0
        self._artim_timer: asyncio.TimerHandle | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._closed = False
        self._coming: Iterator[SessionEvent | None] | None = None  # of what was read and not looked at
        self._arrived = 0  # bytes of it that are not accounted for
        self._lost = False  # the transport is gone, but not all that came was looked at
        self._turns = turns_of(self._loop)
        self._writable: asyncio.Future[None] | None = None  # set while producers are held
        self.reading: Reading = Reading(self._pause_reading, self._resume_reading)
        self._scratch = _scratch()

    # --- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the session on it and send what it has to say."""
        transport = cast(asyncio.Transport, transport)  # uvloop's is not registered as one
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_HIGH)
        self._socket = transport.get_extra_info("socket")
        if self._socket is not None and self._socket.family in (socket.AF_INET, socket.AF_INET6):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._quickack()
        else:
            self._socket = None
        self.last_activity = self._loop.time()
        self.session.connection_made()
        self.flush()

    def get_buffer(self, sizehint: int) -> memoryview:
        """The scratch buffer of this thread."""
        return self._scratch

    def buffer_updated(self, nbytes: int) -> None:
        """Hand what was read to the session, its events to the user, its answers to the wire."""
        begun = monotonic()
        self.bytes_received += nbytes
        self._arrived = nbytes
        if self.tap is not None:
            self.tap.data(sent=False, data=self._scratch[:nbytes])
        if nbytes < READ_BUFFER:  # else more is there already
            self._quickack()
        if self._turns.over:
            self._coming = self.session.events(bytes(self._scratch[:nbytes]))
            self._wait_for_turn()
            return
        self._coming = self.session.events(self._scratch[:nbytes])
        self._deal()
        if self._coming is not None:
            self.session.upper.keep()
            self._wait_for_turn()
        self._turns.spend(monotonic() - begun)

    def _deal(self) -> None:
        """With the next events of what was read, and with the times they change."""
        try:
            self._deal_with()
        except BaseException:  # a defect here: nothing of it can come any more, and its end is not waited for
            self._coming = None
            self.transport.abort()
            if self._lost:
                self._end()
            raise

    def _deal_with(self) -> None:
        now, upper = self._loop.time(), self.session.upper
        filled, moves = upper.filled, upper.mid_content
        self._hand_on()
        if moves or upper.filled != filled:  # an empty PDU is no sign of life
            self.last_activity = now
        self._note_times(now, self._arrived)
        self._arrived = 0
        self._owner.on_read()

    def _hand_on(self) -> None:
        """The next events of what was read."""
        assert self._coming is not None
        events = list(islice(self._coming, MOST_EVENTS))
        if len(events) < MOST_EVENTS:
            self._coming = None
        for event in events:
            if event is not None:
                self._owner.on_event(event)
        self.flush()

    def _note_times(self, now: float, nbytes: int) -> None:
        """When the PDU and the message that are arriving began."""
        upper = self.session.upper
        if not upper.mid_pdu:
            self.pdu_since = None
        elif self.pdu_since is None or upper.pdus_started != self._pdu_number:
            self._pdu_number = upper.pdus_started
            self.pdu_since = now
        if not self.session.receiving:
            self.message_since = None
        elif self.message_since is None or self.session.messages_begun != self._message_number:
            self._message_number = self.session.messages_begun
            self.message_since, self.message_bytes = now, 0
        else:
            self.message_bytes += nbytes

    def _wait_for_turn(self) -> None:
        """Others come first: nothing more is read meanwhile."""
        self.reading.full(NEXT_TURN)
        self._turns.join(self._go_on)

    def _go_on(self) -> None:
        """Our turn has come: what was read and not looked at, then reading."""
        if self._coming is not None and not self._closed:
            self._deal()
        if self._coming is not None and not self._closed:
            self._turns.join(self._go_on)
        elif self._lost:
            if not self._closed:
                self._end()
        else:
            self.reading.room(NEXT_TURN)

    def eof_received(self) -> bool:
        """The peer will send no more; the transport closes and `connection_lost` follows."""
        return False

    def pause_writing(self) -> None:
        """The write buffer is over its high mark."""
        if self._writable is None:
            self._writable = self._loop.create_future()
            self._taken_at = self._loop.time()
            self._owner.on_held()

    def resume_writing(self) -> None:
        """The write buffer has drained."""
        self.last_activity = self._loop.time()
        waiter, self._writable = self._writable, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone; what came before counts first, in its turn."""
        self.lost_error = exc
        self.resume_writing()
        if self._coming is None:
            self._end()
        else:
            self._lost = True

    def _end(self) -> None:
        """Nothing more will come: tell so."""
        self._closed = True
        for timer in (self._artim_timer, self._close_timer):
            if timer is not None:
                timer.cancel()
        self._artim_timer = self._close_timer = None
        for event in self.session.connection_lost():
            self._owner.on_event(event)
        self._owner.on_closed(self.lost_error)

    # --- for the association

    @property
    def connected(self) -> bool:
        """Whether there is a transport, open or gone."""
        return self._transport is not None

    @property
    def closed(self) -> bool:
        """Whether the transport is gone."""
        return self._closed

    @property
    def silent_tls(self) -> bool:
        """Whether this is TLS over which the peer has sent nothing yet."""
        transport = self._transport
        return (
            not self.bytes_received
            and transport is not None
            and transport.get_extra_info("ssl_object") is not None
        )

    @property
    def transport(self) -> asyncio.Transport:
        """The transport, once connected."""
        assert self._transport is not None
        return self._transport

    def flush(self) -> None:
        """Write what the session has to send, and do what it asks of the connection."""
        transport = self._transport
        if transport is None or self._closed:
            return
        upper = self.session.upper
        buffers = upper.data_to_send()
        if buffers and not transport.is_closing():
            self.touch()
            self._handed += sum(map(len, buffers))
            if self.tap is not None:
                for buffer in buffers:
                    self.tap.data(sent=True, data=memoryview(buffer).cast("B"))
            _write_all(transport, buffers)
            if self._writable is not None and transport.get_write_buffer_size() > WRITE_LIMIT:
                self._owner.on_overflow(f"cut off a peer that does not read: over {WRITE_LIMIT} bytes wait")
                transport.abort()
                return
        if upper.artim_generation != self._artim_generation or (
            self._artim_timer is not None and not upper.artim_running
        ):
            self._run_artim()
        if upper.close_requested:
            self.close()

    def touch(self) -> None:
        """Something moves now: times of silence are counted from here."""
        self.last_activity = self._loop.time()

    async def drain(self) -> None:
        """Wait until the transport takes more. Returns at once when the connection is gone."""
        if self._writable is not None:
            waiter = object()  # a peer that is held may not read what we want it to
            self.reading.waits(waiter)
            try:
                await asyncio.shield(self._writable)
            finally:
                self.reading.goes_on(waiter)

    def narrow(self, high: int | None) -> None:
        """Hold producers from so many waiting bytes on; None is as many as otherwise."""
        if self._transport is not None and not self._transport.is_closing():  # uvloop's would raise
            self._transport.set_write_buffer_limits(high=WRITE_HIGH if high is None else high)

    def close(self) -> None:
        """Close once what was written is out, and within the ARTIM time whatever the peer does."""
        if self._transport is None or self._closed or self._close_timer is not None:
            return
        self._close_timer = self._loop.call_later(self._artim, self._transport.abort)
        self._transport.close()

    def drop(self) -> None:
        """Close now, whatever waits to be written."""
        if self._transport is not None and not self._closed:
            self._transport.abort()

    @property
    def writing_held(self) -> bool:
        """Whether the peer keeps us from sending."""
        return self._writable is not None

    @property
    def handed(self) -> int:
        """Bytes that were given to the transport."""
        return self._handed

    def taken(self) -> int:
        """How many of these the system has taken: what ends there or before is not looked at again."""
        if self._transport is None:
            return 0
        return self._handed - self._transport.get_write_buffer_size()

    def taken_at(self) -> float:
        """When the peer was last seen to take some of what waits to be sent, as far as anyone looked."""
        taken = self.taken()
        if taken > self._taken:
            self._taken, self._taken_at = taken, self._loop.time()
        return self._taken_at

    # --- inside

    def _pause_reading(self) -> None:
        self._paused_at = self._loop.time()
        if self._transport is not None and not (self._closed or self._lost):
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        now = self.last_activity = self._loop.time()
        # the peer's times do not run while it is we who keep it waiting
        waited = now - self._paused_at
        if self.pdu_since is not None:
            self.pdu_since += waited
        if self.message_since is not None:
            self.message_since += waited
        if self._transport is not None and not (self._closed or self._lost):
            self._transport.resume_reading()

    def _quickack(self) -> None:
        """Acknowledge at once: peers with Nagle on (all of DCMTK, Orthanc, pynetdicom as shipped) wait
        for it before they send the rest of a message. Linux forgets the option, so it is set again.
        """
        if _QUICKACK is not None and self._socket is not None:
            try:
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
            except OSError:  # the connection went meanwhile; asyncio reports that itself
                self._socket = None

    def _run_artim(self) -> None:
        upper = self.session.upper
        if self._artim_timer is not None:
            self._artim_timer.cancel()
            self._artim_timer = None
        self._artim_generation = upper.artim_generation
        if upper.artim_running:
            opening = self._opening if upper.state is State.STA2 else None
            when = self._loop.time() + self._artim if opening is None else opening
            self._artim_timer = self._loop.call_at(when, self._artim_expired)

    def _artim_expired(self) -> None:
        self._artim_timer = None
        self.opening_missed = self.session.upper.state is State.STA2
        self.session.upper.artim_expired()
        self.drop()  # its time is up: nothing of TLS is waited for either


def _write_all(transport: asyncio.Transport, buffers: list[Buffer]) -> None:
    """Write the buffers; more than the high-water mark pauses the sender, whatever Python this is."""
    if not _WRITELINES_FORGETS_TO_PAUSE:
        transport.writelines(buffers)
        return
    for buffer in buffers:
        transport.write(buffer)
