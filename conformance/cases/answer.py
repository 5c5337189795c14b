"""Groups 4 and 5 for servers: A-ASSOCIATE-AC and A-ASSOCIATE-RJ as they are sent (PS3.8 9.3.3, 9.3.4)."""

from __future__ import annotations

from dataclasses import replace

from .. import wire
from ..case import INFORM, NONSTRICT, PASS, Steps
from ..dissect import FIXED, HEADER, Pdu
from ..target import Sut
from .build import INFO, OK, SHALL, SHOULD, Check, asking, case

CONTEXTS = (
    wire.context_rq(1, wire.VERIFICATION, wire.IMPLICIT),
    wire.context_rq(7, wire.NO_SOP_CLASS, wire.IMPLICIT),
    wire.context_rq(5, wire.VERIFICATION, wire.EXPLICIT, wire.IMPLICIT),
)
MARK = bytes(range(32))


def _rich(sut: Sut) -> wire.Associate:
    return sut.request(contexts=CONTEXTS, reserved32=MARK)


def sent(slug: str, clause: str, requirement: str, check: Check, foil: str) -> None:
    """A case that looks at one field of the answer to a request with several contexts."""
    case(
        f"ps3.8/{slug}", SHALL, f"PS3.8 {clause}", requirement, asking(_rich, check), OK, foil, group="accept"
    )


def yes(condition: bool, otherwise: str) -> str:
    """The outcome of a check."""
    return "accepted" if condition else otherwise


def count(answer: Pdu, kind: int) -> int:
    """How often an item is there."""
    return sum(part.kind == kind for part in answer.items)


sent(
    "9.3.3/version-bit",
    "9.3.3, Table 9-17",
    "Bit 0 of the protocol version is set in an acceptance.",
    lambda a: yes(a.byte("protocol-version") & 1 == 1, "version-without-bit-0"),
    "ac-version-zero",
)
sent(
    "9.3.3/application-context-once",
    "9.3.3, 7.1.1.2",
    "An acceptance has one application context item.",
    lambda a: yes(count(a, 0x10) == 1, f"{count(a, 0x10)}-application-contexts"),
    "ac-no-application",
)
sent(
    "9.3.3.1/application-context-name",
    "9.3.3.1",
    "The application context name is the one proposed.",
    lambda a: yes([p.uid for p in a.items if p.kind == 0x10] == [wire.APPLICATION], "other-name"),
    "ac-other-application",
)
sent(
    "9.3.3/user-information-once",
    "9.3.3, Table 9-17",
    "An acceptance has one user information item.",
    lambda a: yes(count(a, 0x50) == 1, f"{count(a, 0x50)}-user-informations"),
    "ac-no-user",
)
sent(
    "9.3.3/lengths",
    "9.3.1, 9.3.3",
    "The items of an acceptance fill it to its last byte.",
    lambda a: yes(_filled(a), "lengths-wrong"),
    "ac-trailing",
)
sent(
    "9.3.3.2/one-item-a-context",
    "9.3.3.2",
    "Every context proposed has one item in the answer, and no other has.",
    lambda a: yes(sorted(c.number for c in a.contexts) == [1, 5, 7], "other-ids"),
    "drops-contexts",
)
sent(
    "9.3.3.2/item-type",
    "9.3.3.2, Table 9-18",
    "Presentation context items of an acceptance have type 21H.",
    lambda a: yes(all(c.item.kind == 0x21 for c in a.contexts), "type-20"),
    "ac-item-20",
)
sent(
    "9.3.3.2/no-abstract-syntax",
    "9.3.3.2, Table 9-18",
    "An answered context names no abstract syntax.",
    lambda a: yes(not any(c.abstracts for c in a.contexts), "abstract-syntax-there"),
    "ac-abstract",
)
sent(
    "9.3.3.2/result-known",
    "9.3.3.2, Table 9-18",
    "The result of a context is 0 to 4.",
    lambda a: yes(all(0 <= c.result <= 4 for c in a.contexts), "result-unknown"),
    "ac-result-9",
)
sent(
    "9.3.3.2/one-transfer-syntax",
    "9.3.3.2, Table 9-18",
    "An accepted context has one transfer syntax.",
    lambda a: yes(all(len(c.syntaxes) == 1 for c in a.contexts if c.result == 0), "other-number"),
    "ac-two-syntaxes",
)
sent(
    "9.3.3.2.1/transfer-syntax-uid",
    "9.3.3.2.1, F.1",
    "The transfer syntax accepted is a UID without padding.",
    lambda a: yes(
        all(
            set(s.uid) <= set("0123456789.") and s.uid
            for c in a.contexts
            if c.result == 0
            for s in c.syntaxes
        ),
        "padded",
    ),
    "ac-padded-syntax",
)
sent(
    "D.1/maximum-length-there",
    "D.1",
    "The answer has a maximum length sub-item of four bytes.",
    lambda a: yes((found := a.sub(0x51)) is not None and found.length == 4, "absent"),
    "ac-no-maximum",
)
sent(
    "9.3.3.3/implementation-class-there",
    "9.3.3.3; PS3.7 D.3.3.2.2",
    "The answer has an implementation class UID.",
    lambda a: yes((found := a.sub(0x52)) is not None and found.length > 0, "absent"),
    "ac-no-implementation",
)
sent(
    "9.3.3.3/implementation-version-length",
    "9.3.3.3; PS3.7 D.3.3.2.4",
    "An implementation version name has 1 to 16 characters.",
    lambda a: yes((found := a.sub(0x55)) is None or 1 <= found.length <= 16, "other-length"),
    "ac-long-version",
)
sent(
    "9.3.3.3/nothing-not-asked-for",
    "9.3.3.3; PS3.7 D.3.3",
    "Sub-items of negotiation are answered where they were proposed, and else not sent.",
    lambda a: yes(not any(s.kind in (0x54, 0x56, 0x57, 0x58, 0x59) for s in a.user), "unasked"),
    "ac-unasked-role",
)


