"""Group 12 for servers: command sets, ids, flags, unknown commands (PS3.7 6.3.1, 9.3, E.1)."""

from __future__ import annotations

from collections.abc import Mapping

from .. import wire
from ..case import NONSTRICT, PASS, Effect, Level, Steps, Verdict
from ..dissect import command_set, us
from ..link import Link
from ..target import Sut
from .build import ANSWERED, ROBUST, SHALL, SHOULD, SURVIVES, answered, case, command_facts, message, talk

GROUP = "messages"
Fields = dict[int, int | str | bytes]


def echo(**changes: int | str | bytes) -> Fields:
    """The fields of a C-ECHO-RQ with message id 21, some of them changed: `e0800=1`."""
    return wire.echo_fields(21) | {int(name[1:], 16): value for name, value in changes.items()}


def without(number: int) -> Fields:
    """A C-ECHO-RQ without one of its elements."""
    return {key: value for key, value in wire.echo_fields(21).items() if key != number}


def tells(
    slug: str,
    level: Level,
    clause: str,
    requirement: str,
    data: bytes,
    accept: Mapping[str, Verdict],
    *foils: str,
) -> None:
    """A case that sends a command set and looks at the answer to message 21."""
    case(
        f"ps3.7/{slug}",
        level,
        f"PS3.7 {clause}",
        requirement,
        talk(answered(data, level)),
        accept,
        *foils,
        group=GROUP,
    )


# --- ids

for number in (0, 1, 2, 0x7FFF, 0x8000, 0xFFFF):

    async def _id(sut: Sut, link: Link, n: int = number) -> str:
        return await sut.echo(link, n)

    case(
        f"ps3.7/9.3.5.1/message-id-{number}",
        SHALL,
        "PS3.7 9.3.5.1, E.1",
        "A message id is any unsigned short.",
        talk(_id),
        ANSWERED,
        "echo-id-fixed",
        group=GROUP,
    )


async def _same_id(sut: Sut, link: Link) -> str:
    first = await sut.echo(link, 5)
    return await sut.echo(link, 5) if first == "answered" else first


case(
    "ps3.7/9.1.5.1/id-used-again",
    SHALL,
    "PS3.7 9.1.5.1.1",
    "A message id may be used again once it was answered.",
    talk(_same_id),
    ANSWERED,
    "ids-once",
    group=GROUP,
)

# --- data set flag

for value in (0x0101,):
    tells(
        "E.1/no-data-set",
        SHALL,
        "E.1, 9.3.5.1",
        "0101H says that no data set follows.",
        message(echo(e0800=value)),
        ANSWERED,
        "never-answers",
    )
for value in (0x0000, 0x0001, 0x0100, 0xFFFF):

    async def _flag(sut: Sut, link: Link, v: int = value) -> str:
        await link.send(message(echo(e0800=v)), wire.p_data(wire.pdv(1, wire.LAST, b"\x10\0\x10\0\0\0\0\0")))
        seen = await sut.answer(link, 21)
        if seen != "answered" and not seen.startswith("status"):
            return seen
        again = await sut.echo(link, 23)
        return "in-step" if again == "answered" else again

    case(
        f"ps3.7/E.1/data-set-{value:04x}",
        SHALL,
        "PS3.7 E.1",
        "Any value but 0101H says that a data set follows: it is read as one, or the message is refused.",
        talk(_flag),
        {"in-step aborted-*": PASS, "closed reset": NONSTRICT},
        "stuck-on-data",
        group=GROUP,
    )

# --- elements

tells(
    "6.3.1/unknown-element",
    SHOULD,
    "6.3.1, E.1",
    "An element that a command does not have is passed over.",
    message(echo(e0999=b"xy")),
    {"answered": PASS, "aborted-* status-*": NONSTRICT},
    "picky-elements",
)
tells(
    "6.3.1/retired-elements",
    SHOULD,
    "6.3.1, E.2",
    "Retired elements of a command set are passed over.",
    message(echo(e0001=b"\0\0\0\0", e0010=b"ACR-NEMA 2.0")),
    {"answered": PASS, "aborted-* status-*": NONSTRICT},
    "picky-elements",
)
tells(
    "6.3.1/uid-padded",
    SHALL,
    "6.3.1; PS3.5 9.1",
    "A UID of odd length is padded with one zero byte.",
    message(echo(e0002=wire.VERIFICATION)),
    ANSWERED,
    "padding-compared",
)
tells(
    "9.3.5.1/uid-unpadded",
    ROBUST,
    "6.3.1; PS3.5 9.1",
    "A UID without its padding is survived.",
    message(echo(e0002=wire.VERIFICATION.encode())),
    SURVIVES,
    "crash-on-command",
)
tells(
    "9.3.5.1/uid-space-padded",
    ROBUST,
    "6.3.1; PS3.5 9.1",
    "A UID padded with a space is survived.",
    message(echo(e0002=wire.VERIFICATION.encode() + b" ")),
    SURVIVES,
    "crash-on-command",
)
for slug, number in {
    "command-field": 0x0100,
    "message-id": 0x0110,
    "data-set-type": 0x0800,
    "sop-class": 0x0002,
}.items():
    tells(
        f"9.3.5.1/without-{slug}",
        ROBUST,
        "9.3.5.1",
        "A command without one of its elements is survived.",
        message(without(number)),
        SURVIVES,
        "crash-on-command",
    )
