"""The rules about single PDUs and their fields (PS3.8 9.3, D, F.1; PS3.7 D.3.3)."""

from __future__ import annotations

from collections.abc import Callable

from .dissect import FIXED, HEADER, Pdu
from .rulebook import Answer, each, every
from .wire import ABORT, AC, DATA, RELEASE_RP, RELEASE_RQ, RJ, RQ

UID = frozenset("0123456789.")


def _zero(name: str) -> Callable[[Pdu], Answer]:
    return lambda pdu: all(not any(part.raw) for part in pdu.fields if part.name == name and part.offset > 1)


def _subs(kind: int, keeps: Callable[[bytes], bool]) -> Callable[[Pdu], Answer]:
    return lambda pdu: every([keeps(sub.body) for sub in pdu.user if sub.kind == kind])


def _role(body: bytes) -> bool:
    size = int.from_bytes(body[:2], "big")
    return len(body) == size + 4 and set(body[2 + size :]) <= {0, 1}


NAMES = {
    RQ: "rq",
    AC: "ac",
    RJ: "rj",
    DATA: "data",
    RELEASE_RQ: "release-rq",
    RELEASE_RP: "release-rp",
    ABORT: "abort",
}
CLAUSES = {
    RQ: "9.3.2",
    AC: "9.3.3",
    RJ: "9.3.4",
    DATA: "9.3.5",
    RELEASE_RQ: "9.3.6",
    RELEASE_RP: "9.3.7",
    ABORT: "9.3.8",
}
for kind, name in NAMES.items():
    each(
        f"ps3.8/{CLAUSES[kind]}/{name}-header-reserved",
        f"PS3.8 {CLAUSES[kind]}",
        "Byte 2 of a PDU is sent as zero.",
        (kind,),
        lambda pdu: pdu.raw[1] == 0,
    )
for kind in (RJ, RELEASE_RQ, RELEASE_RP, ABORT):
    each(
        f"ps3.8/{CLAUSES[kind]}/{NAMES[kind]}-length",
        f"PS3.8 {CLAUSES[kind]}",
        "The PDU has four bytes behind its header.",
        (kind,),
        lambda pdu: len(pdu.raw) == 10,
    )
    each(
        f"ps3.8/{CLAUSES[kind]}/{NAMES[kind]}-reserved",
        f"PS3.8 {CLAUSES[kind]}",
        "Reserved bytes of the PDU are zero.",
        (kind,),
        _zero("reserved"),
    )