def _filled(answer: Pdu) -> bool:
    total = sum(4 + part.length for part in answer.items)
    return HEADER + FIXED + total == len(answer.raw) and all(part.whole for part in answer.items)


def _same(start: int, end: int) -> Steps:
    async def steps(sut: Sut) -> str:
        request = _rich(sut).encode()
        _, seen, answer = await sut.ask(request)
        if answer is None or seen != "accepted":
            return seen
        return yes(answer.raw[start:end] == request[start:end], "changed")

    return steps


for slug, start, end in (("called", 10, 26), ("calling", 26, 42), ("reserved-43", 42, 74)):
    case(
        f"ps3.8/9.3.3/{slug}-sent-back",
        SHALL,
        "PS3.8 9.3.3, Table 9-17",
        "This reserved field of an acceptance has the value of the same field of the request.",
        _same(start, end),
        {"accepted": PASS, "changed": NONSTRICT},
        "ac-nothing",
        group="accept",
    )

# --- rejections

REASONS = {1: {1, 2, 3, 7}, 2: {1, 2}, 3: {1, 2}}
"""Reasons that are not reserved, by source (Table 9-21)."""


def rejected(slug: str, clause: str, requirement: str, check: str, foil: str) -> None:
    """A case about the rejection of a protocol version that nobody speaks."""

    async def steps(sut: Sut) -> str:
        link, name, answer = await sut.ask(sut.request(version=2))
        if answer is None or not name.startswith("rejected"):
            return f"no-rejection-{name}"
        raw = answer.raw
        if check == "closes":
            link.finish()
            return await link.ended()
        facts = {
            "length": int.from_bytes(raw[2:6], "big") == 4 and len(raw) == 10,
            "reserved": raw[1] == 0 and raw[6] == 0,
            "result": raw[7] in (1, 2),
            "source": raw[8] in (1, 2, 3),
            "reason": raw[9] in REASONS.get(raw[8], set()),
            "permanent": raw[7] == 1,
        }
        return "right" if facts[check] else f"{check}-wrong"

    accept = {"closed": PASS} if check == "closes" else {"right": PASS}
    case(
        f"ps3.8/9.3.4/{slug}",
        SHALL if check != "permanent" else SHOULD,
        f"PS3.8 {clause}",
        requirement,
        steps,
        {**accept, "no-rejection-*": INFORM},
        foil,
        group="reject",
    )


rejected(
    "length",
    "9.3.4, Table 9-21",
    "An A-ASSOCIATE-RJ has four bytes behind its header.",
    "length",
    "rj-length",
)
rejected(
    "reserved",
    "9.3.4, Table 9-21",
    "Reserved fields of an A-ASSOCIATE-RJ are zero.",
    "reserved",
    "rj-reserved",
)
rejected("result", "9.3.4, Table 9-21", "The result of a rejection is 1 or 2.", "result", "rj-result")
rejected("source", "9.3.4, Table 9-21", "The source of a rejection is 1, 2 or 3.", "source", "rj-source")
rejected(
    "reason", "9.3.4, Table 9-21", "The reason of a rejection is one its source has.", "reason", "rj-reason"
)
rejected(
    "permanent",
    "7.1.1.7, 9.3.4",
    "What will never be accepted is rejected permanently.",
    "permanent",
    "rj-transient",
)
rejected(
    "closes-after-us",
    "9.2.3, Table 9-10 (AR-5)",
    "A rejected requestor closes, and then the acceptor does.",
    "closes",
    "keeps-open",
)


async def _called_unknown(sut: Sut) -> str:
    _, name, _ = await sut.ask(replace(sut.request(), called="NOBODY-AT-ALL"))
    return name


case(
    "ps3.8/9.3.4/called-unknown",
    INFO,
    "PS3.8 9.3.4, Table 9-21",
    "Whether a called AE title that is not the peer's own is rejected is its policy; it is told which.",
    _called_unknown,
    {"rejected-1-1-7": PASS, "*": INFORM},
    "crash-on-odd",
    group="reject",
)
