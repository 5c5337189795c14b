"""Passive rules: what holds of every PDU and conversation, whoever plays. They run over each active case too.

A rule says of one PDU, or of a conversation, whether it keeps it, breaks it, or gives it no opportunity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from .dissect import FIXED, HEADER, Pdu, command_elements, command_set, dissect, split, us
from .link import Entry

RQ, AC, RJ, DATA, RELEASE_RQ, RELEASE_RP, ABORT = 1, 2, 3, 4, 5, 6, 7
Answer = bool | None
UID = frozenset("0123456789.")


@dataclass(frozen=True, slots=True)
class Said:
    """A PDU with who said it: "<" is the peer that is judged, in a capture the acceptor."""

    way: str
    pdu: Pdu


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule; `judge` looks at the PDU at an index of a conversation, said by one side."""

    id: str
    clause: str
    requirement: str
    judge: Callable[[Sequence[Said], int], Answer]


@dataclass(slots=True)
class Ambient:
    """A rule's verdict over a run: how often it was kept and broken, and the first that broke it."""

    rule: Rule
    kept: int = 0
    broken: int = 0
    example: bytes = b""

    @property
    def verdict(self) -> str:
        """In a word: "violated", "seen" or "no opportunity"."""
        return "violated" if self.broken else "seen" if self.kept else "no opportunity"


RULES: dict[str, Rule] = {}


def rule(id: str, clause: str, requirement: str, judge: Callable[[Sequence[Said], int], Answer]) -> None:
    """Register a rule."""
    assert id not in RULES, id
    RULES[id] = Rule(f"any:{id}", clause, requirement, judge)


def each(
    id: str, clause: str, requirement: str, kinds: Iterable[int], keeps: Callable[[Pdu], Answer]
) -> None:
    """A rule about single PDUs of some types."""
    wanted = frozenset(kinds)
    rule(
        id, clause, requirement, lambda said, at: keeps(said[at].pdu) if said[at].pdu.kind in wanted else None
    )


def _zero(name: str) -> Callable[[Pdu], Answer]:
    return lambda pdu: all(not any(part.raw) for part in pdu.fields if part.name == name and part.offset > 1)


def _all(found: list[bool]) -> Answer:
    return all(found) if found else None


