"""What an association negotiated, and what it did not, in words."""

from __future__ import annotations

from typing import Any

from ..association.association import Association
from ..association.connect import Peer
from ..association.errors import ContextNotAccepted
from ..association.tls import connection_info
from ..dimse.contexts import Context, outcomes
from ..dimse.uid_names import uid_name
from .results import ConnectionInfo


def need_context(association: Association, abstract_syntax: str) -> Context:
    """The context to use as SCU of an abstract syntax. Raises ContextNotAccepted."""
    contexts = association.find_contexts(abstract_syntax)
    if contexts:
        return contexts[0]
    request, answer = association.session.request, association.session.answer
    assert request is not None
    assert answer is not None
    refused = [
        one.words for one in outcomes(request, answer) if one.proposed.abstract_syntax == abstract_syntax
    ]
    error = ContextNotAccepted(sop_class_name(abstract_syntax), refused, abstract_syntax=abstract_syntax)
    raise error.at(association.peer)


def sop_class_name(uid: str) -> str:
    """The name of a UID as the standard has it, with the UID itself."""
    name = uid_name(uid)
    return f"{name} ({uid})" if name != uid else uid


def describe(peer: Peer, association: Association) -> ConnectionInfo:
    """What an association's connection is."""
    session = association.session
    assert session.answer is not None
    answer = session.answer.user_information
    ssl_object: Any = association.connection.transport.get_extra_info("ssl_object")
    return ConnectionInfo(
        host=peer.host,
        port=peer.port,
        calling_ae=peer.calling_ae,
        called_ae=peer.called_ae,
        implementation_class_uid=answer.implementation_class_uid,
        implementation_version_name=answer.implementation_version_name,
        maximum_length=session.limits.pdu.maximum_length,
        peer_maximum_length=session.peer_maximum_length,
        contexts=tuple(association.contexts.values()),
        deviations=tuple(session.deviations),
        tls=connection_info(ssl_object) if ssl_object is not None else None,
    )
