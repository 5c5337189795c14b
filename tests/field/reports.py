"""The corpus: what was reported of real peers and files, as small made-up objects, texts and responses.

One file a report, in `reports/`, named after it. `report` is its public reference, `wrong` what was seen,
`right` what is right. What else a file has tells its kind:

- an object: `elements` in hexadecimal, with text in quotes and comments, behind the elements that name it;
  `syntax`, the transfer syntax; `instance`, another SOP Instance UID; what becomes of it: kept, kept in
  `doubt`, or `refused` as "truncated" or "malformed"; what others do, `dcmtk` (storescp) and `orthanc`.
- a text: `charset` and the `raw` bytes of `keyword`, its `value`, and a `key` that finds it.
- a response to a C-GET: `command`, elements behind the usual ones; the `outcome` of the retrieve, how many
  `failed`, and the `failed_uids`.

A report becomes a file here and nothing else: the tests go over all there are.
"""

from __future__ import annotations

import re
import struct
import tomllib
import zlib
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parent / "reports"
CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
_TOKEN = re.compile(r'"([^"]*)"|([0-9a-fA-F]{2})(?=\s|$)|(\s+)')


def parse(text: str) -> bytes:
    """The bytes that a text in hexadecimal, with quotes and comments, stands for."""
    found = b""
    for line in text.splitlines():
        code = line.partition("#")[0]
        at = 0
        while at < len(code):
            token = _TOKEN.match(code, at)
            assert token is not None, f"neither hexadecimal nor text: {code[at:]!r}"
            quoted, pair, _ = token.groups()
            found += quoted.encode("ascii") if quoted is not None else bytes.fromhex(pair or "")
            at = token.end()
    return found


def _element(tag: int, vr: str, value: str | bytes, *, implicit: bool) -> bytes:
    raw = value.encode("ascii") if isinstance(value, str) else value
    raw += (b"\0" if vr == "UI" else b" ") * (len(raw) % 2)
    if implicit:
        return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(raw)) + raw
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(raw)) + raw


@dataclass(frozen=True, slots=True)
class Report:
    """What every report has."""

    name: str
    report: str
    wrong: str
    right: str


@dataclass(frozen=True, slots=True)
class ReportedObject(Report):
    """An object as somebody met it."""

    syntax: str
    elements: str
    instance: str = "1.2.3.4.5"
    doubt: bool = False
    refused: str = ""
    dcmtk: str = "stored"
    orthanc: str = "stored"

    @property
    def data(self) -> bytes:
        """The data set."""
        head = b"".join(
            _element(tag, "UI" if tag != 0x00100020 else "LO", value, implicit=self.syntax == IMPLICIT)
            for tag, value in (
                (0x00080016, CT),
                (0x00080018, self.instance),
                (0x00100020, "P1"),
                (0x0020000D, "1.2.3"),
                (0x0020000E, "1.2.3.4"),
            )
        )
        whole = head + parse(self.elements)
        if self.syntax != DEFLATED:
            return whole
        squeezed = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data = squeezed.compress(whole) + squeezed.flush()
        return data + b"\0" * (len(data) % 2)


@dataclass(frozen=True, slots=True)
class ReportedText(Report):
    """A text in its character set, and a key that finds it."""

    charset: str
    keyword: str
    raw: str
    value: str
    key: str

    def data(self, tag: int, vr: str) -> bytes:
        """A whole object in implicit VR that has it."""
        elements = {
            0x00080005: ("CS", self.charset),
            0x00080016: ("UI", CT),
            0x00080018: ("UI", "1.2.3.4.5"),
            0x00100020: ("LO", "P1"),
            0x0020000D: ("UI", "1.2.3"),
            0x0020000E: ("UI", "1.2.3.4"),
            tag: (vr, parse(self.raw)),
        }
        return b"".join(_element(key, *elements[key], implicit=True) for key in sorted(elements))


@dataclass(frozen=True, slots=True)
class ReportedResponse(Report):
    """The final response to a C-GET."""

    command: str
    outcome: str
    failed: int
    failed_uids: list[str] = field(default_factory=list)


def load(path: Path) -> Report:
    """One report. Raises TypeError for one that has too much or too little."""
    values = tomllib.loads(path.read_text("utf-8"))
    kind = next(
        kind
        for key, kind in (
            ("elements", ReportedObject),
            ("charset", ReportedText),
            ("command", ReportedResponse),
        )
        if key in values
    )
    return kind(name=path.stem, **values)


REPORTS = [load(path) for path in sorted(FOLDER.glob("*.toml"))]
OBJECTS = [one for one in REPORTS if isinstance(one, ReportedObject)]
TEXTS = [one for one in REPORTS if isinstance(one, ReportedText)]
RESPONSES = [one for one in REPORTS if isinstance(one, ReportedResponse)]
