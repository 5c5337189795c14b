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

    inactivity: nothing moves while an operation of ours runs. idle: nothing arrives while nothing runs.
    pdu: one PDU takes longer than this to arrive.
    """

    inactivity: float | None = None
    idle: float | None = None
    pdu: float | None = None


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
        self._stopped = False

    def arm(self) -> None:
        """See that the timer wakes no later than the next limit."""
        if self._stopped:
            return
        limits = self._limits()
        if not limits:
            return
        when = min(when for when, _ in limits)
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._woken)

    def arm_for_pdu(self) -> None:
        """`arm`, if a PDU has begun to arrive and that is watched."""
        if self.watch.pdu is not None and self._connection.pdu_since is not None:
            self.arm()

    def stop(self) -> None:
        """Watch no more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _limits(self) -> list[tuple[float, str]]:
        """The moments at which the association has waited too long as things stand, and what to say."""
        found: list[tuple[float, str]] = []
        connection, watch = self._connection, self.watch
        if connection.reading.held:  # it is we who keep the peer waiting: look again later
            waits = [w for w in (watch.pdu, watch.inactivity, watch.idle) if w is not None]
            return [(self._loop.time() + min(waits), "")] if waits else found
        if watch.pdu is not None and connection.pdu_since is not None:
            found.append(
                (connection.pdu_since + watch.pdu, f"one PDU took longer than {watch.pdu} s to arrive")
            )
        if self._invoking() or connection.writing_held:
            limit = watch.inactivity if watch.inactivity is not None else watch.idle
            if limit is not None:
                moment = connection.last_activity + limit
                found.append((moment, f"nothing moved for {limit} s while an operation ran"))
        elif watch.idle is not None and not self._performing():
            found.append((connection.last_activity + watch.idle, f"the peer was idle for {watch.idle} s"))
        return found

    def _woken(self) -> None:
        self._timer = None
        now = self._loop.time()
        for when, text in self._limits():
            if when <= now:
                self._act(InactivityTimeout(text))
                return
        self.arm()
