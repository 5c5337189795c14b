"""A log that says what happened once and not a million times."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable

WINDOW = 60.0
"""Seconds in which the same thing from the same peer is counted instead of said again."""
REMEMBERED = 1024
"""Things remembered at once; the oldest is forgotten first."""


class Logbook:
    """Says a kind of event of a peer once a window, with how often it came since it was last said."""

    def __init__(self, logger: logging.Logger, clock: Callable[[], float]) -> None:
        self._logger = logger
        self._clock = clock
        self._seen: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    def note(self, kind: str, peer: str, message: str, *, level: int = logging.WARNING) -> None:
        """Log an event of this kind from this peer (an address; never patient data)."""
        now = self._clock()
        key = (kind, peer)
        said, held = self._seen.pop(key, (None, 0))
        if said is not None and now - said < WINDOW:
            self._seen[key] = (said, held + 1)
            return
        self._seen[key] = (now, 0)
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        more = f" ({held} more like it were not logged)" if held else ""
        self._logger.log(level, "%s: %s%s", peer, message, more)
