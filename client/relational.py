"""Relational queries and retrieves: asked for with every association that proposes them (PS3.4 C.5.1.1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..association.association import Association
from ..association.connect import Peer
from ..dimse.contexts import Proposal
from ..dimse.levels import Root, find_model, get_model, move_model
from ..pdu import SOPClassExtendedNegotiation

RELATIONAL = b"\1"
"""The service class application information: its first byte, and no other extension (PS3.4 C.5.1.1.1)."""
_MODELS = frozenset(model(root) for root in Root for model in (find_model, get_model, move_model))


def asking(peer: Peer, proposals: Iterable[Proposal]) -> Peer:
    """The peer with a relational extension for each query/retrieve model that is proposed.

    What the user asks of a model stays as it is.
    """
    named = {one.sop_class_uid for one in peer.extended}
    models = dict.fromkeys(one.abstract_syntax for one in proposals)
    more = [SOPClassExtendedNegotiation(uid, RELATIONAL) for uid in models if uid in _MODELS - named]
    return replace(peer, extended=(*peer.extended, *more)) if more else peer


def granted(association: Association, model: str) -> bool:
    """Whether the peer takes queries of this model in which unique keys above the level are empty."""
    answer = association.session.answer
    given = answer.user_information.extended if answer is not None else ()
    return any(one.sop_class_uid == model and one.information[:1] == RELATIONAL for one in given)