for slug, data in {
    "group-length-zero": wire.p_data(wire.pdv(1, 3, wire.command(echo(), group_length=0))),
    "group-length-long": wire.p_data(wire.pdv(1, 3, wire.command(echo(), group_length=9999))),
    "group-length-absent": wire.p_data(wire.pdv(1, 3, wire.command(echo())[12:])),
    "other-group": message(echo(), extra=wire.element(0x0010, b"A^B ", group=0x0010)),
    "descending": wire.p_data(
        wire.pdv(
            1,
            3,
            wire.command(wire.echo_fields(21))[:12]
            + b"".join(
                wire.element(n, wire.value_of(v))
                for n, v in sorted(wire.echo_fields(21).items(), reverse=True)
            ),
        )
    ),
    "twice": message(echo(), extra=wire.element(0x0110, b"\x15\0")),
    "element-length-long": message(echo(), extra=wire.element(0x0902, b"x", length=0x7FFFFFFF)),
    "element-length-undefined": message(echo(), extra=wire.element(0x0902, b"x", length=0xFFFFFFFF)),
    "value-too-short": message(echo(e0110=b"\x15")),
    "value-too-long": message(echo(e0110=b"\x15\0\0\0")),
    "empty": wire.p_data(wire.pdv(1, 3, b"")),
    "seven-bytes": wire.p_data(wire.pdv(1, 3, b"\0" * 7)),
    "noise": wire.p_data(wire.pdv(1, 3, bytes(range(256)) * 4)),
    "explicit": wire.p_data(wire.pdv(1, 3, b"\0\0\0\1US\2\0\x30\0\0\0\x10\1US\2\0\x15\0")),
    "long": message(echo(e0902=b"x" * 60000)),
}.items():
    tells(
        f"6.3.1/{slug}",
        ROBUST,
        "6.3.1",
        "A command set that is malformed is survived.",
        data,
        SURVIVES,
        "crash-on-command",
    )

# --- commands

for code in (0x0001, 0x0010, 0x0020, 0x0021, 0x0100, 0x0110, 0x0120, 0x0130, 0x0140, 0x0150):
    tells(
        f"9.3/other-command-{code:04x}",
        SHALL,
        "9.3, 10.3; PS3.4 A.4",
        "A command that the SOP class of the context does not have does not succeed.",
        message(echo(e0100=code)),
        {"status-*": PASS, "aborted-* closed reset": NONSTRICT},
        "any-command",
    )
for code in (0x0002, 0x0031, 0x0F00, 0x7FFF):
    tells(
        f"C.5/unknown-command-{code:04x}",
        SHALL,
        "C.5 (0211H), E.1",
        "A command that does not exist does not succeed.",
        message(echo(e0100=code)),
        {"status-0211": PASS, "status-* aborted-* closed reset": NONSTRICT},
        "any-command",
    )
for code in (0x8030, 0x8001, 0x8020, 0xFFFF):

    async def _response(sut: Sut, link: Link, c: int = code) -> str:
        await link.send(
            message({0x0002: wire.VERIFICATION, 0x0100: c, 0x0120: 21, 0x0800: wire.NO_DATA, 0x0900: 0})
        )
        return await sut.echo(link, 23)

    case(
        f"ps3.7/9.3/response-unasked-{code:04x}",
        ROBUST,
        "PS3.7 9.3",
        "A response to nothing is survived.",
        talk(_response),
        SURVIVES,
        "crash-on-command",
        group=GROUP,
    )


async def _cancel(sut: Sut, link: Link) -> str:
    await link.send(message({0x0100: 0x0FFF, 0x0120: 999, 0x0800: wire.NO_DATA}))
    return await sut.echo(link, 23)


case(
    "ps3.7/9.3.2.3/cancel-of-nothing",
    SHALL,
    "PS3.7 9.3.2.3",
    "A C-CANCEL-RQ has no response; one that names no operation under way changes nothing.",
    talk(_cancel),
    {"answered": PASS, "aborted-*": NONSTRICT},
    "cancel-answered",
    group=GROUP,
)
tells(
    "9.1.5/other-sop-class",
    SHOULD,
    "9.1.5.1.2; PS3.4 A.4",
    "A C-ECHO names the Verification SOP class.",
    message(echo(e0002=wire.NO_SOP_CLASS)),
    {"status-* aborted-*": PASS, "answered": NONSTRICT},
    "crash-on-command",
)

# --- responses, as sent