each(
    "ps3.8/9.3.1/type-known",
    "PS3.8 9.3.1",
    "A PDU has one of the seven types.",
    range(256),
    lambda pdu: 1 <= pdu.kind <= 7,
)
for kind, clause in ((RQ, "9.3.2"), (AC, "9.3.3")):
    name = NAMES[kind]
    each(
        f"ps3.8/{clause}/{name}-version",
        f"PS3.8 {clause}",
        "The protocol version has bit 0 set.",
        (kind,),
        lambda pdu: bool(pdu.byte("protocol-version") & 1),
    )
    each(
        f"ps3.8/{clause}/{name}-application",
        f"PS3.8 {clause}",
        "There is one application context item.",
        (kind,),
        lambda pdu: sum(part.kind == 0x10 for part in pdu.items) == 1,
    )
    each(
        f"ps3.8/{clause}/{name}-user",
        f"PS3.8 {clause}",
        "There is one user information item.",
        (kind,),
        lambda pdu: sum(part.kind == 0x50 for part in pdu.items) == 1,
    )
    each(
        f"ps3.8/{clause}/{name}-contexts",
        f"PS3.8 {clause}",
        "There is at least one presentation context.",
        (kind,),
        lambda pdu: bool(pdu.contexts),
    )
    each(
        f"ps3.8/{clause}/{name}-filled",
        "PS3.8 9.3.1",
        "The items fill the PDU to its last byte.",
        (kind,),
        lambda pdu: HEADER + FIXED + sum(4 + part.length for part in pdu.items) == len(pdu.raw),
    )
    each(
        f"ps3.8/{clause}/{name}-item-reserved",
        f"PS3.8 {clause}",
        "The reserved byte of items is zero.",
        (kind,),
        lambda pdu: all(part.reserved == 0 for part in pdu.items),
    )
    each(
        f"ps3.8/{clause}/{name}-sub-item-reserved",
        f"PS3.8 {clause}.3",
        "The reserved byte of sub-items is zero.",
        (kind,),
        lambda pdu: every([part.reserved == 0 for part in pdu.user if part.kind != 0x57]),
    )
    each(
        f"ps3.8/{clause}/{name}-context-reserved",
        f"PS3.8 {clause}.2",
        "Reserved bytes of a context are zero.",
        (kind,),
        lambda pdu: every(
            [part.item.body[1:2] == b"\0" and part.item.body[3:4] == b"\0" for part in pdu.contexts]
        ),
    )
    each(
        f"ps3.8/D.1/{name}-maximum",
        "PS3.8 D.1",
        "There is a maximum length of four bytes.",
        (kind,),
        lambda pdu: (found := pdu.sub(0x51)) is not None and len(found.body) == 4,
    )
    each(
        f"ps3.7/D.3.3.2/{name}-class",
        "PS3.7 D.3.3.2",
        "There is an implementation class UID.",
        (kind,),
        lambda pdu: pdu.sub(0x52) is not None,
    )
    each(
        f"ps3.7/D.3.3.2/{name}-class-uid",
        "PS3.7 D.3.3.2; PS3.8 F.1",
        "The implementation class is a UID of 1 to 64 characters.",
        (kind,),
        _subs(0x52, lambda body: 1 <= len(body) <= 64 and set(body.decode("latin-1")) <= UID),
    )
    each(
        f"ps3.7/D.3.3.2/{name}-version",
        "PS3.7 D.3.3.2",
        "An implementation version name has 1 to 16 characters.",
        (kind,),
        _subs(0x55, lambda body: 1 <= len(body) <= 16),
    )
    each(
        f"ps3.7/D.3.3.3/{name}-window",
        "PS3.7 D.3.3.3",
        "A window has four bytes.",
        (kind,),
        _subs(0x53, lambda body: len(body) == 4),
    )
    each(
        f"ps3.7/D.3.3.4/{name}-role",
        "PS3.7 D.3.3.4",
        "A role selection has a UID and two bytes that are 0 or 1.",
        (kind,),
        _subs(0x54, _role),
    )
    each(
        f"ps3.8/9.3.1/{name}-sub-items-once",
        "PS3.8 9.3.2.3",
        "Maximum length, class, window and version are there at most once.",
        (kind,),
        lambda pdu: all([part.kind for part in pdu.user].count(k) <= 1 for k in (0x51, 0x52, 0x53, 0x55)),
    )
    each(
        f"ps3.8/F.1/{name}-uids",
        "PS3.8 F.1",
        "UIDs of syntaxes have digits and periods alone, and no padding.",
        (kind,),
        lambda pdu: every(
            [
                bool(sub.uid) and set(sub.uid) <= UID
                for part in pdu.contexts
                for sub in part.abstracts + part.syntaxes
                if part.result in (0, -1) or pdu.kind == RQ
            ]
        ),
    )
    each(
        f"ps3.8/{clause}/{name}-titles",
        f"PS3.8 {clause}",
        "AE titles have characters of the default repertoire.",
        (kind,),
        lambda pdu: all(
            32 <= c < 127 for part in pdu.fields if part.name in ("called-ae", "calling-ae") for c in part.raw
        ),
    )
