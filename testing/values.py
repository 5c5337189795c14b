"""Requests, answers and messages for a scripted peer, ready to be sent or to be spoilt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from ..conformance import dissect, wire
from ..pdu import (
    PDV,
    AAssociateAC,
    AAssociateRQ,
    PresentationContextAC,
    PresentationContextRQ,
    UserInformation,
)

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
IMPLEMENTATION_CLASS_UID = "2.25.74215069281653640185517208630142851"
ContextLike = str | tuple[str, Iterable[str]] | PresentationContextRQ


class ScriptError(AssertionError):
    """The other side did not do what the script says."""


def associate_request(
    contexts: Sequence[ContextLike] = ("1.2.840.10008.1.1",),
    *,
    called_ae: str = "CALLED",
    calling_ae: str = "SCRIPTED",
    user_information: UserInformation | None = None,
) -> AAssociateRQ:
    """The request `ScriptedPeer.associate` sends."""
    proposed = []
    for index, context in enumerate(contexts):
        if isinstance(context, str):
            context = PresentationContextRQ(2 * index + 1, context, (IMPLICIT_VR_LITTLE_ENDIAN,))
        elif isinstance(context, tuple):
            context = PresentationContextRQ(2 * index + 1, context[0], tuple(context[1]))
        proposed.append(context)
    return AAssociateRQ(
        called_ae=called_ae,
        calling_ae=calling_ae,
        presentation_contexts=tuple(proposed),
        user_information=user_information
        or UserInformation(implementation_class_uid=IMPLEMENTATION_CLASS_UID),
    )


def associate_accept(
    request: AAssociateRQ,
    answer: Callable[[PresentationContextRQ], PresentationContextAC] | None = None,
    *,
    user_information: UserInformation | None = None,
) -> AAssociateAC:
    """The answer `ScriptedPeer.accept` sends."""

    def first(context: PresentationContextRQ) -> PresentationContextAC:
        return PresentationContextAC(context.context_id, 0, context.transfer_syntaxes[0])

    info = user_information or UserInformation(implementation_class_uid=IMPLEMENTATION_CLASS_UID)
    if user_information is None:
        info = replace(info, roles=request.user_information.roles)
    return AAssociateAC(
        called_ae=request.called_ae,
        calling_ae=request.calling_ae,
        presentation_contexts=tuple(map(answer or first, request.presentation_contexts)),
        user_information=info,
    )


def message_pdvs(context_id: int, command: bytes, data: bytes | None = None, *, fragment: int) -> list[PDV]:
    """A message as PDVs of at most `fragment` data bytes; an empty set is one empty last PDV."""
    pdvs = []
    for is_command, content in ((True, command), (False, data)):
        if content is None:
            continue
        ends = range(fragment, len(content) + fragment, fragment) if content else [fragment]
        pdvs += [
            PDV(context_id, is_command, end >= len(content), content[end - fragment : end]) for end in ends
        ]
    return pdvs


def announces_data(command: bytes) -> bool:
    """Whether a command set says a data set follows: (0000,0800) is not 0101H (PS3.7 E.1)."""
    flag = dissect.us(dissect.command_set(command), 0x0800)
    if flag < 0:
        raise ScriptError(f"a command set without (0000,0800): {command[:64]!r}")
    return flag != wire.NO_DATA


def command_set(fields: dict[int, int | str | bytes]) -> bytes:
    """A command set in Implicit VR Little Endian from (0000,eeee) elements: ints are US, texts UIDs,
    bytes go as they are.

    The group length is put in front; (0000,0800) must be among the fields, as any other. Raises ScriptError
    for a number that is no US.
    """
    for element, value in fields.items():
        if isinstance(value, int) and not 0 <= value <= 0xFFFF:
            raise ScriptError(f"(0000,{element:04X}) cannot be {value}: a US is 0 to 65535")
    return wire.command(fields)
