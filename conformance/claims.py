"""What a peer claims, and what was seen of it: SOP classes by short names, and a collector over traces.

A collector keeps what the standard has given names to; of all else it keeps nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

from . import wire
from .dissect import Gathering, Pdu, command_set, dissect, us
from .link import Entry

_T = TypeVar("_T")
_STORAGE = "1.2.840.10008.5.1.4.1.1."
STORAGE: Mapping[str, str] = {
    "CR": _STORAGE + "1", "DX": _STORAGE + "1.1", "MG": _STORAGE + "1.2", "CT": wire.CT_STORAGE,
    "ENHANCED-CT": _STORAGE + "2.1", "US-MULTIFRAME": _STORAGE + "3.1", "MR": _STORAGE + "4",
    "ENHANCED-MR": _STORAGE + "4.1", "US": _STORAGE + "6.1", "SC": _STORAGE + "7", "ECG": _STORAGE + "9.1.1",
    "XA": _STORAGE + "12.1", "RF": _STORAGE + "12.2", "NM": _STORAGE + "20", "SEG": _STORAGE + "66.4",
    "BASIC-SR": _STORAGE + "88.11", "ENHANCED-SR": _STORAGE + "88.22", "COMPREHENSIVE-SR": _STORAGE + "88.33",
    "PDF": _STORAGE + "104.1", "PET": _STORAGE + "128", "RTIMAGE": _STORAGE + "481.1",
    "RTDOSE": _STORAGE + "481.2", "RTSTRUCT": _STORAGE + "481.3", "RTPLAN": _STORAGE + "481.5",
}  # fmt: skip
_QR = "1.2.840.10008.5.1.4.1.2."
LEVELS: Mapping[str, Mapping[str, str]] = {
    "find": {"patient": _QR + "1.1", "study": wire.STUDY_ROOT_FIND},
    "move": {"patient": _QR + "1.2", "study": _QR + "2.2"},
    "get": {"patient": _QR + "1.3", "study": _QR + "2.3"},
}
SINGLE: Mapping[str, str] = {
    "verification": wire.VERIFICATION,
    "worklist": "1.2.840.10008.5.1.4.31",
    "mpps": "1.2.840.10008.3.1.2.3.3",
    "commitment": "1.2.840.10008.1.20.1",
}
SYNTAXES: Mapping[str, str] = {
    wire.IMPLICIT: "Implicit VR Little Endian",
    wire.EXPLICIT: "Explicit VR Little Endian",
    "1.2.840.10008.1.2.1.99": "Deflated Explicit VR Little Endian",
    "1.2.840.10008.1.2.2": "Explicit VR Big Endian",
    "1.2.840.10008.1.2.4.50": "JPEG Baseline (Process 1)",
    "1.2.840.10008.1.2.4.51": "JPEG Extended (Process 2 and 4)",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless, Non-Hierarchical (Process 14)",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless, Non-Hierarchical, First-Order Prediction",
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless Image Compression",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Lossy (Near-Lossless) Image Compression",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 Image Compression (Lossless Only)",
    "1.2.840.10008.1.2.4.91": "JPEG 2000 Image Compression",
    "1.2.840.10008.1.2.5": "RLE Lossless",
}
_LISTS: Mapping[str, Mapping[str, str]] = {"storage": STORAGE, **LEVELS}
CLASSES: Mapping[str, str] = {
    **SINGLE,
    **{f"{claim} {name}": uid for claim, names in _LISTS.items() for name, uid in names.items()},
}
"""Every SOP class that can be claimed: `storage CT`, `find study`, `verification`."""
NAMES: Mapping[str, str] = {uid: name for name, uid in CLASSES.items()}
_AT_ONCE = 32
"""Contexts of one request: 128 are allowed, and some servers count less."""


def check_claims(claims: Mapping[str, Any]) -> None:
    """Raises ValueError for a claim that nothing here knows."""
    for key, value in claims.items():
        if key in SINGLE or key == "relational":
            right = isinstance(value, bool)
        elif key in _LISTS:
            right = _texts(value) and all(one in _LISTS[key] for one in value)
        elif key == "async":
            right = isinstance(value, list) and len(value) == 2 and all(type(n) is int for n in value)
        elif key == "max_pdu":
            right = type(value) is int
        elif key == "charsets":
            right = _texts(value)
        else:
            raise ValueError(f"unknown in [claims]: {key}")
        if not right:
            known = f"; there are {', '.join(_LISTS[key])}" if key in _LISTS else ""
            raise ValueError(f"[claims] {key} cannot be {value!r}{known}")


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def claimed(claims: Mapping[str, Any]) -> dict[str, str]:
    """The SOP classes of claims: short names to UIDs."""
    single = {key: uid for key, uid in SINGLE.items() if claims.get(key) is True}
    named = [f"{key} {one}" for key in _LISTS for one in claims.get(key, ())]
    return single | {name: CLASSES[name] for name in named}


def portions(wanted: Iterable[_T]) -> Iterator[list[_T]]:
    """What is wanted in portions that one request can ask for."""
    left = iter(wanted)
    while part := list(islice(left, _AT_ONCE)):
        yield part


class Observed:
    """What a peer accepted (a server) or proposed (a client), its limits and its statuses."""

    def __init__(self, role: str) -> None:
        self._theirs = "<"
        self._role = role
        self.classes: dict[str, set[str]] = {}
        self.refused: set[str] = set()
        self.max_pdu: set[int] = set()
        self.window: set[tuple[int, int]] = set()
        self.statuses: dict[str, set[str]] = {}

    def watch(self, entries: Iterable[Entry]) -> None:
        """The trace of a case."""
        asked: dict[int, Pdu] = {}
        gathered: defaultdict[int, Gathering] = defaultdict(Gathering)
        for entry in entries:
            if not entry.raw or entry.note:
                continue
            kind, theirs = entry.raw[0], entry.way == "<"
            if kind == wire.RQ and theirs == (self._role == "scu"):
                asked[entry.connection] = request = dissect(entry.raw)
                if theirs:
                    self._proposed(request)
            elif kind == wire.AC and theirs and entry.connection in asked:
                self._answered(asked.pop(entry.connection), dissect(entry.raw))
            elif kind == wire.DATA and theirs:
                self._said(gathered[entry.connection], dissect(entry.raw))

    def _proposed(self, request: Pdu) -> None:
        self._limits(request)
        for part in request.contexts:
            for one in part.abstracts:
                self._add(one.uid, [sub.uid for sub in part.syntaxes])

    def _answered(self, request: Pdu, answer: Pdu) -> None:
        self._limits(answer)
        proposed = {part.number: part for part in request.contexts}
        for part in answer.contexts:
            asked = proposed.get(part.number)
            names = {one.uid for one in asked.abstracts} if asked else set()
            if len(names) != 1:
                continue
            name = names.pop()
            if part.result == 0:
                self._add(name, [one.uid for one in part.syntaxes])
            elif name in NAMES:
                self.refused.add(name)

    def _add(self, name: str, syntaxes: Iterable[str]) -> None:
        if name in NAMES:
            self.classes.setdefault(name, set()).update(one for one in syntaxes if one in SYNTAXES)

    def _limits(self, found: Pdu) -> None:
        if found.max_pdu is not None:
            self.max_pdu.add(found.max_pdu)
        if found.window is not None:
            self.window.add(found.window)

    def _said(self, gathering: Gathering, found: Pdu) -> None:
        for data in gathering.whole(found):
            fields = command_set(data)
            command, status = us(fields, 0x0100), us(fields, 0x0900)
            if command & 0x8000 and command >= 0 <= status:
                self.statuses.setdefault(f"{command:04X}", set()).add(f"{status:04X}")

    def add(self, before: Mapping[str, Any]) -> None:
        """Take over what `as_dict` of an earlier run says."""
        for name, found in before.get("classes", {}).items():
            self._add(name, found)
        self.refused.update(before.get("refused", ()))
        self.max_pdu.update(before.get("max_pdu", ()))
        self.window.update((invoked, performed) for invoked, performed in before.get("window", ()))
        for name, found in before.get("statuses", {}).items():
            self.statuses.setdefault(name, set()).update(found)

    def as_dict(self) -> dict[str, object]:
        """As the JSON of a run has it."""
        return {
            "classes": {name: sorted(found) for name, found in sorted(self.classes.items())},
            "refused": sorted(self.refused - self.classes.keys()),
            "max_pdu": sorted(self.max_pdu),
            "window": [list(pair) for pair in sorted(self.window)],
            "statuses": {name: sorted(found) for name, found in sorted(self.statuses.items())},
        }
