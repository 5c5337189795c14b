"""Who holds the peer: it is held while somebody is full and nobody waits for it."""

from __future__ import annotations

from collections.abc import Callable, Hashable

TURN = "the turn of other connections"


class Reading:
    """Decides whether the peer is read from; `pause` and `resume` are called on a change alone.

    Somebody is full whose queue has no room, and waits who is blocked until something of the peer comes:
    what keeps a slow consumer's queue short would else keep back what another one waits for, for ever.
    Who is full and waits under one name, as a retrieve for the end of itself, is full. The turn of other
    connections, between two reads, holds whoever waits.
    """

    def __init__(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._pause = pause
        self._resume = resume
        self._full: set[Hashable] = set()
        self._firm: set[Hashable] = set()
        self._waiting: set[Hashable] = set()
        self.held: bool = False

    @property
    def holders(self) -> tuple[str, ...]:
        """Who holds the peer, for a log line; empty when it is not held."""
        return tuple(sorted(str(name) for name in self._full)) if self.held else ()

    def full(self, name: Hashable, *, firm: bool = False) -> None:
        """There is no room for more. firm: what makes room comes from elsewhere, so whoever waits is held."""
        self._full.add(name)
        if firm:
            self._firm.add(name)
        self._decide()

    def room(self, name: Hashable) -> None:
        """There is room again, or nobody keeps anything any more."""
        if name in self._full:
            self._full.discard(name)
            self._firm.discard(name)
            self._decide()

    def waits(self, name: Hashable) -> None:
        """Somebody is blocked until something comes from the peer; see that `goes_on` follows."""
        self._waiting.add(name)
        if self._full:
            self._decide()

    def goes_on(self, name: Hashable) -> None:
        """It waits no more."""
        self._waiting.discard(name)
        if self._full:
            self._decide()

    def clear(self) -> None:
        """The association is over: nobody keeps anything."""
        self._full.clear()
        self._firm.clear()
        self._decide()

    def _decide(self) -> None:
        held = bool(self._firm) or TURN in self._full or (bool(self._full) and self._waiting <= self._full)
        if held is not self.held:
            self.held = held
            (self._pause if held else self._resume)()
