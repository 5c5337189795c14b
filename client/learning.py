"""Finding out how a peer is: what its negotiation grants, and what it does with requests that alter nothing.

Asked for: a study that nobody has, by C-GET and C-MOVE; studies by C-FIND, cancelled after the first
answer. No object moves, and what is asked to be returned is UIDs and dates alone.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

from ..association.connect import WINDOW, Peer
from ..association.errors import AssociationAborted, InactivityTimeout, OperationFailed
from ..dimse import messages as m
from ..dimse.contexts import Proposal
from ..dimse.levels import Level, QueryError, Root, find_model, get_model, move_model
from ..dimse.sop_classes import storage_sop_classes
from ..dimse.status import CANCEL, MOVE_DESTINATION_UNKNOWN, Category, Status
from ..pdu.errors import AiodicomError, ConnectionClosed
from .associations import Associations
from .diagnosis import Outcome, Step
from .finding import Finding
from .identifier import build_query, build_retrieve
from .negotiated import need_context
from .pacs import BASIC_PROPOSALS
from .plan import SERVICES, Method
from .quirks import Quirks
from .relational import granted
from .rungs import NOT_HERE

LOOK = 2100
"""Answers that are taken to see whether a peer stops at a number of them: above it, nothing is learned."""
_ANY_STUDY = ("StudyInstanceUID", "StudyDate")
CONFIRMING = 40
"""Queries at most by which it is shown that there is more than a peer tells at once."""


@dataclass(slots=True)
class Learned:
    """What was found out of a peer: `steps` in words, and as `Quirks`, of which `known` are the members.

    `gone` are members that it was shown to have no value of: what was learned of them before is outdated.
    """

    steps: list[Step] = field(default_factory=list)
    quirks: Quirks = Quirks()
    known: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)

    def add(self, name: str, value: Any, text: str, advice: str = "", *, gone: bool = False) -> None:
        """A member of the quirks; None for what cannot be told, and for what it has not (`gone`)."""
        if gone:
            self.gone.add(name)
        outcome = Outcome.SKIPPED if value is None else Outcome.WARNING if advice else Outcome.OK
        self.steps.append(Step(name, outcome, text, advice))
        if value is not None:
            self.quirks = replace(self.quirks, **{name: value})
            self.known.add(name)

    def values(self) -> dict[str, Any]:
        """What is known, as a file of nodes says it; None for what is to be said no more."""
        plain: dict[str, Any] = dict.fromkeys(sorted(self.gone - self.known))
        for one in fields(self.quirks):
            if one.name in self.known:
                value = getattr(self.quirks, one.name)
                words = (
                    [getattr(word, "value", word) for word in value] if isinstance(value, tuple) else value
                )
                plain[one.name] = words
        return plain


async def learn(peer: Peer, before: Quirks | None = None) -> Learned:
    """Find out how a peer is; `before`: what was learned of it. Raises where no association is opened.

    Whether it bears an asynchronous operations window is told where the default one is offered.
    """
    learned = Learned()
    associations = Associations(peer, BASIC_PROPOSALS)
    await associations.enter(lazy=True)
    try:
        root = await _negotiated(associations, learned, offered=peer.async_operations is WINDOW)
        if root is not None:
            await _methods(associations, learned, root)
            await _cancel(associations, learned, root)
            await _cap(associations, learned, root, before.cap if before is not None else None)
    except BaseException:
        await associations.close_after_error()
        raise
    await associations.close()
    return learned


async def _negotiated(associations: Associations, learned: Learned, *, offered: bool) -> Root | None:
    """What the association itself tells; the root to ask by, None where the peer answers no queries."""
    storage = storage_sop_classes()[0]
    async with associations.use([Proposal(storage, scp_role=True)]) as association:
        answer = association.session.answer
        assert answer is not None
        told = answer.user_information
        roots = tuple(
            root for root in (Root.STUDY, Root.PATIENT) if association.find_contexts(find_model(root))
        )
        names = ", ".join(root.value for root in roots)
        learned.add(
            "roots", roots or None, f"{names} accepted for C-FIND" if roots else "it answers no C-FIND"
        )
        if roots:
            relational = granted(association, find_model(roots[0]))
            learned.add("relational", relational, "relational queries are " + _granted(relational))
        roles = None
        if association.find_contexts(storage):
            roles = any(one.sop_class_uid == storage and one.scp_role for one in told.roles)
        words = "no storage SOP class is accepted" if roles is None else f"the SCP role is {_granted(roles)}"
        learned.add("roles", roles, words)
        borne = associations.peer.async_operations is not None if offered else None
        window = told.async_operations
        granted_window = f"{window.invoked} operations at once" if window is not None else "one at a time"
        words = f"borne: {granted_window}" if borne else "an association that offers one is dropped"
        words = "none was offered" if borne is None else words
        learned.add("window", borne, f"asynchronous operations window: {words}")
        return roots[0] if roots else None


def _granted(yes: bool) -> str:
    return "granted" if yes else "not granted"


# --- services


async def _methods(associations: Associations, learned: Learned, root: Root) -> None:
    """Which of C-GET and C-MOVE to us are not refused: a study is asked for that nobody has.

    Archives fail at that in many words (Orthanc says C000H whatever the reason), so what is not plainly a
    refusal of the service is none.
    """
    uid = f"2.25.{uuid.uuid4().int}"
    found: list[Method] = []
    said: list[str] = []
    advice = ""
    models: dict[Method, Callable[[Root], str]] = {"get": get_model, "move": move_model}
    for method, model in models.items():
        status = await _refusal(associations, method, model, root, uid)
        if isinstance(status, str):
            said.append(f"{SERVICES[method]} is refused: {status}")
            if status == _UNKNOWN_TITLE:
                advice = "have our AE title registered there with address and port, and learn again"
        else:
            found.append(method)
            told = "it was silent" if status is None else str(status)
            said.append(f"{SERVICES[method]} is not refused: {told}")
    learned.add("methods", tuple(found) or None, "; ".join(said), advice, gone=not found)


_UNKNOWN_TITLE = "our AE title is not known as a destination"


async def _refusal(
    associations: Associations, method: Method, model: Callable[[Root], str], root: Root, uid: str
) -> str | Status | None:
    """Why a service is not to be had, or the status of what cannot succeed, None where there was none."""
    roots = [root] if model(root) in await associations.accepted(model(root)) else []
    other = Root.PATIENT if root is Root.STUDY else Root.STUDY
    if not roots and model(other) in await associations.accepted(model(other)):
        roots = [other]
    if not roots:
        return "no presentation context"
    query = build_retrieve(SERVICES[method], Level.STUDY, roots[0], [uid], {})
    title = associations.peer.calling_ae
    try:
        async with associations.use([Proposal(query.model)], own=True) as association:
            context = need_context(association, query.model)
            operation = await association.invoke(
                context, partial(_request, method, query.model, title), query.encode(context.transfer_syntax)
            )
            response, _ = await operation.next()
    except (AssociationAborted, ConnectionClosed) as error:
        return f"{type(error).__name__}"
    except InactivityTimeout:
        return None
    status = Status(response.status, SERVICES[method])
    if status == MOVE_DESTINATION_UNKNOWN:
        return _UNKNOWN_TITLE
    return f"answered {status}" if int(status) in NOT_HERE else status


def _request(method: Method, model: str, title: str, number: int) -> m.Request:
    if method == "get":
        return m.CGetRQ(message_id=number, affected_sop_class_uid=model)
    return m.CMoveRQ(message_id=number, affected_sop_class_uid=model, move_destination=title)


# --- queries


async def _cancel(associations: Associations, learned: Learned, root: Root) -> None:
    """Whether a query that is cancelled after its first answer ends as cancelled."""
    query = build_query(Level.STUDY, root, {}, _ANY_STUDY)
    limit = associations.peer.timeouts.cancel
    answers, final = 0, None
    try:
        async with associations.use([Proposal(query.model)], own=True) as association:
            context = need_context(association, query.model)
            operation = await association.invoke(
                context,
                lambda n: m.CFindRQ(message_id=n, affected_sop_class_uid=query.model),
                query.encode(context.transfer_syntax),
            )
            while final is None:
                async with asyncio.timeout(limit if answers else None):
                    response, _ = await operation.next()
                status = Status(response.status, "C-FIND")
                if status.category is not Category.PENDING:
                    final = status
                elif not answers:
                    await association.ask_to_end(operation)
                answers += status.category is Category.PENDING
    except (AssociationAborted, ConnectionClosed, TimeoutError) as error:
        if answers:
            reason = f"no end within {limit} s" if type(error) is TimeoutError else f"{error}"
            learned.add("cancel", False, f"a C-CANCEL is not borne: {reason}")
        else:
            learned.add("cancel", None, f"the query ended with {type(error).__name__}")
        return
    if final == CANCEL:
        learned.add("cancel", True, f"C-CANCEL is honoured, after {answers} answers")
    else:
        words = f"the query ended first: {answers} answers, {final}"
        learned.add("cancel", None, words)


async def _cap(associations: Associations, learned: Learned, root: Root, before: int | None) -> None:
    """Whether a query for all studies stops at a number of answers though there are more."""
    associations.quirks = replace(associations.quirks, cancel=learned.quirks.cancel)
    try:
        query = build_query(Level.STUDY, root, {}, _ANY_STUDY)
        whole = Finding(associations, query, LOOK)
        count = len(await whole)
        if count >= LOOK:
            learned.add("cap", None, f"none below {LOOK} answers", gone=before is not None and before < count)
            return
        if not whole.capped:
            over = before is not None and before < count
            learned.add("cap", None, f"no sign of one: {count} studies", gone=over)
            return
        parts = Finding(associations, query, 2 * LOOK, split=True, max_queries=CONFIRMING)
        more = len(await parts)
    except (OperationFailed, QueryError) as error:
        learned.add("cap", None, f"not found out: {error}")
        return
    except AiodicomError as error:
        learned.add("cap", None, f"not found out, the query ended with {type(error).__name__}")
        return
    if more > count:
        learned.add("cap", count, f"it stops at {count} answers: in parts there are {more} at least")
    else:
        learned.add("cap", None, f"no sign of one: {count} studies, in parts as well")
