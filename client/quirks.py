"""What is known of a peer that it does not tell by itself."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..association.connect import WINDOW, Peer
from ..dimse.levels import Root
from .plan import Method
from .windows import is_round


@dataclass(frozen=True, slots=True)
class Quirks:
    """How a peer differs from what the standard has it do.

    character_set: what its text is written in where an answer names no character set, none that exists, or
    one that its bytes are not of; several values with backslashes between (PS3.3 C.12.1.1.2).
    cancel: whether it bears a C-CANCEL; a query that is left early is aborted where it does not.
    cap: the number of answers beyond which it tells no more, where that is known.
    roots: the information models it accepts; the others are not tried where the user names none.
    methods: by which services a retrieve that may choose (via="auto") asks it, in order; DICOMweb comes last
    where it has an address and is not among them.
    relational: false where it drops associations for relational queries, or grants and does not do them.
    roles: false where it grants no SCP role (PS3.7 D.3.3.4): C-GET is then the last of DIMSE that is tried.
    window: false where it drops associations for an asynchronous operations window: none is offered.

    None is for what is not known; ``aiodicom diagnose --learn`` finds out.

    >>> pacs = aiodicom.connect(HOST, PORT, quirks=aiodicom.Quirks(cancel=False, cap=200))
    """

    character_set: str | None = None
    cancel: bool = True
    cap: int | None = None
    roots: tuple[Root, ...] | None = None
    methods: tuple[Method, ...] | None = None
    relational: bool | None = None
    roles: bool | None = None
    window: bool | None = None

    def stops(self, count: int) -> bool:
        """Whether so many answers to a query may not be all: where it is known to stop, or archives do."""
        return count == self.cap or is_round(count)

    def borne(self, peer: Peer) -> Peer:
        """The peer without what it is known not to bear of what is offered by default."""
        if self.window is False and peer.async_operations is WINDOW:
            return replace(peer, async_operations=None)
        return peer

    def ladder(self, *, web: bool) -> tuple[Method, ...]:
        """The services of a retrieve that may choose; `web`: there is a DICOMweb address."""
        usual: tuple[Method, ...] = ("move", "get") if self.roles is False else ("get", "move")
        named = self.methods or usual
        chosen = tuple(one for one in named if one != "web" or web)
        return (chosen if "web" in chosen or not web else (*chosen, "web")) or usual
