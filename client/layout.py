"""Where the files of a retrieve lie below its folder: by the readable default, by UIDs, or by a template."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from ..dataset.names import file_stem, safe_name, short_hash
from ..dimse.levels import QueryError
from ..pdu.uids import is_uid

UIDS = "{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm"
"""The layout "uids": nothing of a patient stands in a path."""
MAX_PART = 120
"""Characters of one folder's or file's name: with a few of them a path fits every file system."""
MAX_VALUE = 64
MAX_PARTS = 16

_APART = ("_", "-", "+")  # signs that no stem of a UID has
_SPLIT = re.compile(r"[-_+]")
_FIELD = re.compile(r"\{([^{}]*)\}")
_INSTANCE = "SOPInstanceUID"
_IDENTIFYING = frozenset({"PatientID", "StudyInstanceUID", "SeriesInstanceUID", "AccessionNumber", "StudyID"})
_TEXTS = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI"})


@dataclass(frozen=True, slots=True)
class Layout:
    """A template, taken apart: for each folder and the file a list of texts and keywords in turn.

    ``{PatientID}/{StudyDate}/{SeriesNumber}_{SOPInstanceUID}.dcm``. Any keyword of a text that stands at the
    top of an object may be in it; the file's name has the SOP Instance UID, so that no two objects share it.
    """

    parts: tuple[tuple[str, ...], ...]
    tags: Mapping[str, int]

    def path(self, values: Mapping[int, bytes], uid: str) -> PurePosixPath:
        """The relative path of an object with these values, safe on every file system."""
        return PurePosixPath(*(self._part(part, values, uid) for part in self.parts))

    def _part(self, part: tuple[str, ...], values: Mapping[int, bytes], uid: str) -> str:
        texts = [
            text if number % 2 == 0 else self._value(text, values, uid) for number, text in enumerate(part)
        ]
        name = "".join(texts)
        if _INSTANCE in part[1::2]:
            stem = name.removesuffix(".dcm")
            if len(stem) > MAX_PART:
                stem = f"{safe_name(stem, 40)}_{file_stem(uid)}"
            return _no_device(stem) + ".dcm"
        return safe_name(name, MAX_PART)

    def _value(self, keyword: str, values: Mapping[int, bytes], uid: str) -> str:
        if keyword == _INSTANCE:
            return file_stem(uid)
        value = values.get(self.tags[keyword], b"").decode("latin-1").strip(" \0")
        if is_uid(value):
            return value
        name = safe_name(value, MAX_VALUE)
        # what tells patients and studies apart must not be lost with a sign, or by a disk that knows no case
        if value and keyword in _IDENTIFYING and (name != value or value != value.upper()):
            return f"{name}_{short_hash(value)}"
        return name

    def stems(self, name: str) -> list[str] | None:
        """What in the name of a file, without its ".dcm", may be the stem of its SOP Instance UID.

        None where the template has no sign on both sides of it that no stem has: the file alone tells then.
        """
        part = self.parts[-1]
        for number, keyword in enumerate(part):
            if number % 2 and keyword == _INSTANCE:
                before, after = part[number - 1], part[number + 1].removesuffix(".dcm")
                first, last = number == 1, number == len(part) - 2
                if (before[-1:] or first * "_") in _APART and (after[:1] or last * "_") in _APART:
                    return _SPLIT.split(name)
        return None


def _no_device(stem: str) -> str:
    """A file's stem, unless Windows keeps its name for a device, or it begins with what hides a file."""
    first = stem.split(".")[0]
    return stem if safe_name(first, MAX_PART) == first else "x" + stem.lstrip(".")


def parse_layout(text: str) -> Layout | None:
    """A layout as a user says it: "patient" (None: the default), "uids", or a template.

    Raises QueryError for a template that is none.
    """
    if text == "patient":
        return None
    template = UIDS if text == "uids" else text
    if "{" not in template:
        raise QueryError(
            f'a layout is "patient", "uids" or a template with keywords in braces, not {text[:80]!r}'
        )
    pieces = template.removesuffix(".dcm").split("/")
    if len(pieces) > MAX_PARTS:
        raise QueryError(f"a layout has {MAX_PARTS} folders at most")
    parts = [tuple(_FIELD.split(piece)) for piece in pieces]
    tags: dict[str, int] = {}
    for piece, part in zip(pieces, parts, strict=True):
        literals = "".join(part[::2])
        sure = piece if len(part) == 1 else f"a{literals}a"
        if not piece or safe_name(sure, 4 * MAX_PART) != sure:
            raise QueryError(
                f"{piece[:80]!r} cannot be a name on every file system: letters, digits and . _ + - alone"
            )
        tags |= {keyword: _tag(keyword) for keyword in part[1::2]}
    if _INSTANCE not in parts[-1][1::2]:
        raise QueryError("the file's name needs {SOPInstanceUID}: without it two objects would share one")
    parts[-1] = (*parts[-1][:-1], parts[-1][-1] + ".dcm")
    return Layout(tuple(parts), tags)


def _tag(keyword: str) -> int:
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    tag = tag_for_keyword(keyword)
    if not keyword or tag is None or not 0x00080000 <= tag < 0x7FE00000:
        raise QueryError(f"{keyword[:64]!r} in a layout is no keyword of an object")
    if dictionary_VR(tag) not in _TEXTS:
        raise QueryError(f"{keyword} is no text, and cannot stand in a path")
    return tag