def response_has(slug: str, clause: str, requirement: str, wrong: str, foil: str) -> None:
    """A case about the fields of a C-ECHO-RSP."""

    async def play(sut: Sut, link: Link) -> str:
        await link.send(wire.echo_rq(21))
        data = await sut.raw_message(link)
        if isinstance(data, str):
            return "no-answer"
        fields = command_set(data)
        facts = command_facts(data) | {
            "command-field": us(fields, 0x0100) == 0x8030,
            "no-data": us(fields, 0x0800) == wire.NO_DATA,
            "status": us(fields, 0x0900) == 0,
            "sop-class": fields.get(0x0002, wire.VERIFICATION.encode()).rstrip(b"\0")
            == wire.VERIFICATION.encode(),
            "no-message-id": 0x0110 not in fields,
        }
        return "right" if facts[wrong] else f"{wrong}-wrong"

    case(
        f"ps3.7/{slug}", SHALL, f"PS3.7 {clause}", requirement, talk(play), {"right": PASS}, foil, group=GROUP
    )


response_has(
    "6.3.1/sent-group-length",
    "6.3.1",
    "The group length counts the bytes behind it.",
    "group-length",
    "rsp-group-length",
)
response_has(
    "6.3.1/sent-in-order", "6.3.1", "Elements of a command set ascend, each once.", "order", "rsp-order"
)
response_has("6.3.1/sent-even", "6.3.1; PS3.5 7.1", "Every value has an even length.", "even", "rsp-odd")
response_has(
    "6.3.1/sent-group-0",
    "6.3.1",
    "A command set has elements of group 0000H alone.",
    "group",
    "rsp-other-group",
)
response_has(
    "9.3.5.2/sent-command-field",
    "9.3.5.2",
    "The command field of a C-ECHO-RSP is 8030H.",
    "command-field",
    "rsp-command-field",
)
response_has(
    "9.3.5.2/sent-no-data",
    "9.3.5.2",
    "A C-ECHO-RSP says that no data set follows.",
    "no-data",
    "rsp-data-flag",
)
response_has(
    "9.3.5.2/sent-status", "9.3.5.2, C.1.1", "A C-ECHO-RSP carries a status.", "status", "echo-fails"
)
response_has(
    "9.3.5.2/sent-sop-class",
    "9.3.5.2",
    "An affected SOP class in a response is that of the request.",
    "sop-class",
    "rsp-other-class",
)

# --- queries, with a key of the run's own


def querying(level: bytes, flag: int = 1, cut: int = 0) -> Steps:
    """A C-FIND for the kit's own patient, whom no archive has; n/a where it is not negotiated."""

    async def steps(sut: Sut) -> str:
        contexts = (
            wire.context_rq(1, wire.VERIFICATION, wire.IMPLICIT),
            wire.context_rq(3, wire.STUDY_ROOT_FIND, wire.IMPLICIT),
        )
        link, _, answer = await sut.ask(sut.request(contexts=contexts))
        ready = answer is not None and any(c.number == 3 and c.result == 0 for c in answer.contexts)
        sut.need(ready, "Study Root C-FIND is not accepted")
        fields: Fields = {0x0002: wire.STUDY_ROOT_FIND, 0x0100: 0x0020, 0x0110: 21, 0x0700: 0, 0x0800: flag}
        data = identifier(level)
        await link.send(message(fields, context=3))
        if cut:
            await link.send(wire.p_data(wire.pdv(3, 0, data[:cut])))
        await link.send(wire.p_data(wire.pdv(3, wire.LAST, data[cut:])))
        return await sut.answer(link, 21)

    return steps


def identifier(level: bytes) -> bytes:
    """An identifier at a level with the kit's patient as its key."""
    elements = ((0x0008, 0x0052, level), (0x0010, 0x0020, b"AIODICOM-KIT-NIL"), (0x0020, 0x000D, b""))
    return b"".join(wire.element(number, value, group=group) for group, number, value in elements)


for slug, flag, cut in (("plain", 1, 0), ("flag-0000", 0, 0), ("flag-ffff", 0xFFFF, 0), ("cut", 1, 12)):
    case(
        f"ps3.7/9.3.2/find-{slug}",
        SHALL,
        "PS3.7 9.3.2.2, 9.1.2; PS3.4 C.4.1.1.4",
        "A C-FIND that matches nothing ends with success and no pending response.",
        querying(b"STUDY ", flag, cut),
        ANSWERED,
        "find-fails",
        group=GROUP,
        effect=Effect.READ,
    )
case(
    "ps3.4/C.4.1/find-level-unknown",
    SHALL,
    "PS3.4 C.4.1.1.4",
    "A query at a level that does not exist does not succeed.",
    querying(b"NOTHING "),
    {"status-a900 status-c*": PASS, "status-* aborted-*": NONSTRICT},
    "any-level",
    group=GROUP,
    effect=Effect.READ,
)