each(
    "ps3.8/9.3.2.2/rq-ids-odd",
    "PS3.8 9.3.2.2",
    "Proposed presentation context ids are odd.",
    (RQ,),
    lambda pdu: every([part.number % 2 == 1 for part in pdu.contexts]),
)
each(
    "ps3.8/9.3.2.2/rq-ids-once",
    "PS3.8 9.3.2.2",
    "A proposed presentation context id is used once.",
    (RQ,),
    lambda pdu: len({part.number for part in pdu.contexts}) == len(pdu.contexts),
)
each(
    "ps3.8/9.3.2.2/rq-one-abstract",
    "PS3.8 9.3.2.2",
    "A proposed context has one abstract syntax.",
    (RQ,),
    lambda pdu: every([len(part.abstracts) == 1 for part in pdu.contexts]),
)
each(
    "ps3.8/9.3.2.2/rq-transfer",
    "PS3.8 9.3.2.2",
    "A proposed context has a transfer syntax.",
    (RQ,),
    lambda pdu: every([bool(part.syntaxes) for part in pdu.contexts]),
)
each(
    "ps3.8/9.3.3.2/ac-one-transfer",
    "PS3.8 9.3.3.2",
    "An accepted context has one transfer syntax.",
    (AC,),
    lambda pdu: every([len(part.syntaxes) == 1 for part in pdu.contexts if part.result == 0]),
)
each(
    "ps3.8/9.3.3.2/ac-no-abstract",
    "PS3.8 9.3.3.2",
    "An answered context has no abstract syntax.",
    (AC,),
    lambda pdu: every([not part.abstracts for part in pdu.contexts]),
)
each(
    "ps3.8/9.3.3.2/ac-result",
    "PS3.8 9.3.3.2",
    "The result of a context is 0 to 4.",
    (AC,),
    lambda pdu: every([0 <= part.result <= 4 for part in pdu.contexts]),
)
each(
    "ps3.8/9.3.4/rj-result",
    "PS3.8 9.3.4",
    "The result of a rejection is 1 or 2.",
    (RJ,),
    lambda pdu: pdu.byte("result") in (1, 2),
)
each(
    "ps3.8/9.3.4/rj-source",
    "PS3.8 9.3.4",
    "The source of a rejection is 1, 2 or 3.",
    (RJ,),
    lambda pdu: pdu.byte("source") in (1, 2, 3),
)
each(
    "ps3.8/9.3.4/rj-reason",
    "PS3.8 9.3.4",
    "The reason of a rejection is one its source has.",
    (RJ,),
    lambda pdu: pdu.byte("reason") in {1: {1, 2, 3, 7}, 2: {1, 2}, 3: {1, 2}}.get(pdu.byte("source"), set()),
)
each(
    "ps3.8/9.3.8/abort-source",
    "PS3.8 9.3.8",
    "The source of an abort is 0 or 2.",
    (ABORT,),
    lambda pdu: pdu.byte("source") in (0, 2),
)
each(
    "ps3.8/9.3.8/abort-reason",
    "PS3.8 9.3.8",
    "A provider's abort has a reason that is defined.",
    (ABORT,),
    lambda pdu: pdu.byte("reason") in (0, 1, 2, 4, 5, 6) if pdu.byte("source") == 2 else None,
)
each(
    "ps3.8/9.3.5/data-values",
    "PS3.8 9.3.5",
    "A P-DATA-TF has at least one presentation data value.",
    (DATA,),
    lambda pdu: bool(pdu.values),
)
each(
    "ps3.8/9.3.5.1/data-lengths",
    "PS3.8 9.3.5.1",
    "Presentation data values fill the PDU.",
    (DATA,),
    lambda pdu: (
        sum(4 + v.length for v in pdu.values) == len(pdu.raw) - HEADER and all(v.whole for v in pdu.values)
    ),
)
each(
    "ps3.8/E.2/data-control",
    "PS3.8 E.2",
    "Bits 2 to 7 of the message control header are zero.",
    (DATA,),
    lambda pdu: every([value.control & 0xFC == 0 for value in pdu.values]),
)
each(
    "ps3.8/E.1/data-not-empty",
    "PS3.8 E.1",
    "A presentation data value holds more than its message control header.",
    (DATA,),
    lambda pdu: every([bool(value.data) for value in pdu.values]),
)
each(
    "ps3.8/E.1/data-even",
    "PS3.8 E.1",
    "A fragment has an even number of bytes.",
    (DATA,),
    lambda pdu: every([len(value.data) % 2 == 0 for value in pdu.values]),
)
