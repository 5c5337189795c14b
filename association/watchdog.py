"""The times an association keeps by itself: one timer, re-armed lazily, so that a read costs no timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from .errors import InactivityTimeout
from .transport import Connection


@dataclass(frozen=True, slots=True)
class Watch:
    """The time limits an association watches, in seconds; None is off.

    inactivity: nothing moves while an operation of ours runs, or the peer takes nothing of what is sent to
    it, whatever it says meanwhile. idle: nothing arrives while nothing runs. pdu: one PDU takes longer than
    this to arrive. message: a whole message does, each begun MESSAGE_PART of it counting anew.
    """

    inactivity: float | None = None
    idle: float | None = None
    pdu: float | None = None
    message: float | None = None


_Limit = tuple[float, str, float, str]
"""When it passes, its name, how long it is, and what to say."""

MESSAGE_PART = 1 << 20
"""Bytes of a message that have its time anew: an object may be of any size, its peer not of any slowness."""


class Watchdog:
    """Calls `act` with an InactivityTimeout once a limit has passed.

    `invoking` says whether an operation of ours runs, `performing` whether one of the peer's does; the
    rest is asked of the connection. Call `arm` when one of them begins or ends.
    """

    def __init__(
        self,
        watch: Watch,
        connection: Connection,
        *,
        invoking: Callable[[], bool],
        performing: Callable[[], bool],
        act: Callable[[InactivityTimeout], None],
    ) -> None:
        self.watch = watch
        self._connection = connection
        self._invoking = invoking
        self._performing = performing
        self._act = act
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._wakes = 0.0  # when; uvloop gives a plain handle, which does not know, for a moment that is past
        self._stopped = False

    def arm(self) -> None:
        """See that the timer wakes no later than the next limit."""
        if self._stopped:
            return
        limits = self._limits()
        if not limits:
            return
        when = min(one[0] for one in limits)
        if self._timer is not None:
            if self._wakes <= when:
                return
            self._timer.cancel()
        self._timer, self._wakes = self._loop.call_at(when, self._woken), when

    def arm_for_pdu(self) -> None:
        """`arm`, if a PDU or a message has begun to arrive and that is watched."""
        watch, connection = self.watch, self._connection
        if (watch.pdu is not None and connection.pdu_since is not None) or (
            watch.message is not None and connection.message_since is not None
        ):
            self.arm()

    def stop(self) -> None:
        """Watch no more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _limits(self) -> list[_Limit]:
        """The moments at which the association has waited too long as things stand, and what to say."""
        found: list[_Limit] = []
        connection, watch = self._connection, self.watch
        quiet = watch.inactivity if watch.inactivity is not None else watch.idle
        if connection.writing_held and quiet is not None:
            text = f"the peer read nothing of what is sent to it for {quiet} s"
            name = "inactivity" if watch.inactivity is not None else "idle"
            found.append((connection.taken_at() + quiet, name, quiet, text))
        if connection.reading.held:  # it is we who keep the peer waiting: look again later
            waits = [w for w in (watch.pdu, watch.message, watch.inactivity, watch.idle) if w is not None]
            return [*found, (self._loop.time() + min(waits), "", 0.0, "")] if waits else found
        found += self._arriving()
        if self._invoking():
            if quiet is not None:
                name = "inactivity" if watch.inactivity is not None else "idle"
                text = f"nothing moved for {quiet} s while an operation ran"
                found.append((connection.last_activity + quiet, name, quiet, text))
        elif watch.idle is not None and not self._performing():
            text = f"the peer was idle for {watch.idle} s"
            found.append((connection.last_activity + watch.idle, "idle", watch.idle, text))
        return found

    def _arriving(self) -> list[_Limit]:
        """The limits of the PDU and the message that are arriving."""
        found: list[_Limit] = []
        connection, watch = self._connection, self.watch
        if watch.pdu is not None and connection.pdu_since is not None:
            text = f"one PDU took longer than {watch.pdu} s to arrive"
            found.append((connection.pdu_since + watch.pdu, "pdu", watch.pdu, text))
        if watch.message is not None and connection.message_since is not None:
            allowed = watch.message * (1 + connection.message_bytes // MESSAGE_PART)
            text = f"a message took longer than {watch.message} s for each MiB to arrive"
            found.append((connection.message_since + allowed, "message", watch.message, text))
        return found

    def _woken(self) -> None:
        self._timer = None
        now = self._loop.time()
        for when, limit, seconds, text in self._limits():
            if when <= now:
                self._act(InactivityTimeout(text, limit=limit, seconds=seconds))
                return
        self.arm()