def _subs(kind: int, keeps: Callable[[bytes], bool]) -> Callable[[Pdu], Answer]:
    return lambda pdu: _all([keeps(sub.body) for sub in pdu.user if sub.kind == kind])


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
        lambda pdu: _all([part.reserved == 0 for part in pdu.user if part.kind != 0x57]),
    )
    each(
        f"ps3.8/{clause}/{name}-context-reserved",
        f"PS3.8 {clause}.2",
        "Reserved bytes of a context are zero.",
        (kind,),
        lambda pdu: _all(
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
        lambda pdu: _all(
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
    lambda pdu: _all([part.number % 2 == 1 for part in pdu.contexts]),
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
    lambda pdu: _all([len(part.abstracts) == 1 for part in pdu.contexts]),
)
each(
    "ps3.8/9.3.2.2/rq-transfer",
    "PS3.8 9.3.2.2",
    "A proposed context has a transfer syntax.",
    (RQ,),
    lambda pdu: _all([bool(part.syntaxes) for part in pdu.contexts]),
)
each(
    "ps3.8/9.3.3.2/ac-one-transfer",
    "PS3.8 9.3.3.2",
    "An accepted context has one transfer syntax.",
    (AC,),
    lambda pdu: _all([len(part.syntaxes) == 1 for part in pdu.contexts if part.result == 0]),
)
each(
    "ps3.8/9.3.3.2/ac-no-abstract",
    "PS3.8 9.3.3.2",
    "An answered context has no abstract syntax.",
    (AC,),
    lambda pdu: _all([not part.abstracts for part in pdu.contexts]),
)
each(
    "ps3.8/9.3.3.2/ac-result",
    "PS3.8 9.3.3.2",
    "The result of a context is 0 to 4.",
    (AC,),
    lambda pdu: _all([0 <= part.result <= 4 for part in pdu.contexts]),
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
    lambda pdu: _all([value.control & 0xFC == 0 for value in pdu.values]),
)
each(
    "ps3.8/E.2/data-even",
    "PS3.8 E.2; PS3.5 7.1",
    "A fragment has an even number of bytes.",
    (DATA,),
    lambda pdu: _all([len(value.data) % 2 == 0 for value in pdu.values]),
)

# --- conversations


def _before(said: Sequence[Said], at: int, kind: int, way: str) -> Pdu | None:
    return next((s.pdu for s in reversed(said[:at]) if s.pdu.kind == kind and s.way == way), None)


def _other(way: str) -> str:
    return ">" if way == "<" else "<"


def _maximum(said: Sequence[Said], at: int) -> Answer:
    pdu, way = said[at].pdu, said[at].way
    if pdu.kind != DATA:
        return None
    theirs = _before(said, at, RQ, _other(way)) or _before(said, at, AC, _other(way))
    found = theirs.sub(0x51) if theirs else None
    limit = int.from_bytes(found.body, "big") if found and len(found.body) == 4 else 0
    return len(pdu.raw) - HEADER <= limit if limit >= 8 else None


def _accepted_context(said: Sequence[Said], at: int) -> Answer:
    pdu = said[at].pdu
    answers = [s.pdu for s in said[:at] if s.pdu.kind == AC]
    if pdu.kind != DATA or not answers:
        return None
    accepted = {part.number for part in answers[0].contexts if part.result == 0}
    return _all([value.context in accepted for value in pdu.values])


def _nothing_behind(kind: int, but: frozenset[int]) -> Callable[[Sequence[Said], int], Answer]:
    def judge(said: Sequence[Said], at: int) -> Answer:
        earlier = [s.pdu.kind for s in said[:at] if s.way == said[at].way]
        return said[at].pdu.kind in but if kind in earlier else None

    return judge


def commands(said: Sequence[Said], at: int) -> Iterator[tuple[bytes, dict[int, bytes]]]:
    """The command sets that end in this PDU, with their bytes."""
    way, pdu = said[at].way, said[at].pdu
    if pdu.kind != DATA:
        return
    data = b""
    for one in [*[s.pdu for s in said[max(0, at - 64) : at] if s.way == way and s.pdu.kind == DATA], pdu]:
        for value in one.values:
            if not value.control & 1:
                continue
            data += value.data
            if value.control & 2:
                if one is pdu:
                    yield data, command_set(data)
                data = b""


def _command(keeps: Callable[[bytes, dict[int, bytes]], Answer]) -> Callable[[Sequence[Said], int], Answer]:
    def judge(said: Sequence[Said], at: int) -> Answer:
        found = [answer for raw, fields in commands(said, at) if (answer := keeps(raw, fields)) is not None]
        return _all(found)

    return judge


def _response(fields: dict[int, bytes]) -> bool:
    return us(fields, 0x0100) >= 0x8000


def _known(said: Sequence[Said], at: int) -> Answer:
    """Whether a response is to a message that the other side sent."""
    asked = {
        us(fields, 0x0110)
        for index in range(at)
        if said[index].way != said[at].way
        for _, fields in commands(said, index)
    }
    return _all([us(fields, 0x0120) in asked for _, fields in commands(said, at) if _response(fields)])


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


class RuleBook:
    """Counts the rules over many conversations; `role` says which side is judged, "both" in a capture."""

    def __init__(self, role: str) -> None:
        self.role = role
        self._counts = {name: Ambient(found) for name, found in RULES.items()}

    def watch(self, entries: Iterable[Entry]) -> None:
        """Judge what a case heard, connection by connection."""
        talks: dict[int, list[Said]] = {}
        rest: dict[tuple[int, str], bytes] = {}
        for entry in entries:
            key = (entry.connection, entry.way)
            whole, rest[key] = split(rest.get(key, b"") + entry.raw)  # what was sent need not be one PDU
            talks.setdefault(entry.connection, []).extend(Said(entry.way, dissect(raw)) for raw in whole)
        for said in talks.values():
            self.judge(said)

    def judge(self, said: Sequence[Said]) -> list[tuple[int, Rule]]:
        """Judge a conversation; the indexes of PDUs that break a rule, with it."""
        broken = []
        for name, count in self._counts.items():
            for index, one in enumerate(said):
                if self.role != "both" and one.way != "<":
                    continue
                kept = RULES[name].judge(said, index)
                if kept:
                    count.kept += 1
                elif kept is not None:
                    count.broken += 1
                    count.example = count.example or one.pdu.raw
                    broken.append((index, count.rule))
        return broken

    def verdicts(self) -> list[Ambient]:
        """Every rule with what was seen of it."""
        return list(self._counts.values())
