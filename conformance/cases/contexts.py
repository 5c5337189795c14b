"""Group 3, second part: presentation contexts, and how each is answered (PS3.8 9.3.2.2, 9.3.3.2)."""

from __future__ import annotations

from .. import wire
from ..case import NONSTRICT, PASS
from ..dissect import Pdu
from ..target import Sut
from .build import OK, REFUSED, ROBUST, SHALL, SHOULD, SURVIVES, Build, Check, requesting
from .request import ABSTRACT, HEAD, PLAIN, SYNTAX, row

# --- presentation contexts: which are answered

IDS = "Each presentation context proposed is answered by its id, once."


def answers(*numbers: int) -> Check:
    """Check that the contexts of an answer are these."""

    def check(answer: Pdu) -> str:
        found = sorted(part.number for part in answer.contexts)
        return "accepted" if found == sorted(numbers) else f"answered-{'-'.join(map(str, found)) or 'none'}"

    return check


def proposing(*numbers: int) -> Build:
    """A request whose contexts, all for Verification, have these ids."""
    return lambda sut: _ids(sut, *numbers)


def _ids(sut: Sut, *numbers: int) -> wire.Associate:
    return sut.request(
        contexts=tuple(wire.context_rq(number, wire.VERIFICATION, wire.IMPLICIT) for number in numbers)
    )


for slug, numbers in {
    "one": (1,),
    "255": (255,),
    "descending": (5, 3, 1),
    "gaps": (1, 77, 255),
    "129": (129,),
    "two-alike": (1, 3),
    "sixteen": tuple(range(1, 33, 2)),
    "all-128": tuple(range(1, 256, 2)),
}.items():
    row(
        f"9.3.2.2/ids-{slug}",
        SHALL,
        "9.3.2.2, 9.3.3.2",
        IDS,
        proposing(*numbers),
        OK,
        "drops-contexts",
        check=answers(*numbers),
    )
for slug, numbers in {"zero": (0,), "two": (2,), "even-after-odd": (1, 4), "254": (254,)}.items():
    row(
        f"9.3.2.2/id-even-{slug}",
        SHOULD,
        "9.3.2.2, Table 9-13; 9.3.8",
        "A presentation context id is odd; another is an invalid value of a PDU parameter.",
        proposing(*numbers),
        REFUSED,
        "even-ids",
    )
row(
    "9.3.2.2/id-twice",
    SHOULD,
    "7.1.1.13, 9.3.2.2",
    "A presentation context id is used once in a request.",
    lambda sut: _ids(sut, 1, 1),
    REFUSED,
    "ids-twice",
)

FIFTY = (*[wire.NO_SYNTAX] * 49, wire.IMPLICIT)

# --- presentation contexts: how they are answered


def result(number: int, wanted: int) -> Check:
    """Name the result of a context."""

    def check(answer: Pdu) -> str:
        found = {part.number: part.result for part in answer.contexts}.get(number)
        return "accepted" if found == wanted else f"result-{found}"

    return check


def chosen(number: int, *syntaxes: str) -> Check:
    """Check that a context is accepted in one of these transfer syntaxes."""

    def check(answer: Pdu) -> str:
        for part in answer.contexts:
            if part.number == number:
                if part.result != 0:
                    return f"result-{part.result}"
                found = [sub.uid for sub in part.syntaxes]
                return "accepted" if len(found) == 1 and found[0] in syntaxes else "other-syntax"
        return "unanswered"

    return check


