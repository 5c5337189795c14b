"""A log that says what happened once and not a million times."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

WINDOW = 60.0
"""Seconds in which the same thing from the same peer is counted instead of said again."""
DIFFERENT = 8
"""Texts of one kind a peer may cause in a window: causes differ, and so may what a peer makes up."""
REMEMBERED = 1024
"""Kinds of event of peers remembered at once; the oldest is forgotten first."""


@dataclass(slots=True)
class _Said:
    since: float
    texts: set[str] = field(default_factory=set)
    held: int = 0


class Logbook:
    """Says what a peer did once a window, with how often more of its kind came in the window before.

    `origin` gives what an address counts as. May be used from any thread.
    """

    def __init__(
        self, logger: logging.Logger, clock: Callable[[], float], origin: Callable[[str], str] = str
    ) -> None:
        self._origin = origin
        self._logger = logger
        self._clock = clock
        self._seen: OrderedDict[tuple[str, str], _Said] = OrderedDict()
        self._guard = threading.Lock()

    def note(self, kind: str, peer: str, message: str, *, level: int = logging.WARNING) -> None:
        """Log an event of this kind from this peer (an address; never patient data)."""
        with self._guard:
            held = self._held(kind, self._origin(peer), message)
        if held is None:
            return
        more = f" ({held} more like it were not logged)" if held else ""
        self._logger.log(level, "%s: %s%s", peer, message, more)

    def _held(self, kind: str, peer: str, message: str) -> int | None:
        """How many were held back before this one is said; `None` when this one is held back too."""
        now = self._clock()
        said = self._seen.get((kind, peer))
        held = 0
        if said is None or now - said.since >= WINDOW:
            held = said.held if said is not None else 0
            said = self._seen[kind, peer] = _Said(now)
        self._seen.move_to_end((kind, peer))
        if message in said.texts or len(said.texts) >= DIFFERENT:
            said.held += 1
            return None
        said.texts.add(message)
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return held
