"""Presentation contexts: what is proposed, what is answered, and what came of it (PS3.7 D.3, PS3.8 9.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from ..pdu.errors import Deviation, LocalProtocolError
from ..pdu.types import (
    AAssociateAC,
    AAssociateRQ,
    AsyncOperationsWindow,
    ContextResult,
    PresentationContextAC,
    PresentationContextRQ,
    RoleSelection,
)
from ..pdu.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    UNCOMPRESSED,
)

VERIFICATION = "1.2.840.10008.1.1"
MAX_CONTEXTS = 128  # odd ids of one byte

_RESULTS = {
    0: "accepted",
    1: "rejected by the user",
    2: "rejected, no reason given",
    3: "abstract syntax not supported",
    4: "transfer syntaxes not supported",
}


def describe_context_result(result: int) -> str:
    """A presentation context's result in words (PS3.8 Table 9-18)."""
    return _RESULTS.get(result, f"unknown result {result}")


@dataclass(frozen=True, slots=True)
class ContextOutcome:
    """What came of a proposed context; `result` is None where the answer leaves it out."""

    proposed: PresentationContextRQ
    result: int | None

    @property
    def words(self) -> str:
        """The answer in words."""
        return "not answered" if self.result is None else describe_context_result(self.result)


def outcomes(request: AAssociateRQ, answer: AAssociateAC) -> list[ContextOutcome]:
    """What came of every context proposed, in the order of proposing."""
    results = {one.context_id: one.result for one in answer.presentation_contexts}
    return [ContextOutcome(one, results.get(one.context_id)) for one in request.presentation_contexts]


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context, seen from one side.

    `scu`, `scp`: whether this side may invoke, or perform, the services of the abstract syntax.
    `roles_assumed`: the SCP role was proposed, the answer left it out, and lenience granted it.
    """

    context_id: int
    abstract_syntax: str
    transfer_syntax: str
    scu: bool = True
    scp: bool = False
    roles_assumed: bool = False


@dataclass(frozen=True, slots=True)
class Proposal:
    """One presentation context to propose; `scp_role` asks to be its SCP too (C-GET's storage).

    >>> aiodicom.Proposal("1.2.840.10008.1.1", ("1.2.840.10008.1.2",)).scp_role
    False
    """

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...] = UNCOMPRESSED
    scp_role: bool = False
    scu_role: bool = True


def build_contexts(
    proposals: Iterable[Proposal],
) -> tuple[tuple[PresentationContextRQ, ...], tuple[RoleSelection, ...]]:
    """Numbered contexts and the role items for them: one role item a SOP class.

    Raises LocalProtocolError over 128 contexts (PS3.8 9.3.2.2).
    """
    unique = list(dict.fromkeys(proposals))
    if len(unique) > MAX_CONTEXTS:
        raise LocalProtocolError(
            f"{len(unique)} presentation contexts; an association can hold {MAX_CONTEXTS}"
        )
    contexts = tuple(
        PresentationContextRQ(2 * number + 1, p.abstract_syntax, p.transfer_syntaxes)
        for number, p in enumerate(unique)
    )
    roles: dict[str, RoleSelection] = {}
    for p in unique:
        if p.scp_role:
            roles[p.abstract_syntax] = RoleSelection(p.abstract_syntax, p.scu_role, True)
    return contexts, tuple(roles.values())


def requestor_contexts(
    request: AAssociateRQ, answer: AAssociateAC, deviations: list[Deviation], *, lenient_roles: bool
) -> dict[int, Context]:
    """The accepted contexts by id, for the side that asked."""
    proposed = {context.context_id: context for context in request.presentation_contexts}
    asked = {role.sop_class_uid: role for role in request.user_information.roles}
    granted = {role.sop_class_uid: role for role in answer.user_information.roles}
    accepted: dict[int, Context] = {}
    for result in answer.presentation_contexts:
        proposal = proposed.get(result.context_id)
        if proposal is None:
            deviations.append(
                Deviation("PS3.8 9.3.3.2", f"context {result.context_id} was answered but not proposed")
            )
            continue
        if result.result != ContextResult.ACCEPTANCE:
            continue
        if result.transfer_syntax not in proposal.transfer_syntaxes:
            deviations.append(
                Deviation(
                    "PS3.8 9.3.3.2", f"context {result.context_id} accepted in a syntax that was not proposed"
                )
            )
            continue
        uid = proposal.abstract_syntax
        scu, scp, assumed = True, False, False
        if uid in asked and uid in granted:  # PS3.7 D.3.3.4: a role is had when both said so
            scu = asked[uid].scu_role and granted[uid].scu_role
            scp = asked[uid].scp_role and granted[uid].scp_role
        elif uid in asked and lenient_roles:
            scp = assumed = asked[uid].scp_role
        accepted[result.context_id] = Context(
            result.context_id, uid, result.transfer_syntax, scu, scp, assumed
        )
    if len(answer.presentation_contexts) < len(proposed):
        deviations.append(Deviation("PS3.8 9.3.3.2", "not every proposed context was answered"))
    return accepted


def note_unasked(request: AAssociateRQ, answer: AAssociateAC, deviations: list[Deviation]) -> None:
    """Note what an answer grants beyond what was proposed (PS3.7 D.3.3.3 to D.3.3.7); none of it is used."""
    proposed, answered = request.user_information, answer.user_information
    asked = {role.sop_class_uid: role for role in proposed.roles}
    for role in answered.roles:
        wanted = asked.get(role.sop_class_uid)
        if wanted is None or role.scu_role > wanted.scu_role or role.scp_role > wanted.scp_role:
            deviations.append(Deviation("PS3.7 D.3.3.4", "a role was granted that was not proposed"))
    extended = {one.sop_class_uid for one in proposed.extended}
    if any(one.sop_class_uid not in extended for one in answered.extended):
        deviations.append(Deviation("PS3.7 D.3.3.5", "an extended negotiation was answered but not proposed"))
    window = answered.async_operations
    if window is not None and (proposed.async_operations is None or agreed_window(request, answer) != window):
        deviations.append(Deviation("PS3.7 D.3.3.3", "a window was granted beyond what was proposed"))
    identity = proposed.user_identity
    if answered.user_identity_response is not None and not (
        identity and identity.positive_response_requested
    ):
        deviations.append(Deviation("PS3.7 D.3.3.7", "an answer to a user identity was not asked for"))


def agreed_window(request: AAssociateRQ, answer: AAssociateAC) -> AsyncOperationsWindow:
    """How many operations the requestor may invoke and be asked: one each unless both sides offered more."""
    asked, given = request.user_information.async_operations, answer.user_information.async_operations
    if asked is None or given is None:
        return AsyncOperationsWindow(1, 1)
    return AsyncOperationsWindow(
        least_window(asked.invoked, given.invoked), least_window(asked.performed, given.performed)
    )


def least_window(a: int, b: int) -> int:
    """The smaller of two numbers of operations, 0 meaning no limit."""
    return min(a, b) if a and b else a or b


def acceptor_contexts(request: AAssociateRQ, answer: AAssociateAC) -> dict[int, Context]:
    """The accepted contexts by id, for the side that answered.

    Raises LocalProtocolError for an answer to what was not proposed.
    """
    proposed = {context.context_id: context for context in request.presentation_contexts}
    asked = {role.sop_class_uid: role for role in request.user_information.roles}
    granted = {role.sop_class_uid: role for role in answer.user_information.roles}
    accepted: dict[int, Context] = {}
    for result in answer.presentation_contexts:
        proposal = proposed.get(result.context_id)
        if proposal is None:
            raise LocalProtocolError(f"context {result.context_id} was not proposed")
        if result.result != ContextResult.ACCEPTANCE:
            continue
        if result.transfer_syntax not in proposal.transfer_syntaxes:
            raise LocalProtocolError(
                f"context {result.context_id} was not proposed in {result.transfer_syntax!r}"
            )
        uid = proposal.abstract_syntax
        peer_scu, peer_scp = True, False
        if uid in asked and uid in granted:  # PS3.7 D.3.3.4: a role is had when both said so
            peer_scu = asked[uid].scu_role and granted[uid].scu_role
            peer_scp = asked[uid].scp_role and granted[uid].scp_role
        accepted[result.context_id] = Context(
            result.context_id, uid, result.transfer_syntax, peer_scp, peer_scu
        )
    return accepted


# Preference among what is proposed in one context: explicit little endian keeps VRs and needs no
# conversion for most senders; deflated last, for inflating is what an attacker would have us do.
_PREFERENCE = {
    EXPLICIT_VR_LITTLE_ENDIAN: 0,
    IMPLICIT_VR_LITTLE_ENDIAN: 1,
    EXPLICIT_VR_BIG_ENDIAN: 3,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: 4,
    "1.2.840.10008.1.2.4.95": 4,  # JPIP referenced, deflated
    "1.2.840.10008.1.2.4.205": 4,  # JPIP HTJ2K referenced, deflated
}


def prefer(transfer_syntaxes: Iterable[str]) -> list[str]:
    """Transfer syntaxes in the order an acceptor here likes them; the proposer's order among equals."""
    return sorted(transfer_syntaxes, key=lambda uid: _PREFERENCE.get(uid, 2))


@dataclass(frozen=True, slots=True)
class Supported:
    """What an acceptor supports: transfer syntaxes by abstract syntax.

    An empty tuple means any transfer syntax. `scp_roles`: abstract syntaxes whose SCP role a requestor
    may have. `accept_unknown` decides on an abstract syntax that is not listed (promiscuous storage).

    >>> supported = aiodicom.Supported({"1.2.840.10008.1.1": ("1.2.840.10008.1.2",)})
    """

    syntaxes: Mapping[str, tuple[str, ...]]
    scp_roles: frozenset[str] = frozenset()
    any_scp_role: bool = False
    accept_unknown: Callable[[str], tuple[str, ...] | None] | None = None
    excluded_transfer_syntaxes: frozenset[str] = field(
        default_factory=lambda: frozenset({DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN})
    )

    def answer(self, proposal: PresentationContextRQ) -> PresentationContextAC:
        """Accept or refuse one proposed context (PS3.8 Table 9-18)."""
        syntaxes = self.syntaxes.get(proposal.abstract_syntax)
        if syntaxes is None and self.accept_unknown is not None:
            syntaxes = self.accept_unknown(proposal.abstract_syntax)
        fallback = proposal.transfer_syntaxes[0] if proposal.transfer_syntaxes else IMPLICIT_VR_LITTLE_ENDIAN
        if syntaxes is None:
            return PresentationContextAC(
                proposal.context_id, ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, fallback
            )
        for uid in prefer(proposal.transfer_syntaxes):
            if uid in syntaxes or (not syntaxes and uid not in self.excluded_transfer_syntaxes):
                return PresentationContextAC(proposal.context_id, ContextResult.ACCEPTANCE, uid)
        return PresentationContextAC(
            proposal.context_id, ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED, fallback
        )

    def roles(self, request: AAssociateRQ) -> tuple[RoleSelection, ...]:
        """The role items to answer with: what was asked, less the SCP roles not given (PS3.7 D.3.3.4)."""
        return tuple(
            RoleSelection(
                role.sop_class_uid,
                role.scu_role,
                role.scp_role and (self.any_scp_role or role.sop_class_uid in self.scp_roles),
            )
            for role in request.user_information.roles
        )