row(
    "9.3.3.2/abstract-unknown-among-known",
    SHALL,
    "9.3.3.2, Table 9-18",
    "One context refused leaves the others as they are.",
    lambda sut: sut.request(
        contexts=(
            wire.context_rq(1, wire.NO_SOP_CLASS, wire.IMPLICIT),
            wire.context_rq(3, wire.VERIFICATION, wire.IMPLICIT),
        ),
    ),
    OK,
    "first-context-decides",
    check=result(3, 0),
)
row(
    "9.3.3.2/abstract-unknown-refused",
    SHALL,
    "9.3.3.2, Table 9-18",
    "An abstract syntax that is not supported is refused with result 3.",
    lambda sut: sut.request(
        contexts=(
            wire.context_rq(1, wire.NO_SOP_CLASS, wire.IMPLICIT),
            wire.context_rq(3, wire.VERIFICATION, wire.IMPLICIT),
        ),
    ),
    {"accepted": PASS, "result-1 result-2 result-4": NONSTRICT},
    "yes-man",
    check=result(1, 3),
)
row(
    "9.3.3.2/syntax-unknown-first",
    SHALL,
    "9.3.2.2.2, 9.3.3.2",
    "Of several transfer syntaxes one that is supported is taken, wherever it stands.",
    lambda sut: sut.request(contexts=(wire.context_rq(1, wire.VERIFICATION, wire.NO_SYNTAX, wire.IMPLICIT),)),
    OK,
    "first-syntax-only",
    check=chosen(1, wire.IMPLICIT),
)
row(
    "9.3.3.2/syntax-unknown-last",
    SHALL,
    "9.3.2.2.2, 9.3.3.2",
    "Of several transfer syntaxes one that is supported is taken, wherever it stands.",
    lambda sut: sut.request(contexts=(wire.context_rq(1, wire.VERIFICATION, wire.IMPLICIT, wire.NO_SYNTAX),)),
    OK,
    "last-syntax-only",
    check=chosen(1, wire.IMPLICIT),
)
row(
    "9.3.3.2/syntax-unknown-alone-of-two",
    SHALL,
    "9.3.3.2, Table 9-18",
    "A context none of whose transfer syntaxes is supported is refused with result 4, the other stands.",
    lambda sut: sut.request(
        contexts=(
            wire.context_rq(1, wire.VERIFICATION, wire.NO_SYNTAX),
            wire.context_rq(3, wire.VERIFICATION, wire.IMPLICIT),
        ),
    ),
    {"accepted": PASS, "result-1 result-2 result-3": NONSTRICT},
    "yes-man",
    check=result(1, 4),
)
row(
    "9.3.3.2/syntax-fifty",
    SHALL,
    "9.3.2.2, 9.3.3.2",
    "Any number of transfer syntaxes may be proposed.",
    lambda sut: sut.request(contexts=(wire.context_rq(1, wire.VERIFICATION, *FIFTY),)),
    OK,
    "first-syntax-only",
    check=chosen(1, wire.IMPLICIT),
)
row(
    "9.3.3.2/syntax-is-proposed",
    SHALL,
    "9.3.3.2, Table 9-18",
    "The transfer syntax of an accepted context is one of those proposed for it.",
    lambda sut: sut.request(contexts=(wire.context_rq(1, wire.VERIFICATION, wire.EXPLICIT, wire.IMPLICIT),)),
    OK,
    "syntax-of-own-choice",
    check=chosen(1, wire.EXPLICIT, wire.IMPLICIT),
)

# --- malformed contexts

PROPOSED: dict[str, tuple[bytes, ...]] = {
    "no-transfer-syntax": (wire.context_rq(1, wire.VERIFICATION),),
    "no-abstract-syntax": (wire.context_rq(1, wire.VERIFICATION, wire.IMPLICIT, abstracts=0),),
}
for slug, proposed in PROPOSED.items():
    row(
        f"9.3.2.2/{slug}",
        SHOULD,
        "9.3.2.2, Table 9-13",
        "A presentation context has one abstract and at least one transfer syntax: nothing else is accepted.",
        requesting(contexts=proposed),
        {**REFUSED, "accepted-nothing": NONSTRICT},
        "empty-contexts",
    )
for slug, proposed in {
    "two-abstract-syntaxes": (wire.context_rq(1, wire.VERIFICATION, wire.IMPLICIT, abstracts=2),),
    "context-empty": (wire.item(0x20, b""), PLAIN),
    "context-id-alone": (wire.item(0x20, b"\x01"), PLAIN),
    "abstract-empty": (wire.item(0x20, HEAD + wire.item(0x30, b"") + SYNTAX),),
    "transfer-empty": (wire.item(0x20, HEAD + ABSTRACT + wire.item(0x40, b"")),),
    "abstract-behind-transfer": (wire.item(0x20, HEAD + SYNTAX + ABSTRACT),),
    "unknown-sub-item": (wire.item(0x20, HEAD + ABSTRACT + wire.item(0x99, b"x") + SYNTAX),),
    "abstract-65-characters": (
        wire.context_rq(1, "1." + "2" * 63, wire.IMPLICIT),
        PLAIN[:4] + b"\x03" + PLAIN[5:],
    ),
    "abstract-no-uid": (
        wire.context_rq(1, "not a uid at all", wire.IMPLICIT),
        PLAIN[:4] + b"\x03" + PLAIN[5:],
    ),
    "abstract-zero-padded": (wire.context_rq(1, wire.VERIFICATION + "\0", wire.IMPLICIT),),
}.items():
    row(
        f"9.3.2.2/{slug}",
        ROBUST,
        "9.3.2.2, F.1",
        "A presentation context that is malformed is survived.",
        requesting(contexts=proposed),
        SURVIVES,
        "crash-on-context",
    )
for slug, proposed in {
    "none": (),
    "129": tuple(wire.context_rq(n % 256, wire.VERIFICATION, wire.IMPLICIT) for n in range(1, 259, 2)),
}.items():
    row(
        f"9.3.2/contexts-{slug}",
        ROBUST,
        "9.3.2, Table 9-11",
        "A number of presentation contexts that cannot be is survived.",
        requesting(contexts=proposed),
        SURVIVES,
        "crash-on-context",
    )


row(
    "9.3.1/unknown-item-between-contexts",
    SHALL,
    "9.3.1",
    "An item of a type that is not defined is skipped.",
    lambda sut: _ids(sut, 1, 3).but(between=wire.item(0x99, b"unknown to everybody")),
    OK,
    "picky-items",
    check=answers(1, 3),
)
