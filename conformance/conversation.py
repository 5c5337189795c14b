"""The rules about conversations and command sets (PS3.8 7, 9.2.3, D.1; PS3.7 6.3.1, 9.3)."""

from __future__ import annotations

from collections.abc import Callable

from .dissect import HEADER, command_elements, us
from .rulebook import Answer, Talk, every, rule
from .wire import ABORT, DATA, RELEASE_RP, RJ


def _other(way: str) -> str:
    return ">" if way == "<" else "<"


def _maximum(talk: Talk, at: int) -> Answer:
    pdu, way = talk.said[at].pdu, talk.said[at].way
    if pdu.kind != DATA:
        return None
    limit = talk.limit(at, _other(way))
    return len(pdu.raw) - HEADER <= limit if limit >= 8 else None


def _accepted_context(talk: Talk, at: int) -> Answer:
    pdu, accepted = talk.said[at].pdu, talk.accepted(at)
    if pdu.kind != DATA or accepted is None:
        return None
    return every([value.context in accepted for value in pdu.values])


def _nothing_behind(kind: int, but: frozenset[int]) -> Callable[[Talk, int], Answer]:
    def judge(talk: Talk, at: int) -> Answer:
        one = talk.said[at]
        return None if talk.before(at, kind, one.way) is None else one.pdu.kind in but

    return judge


def _command(keeps: Callable[[bytes, dict[int, bytes]], Answer]) -> Callable[[Talk, int], Answer]:
    def judge(talk: Talk, at: int) -> Answer:
        found = (keeps(command.raw, command.fields) for command in talk.commands(at))
        return every([answer for answer in found if answer is not None])

    return judge


def _response(fields: dict[int, bytes]) -> bool:
    return us(fields, 0x0100) >= 0x8000


def _known(talk: Talk, at: int) -> Answer:
    """Whether a response is to a message that the other side sent."""
    responses = [command.fields for command in talk.commands(at) if _response(command.fields)]
    other = _other(talk.said[at].way)
    return every([talk.asked(at, us(fields, 0x0120), other) for fields in responses])


rule(
    "ps3.8/D.1/data-maximum",
    "PS3.8 D.1",
    "No P-DATA-TF is longer than the other side's maximum length.",
    _maximum,
)
rule(
    "ps3.8/9.3.5.1/data-context",
    "PS3.8 9.3.5.1",
    "Data come on contexts that were accepted.",
    _accepted_context,
)
rule(
    "ps3.8/7.2/behind-release-rp",
    "PS3.8 9.2.3",
    "Behind an A-RELEASE-RP comes nothing but an abort.",
    _nothing_behind(RELEASE_RP, frozenset({ABORT})),
)
rule(
    "ps3.8/7.3/behind-abort",
    "PS3.8 9.2.3",
    "Behind an A-ABORT comes nothing but another.",
    _nothing_behind(ABORT, frozenset({ABORT})),
)
rule(
    "ps3.8/9.2.3/behind-reject",
    "PS3.8 9.2.3",
    "Behind an A-ASSOCIATE-RJ comes nothing but an abort.",
    _nothing_behind(RJ, frozenset({ABORT})),
)
rule(
    "ps3.7/6.3.1/group-length",
    "PS3.7 6.3.1",
    "A command set begins with its group length, which is right.",
    _command(
        lambda raw, f: raw[:8] == b"\0\0\0\0\4\0\0\0" and int.from_bytes(raw[8:12], "little") == len(raw) - 12
    ),
)
rule(
    "ps3.7/6.3.1/order",
    "PS3.7 6.3.1",
    "Elements of a command set ascend, each once.",
    _command(lambda raw, f: (tags := [e[2] for e in command_elements(raw)]) == sorted(set(tags))),
)
rule(
    "ps3.7/6.3.1/even",
    "PS3.7 6.3.1",
    "Values of a command set have an even length.",
    _command(lambda raw, f: all(e[3] % 2 == 0 for e in command_elements(raw))),
)
rule(
    "ps3.7/6.3.1/group",
    "PS3.7 6.3.1",
    "A command set has elements of group 0000H alone.",
    _command(lambda raw, f: all(e[1] == 0 for e in command_elements(raw))),
)
rule(
    "ps3.7/E.1/command-field",
    "PS3.7 E.1",
    "A command set has a command field.",
    _command(lambda raw, f: len(f.get(0x0100, b"")) == 2),
)
rule(
    "ps3.7/E.1/data-set-type",
    "PS3.7 E.1",
    "A command set says whether a data set follows.",
    _command(lambda raw, f: len(f.get(0x0800, b"")) == 2),
)
rule(
    "ps3.7/9.3/status",
    "PS3.7 9.3",
    "A response has a status.",
    _command(lambda raw, f: len(f.get(0x0900, b"")) == 2 if _response(f) else None),
)
rule(
    "ps3.7/9.3/responded-to",
    "PS3.7 9.3",
    "A response names the message it responds to.",
    _command(lambda raw, f: len(f.get(0x0120, b"")) == 2 if _response(f) else None),
)
rule(
    "ps3.7/9.3/request-id",
    "PS3.7 9.3",
    "A request but C-CANCEL has a message id.",
    _command(
        lambda raw, f: len(f.get(0x0110, b"")) == 2 if not _response(f) and us(f, 0x0100) != 0x0FFF else None
    ),
)
rule("ps3.7/9.3/response-to-request", "PS3.7 9.3", "A response is to a message that was sent.", _known)
