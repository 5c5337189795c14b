"""What a query found, as a list of data sets that can be had as rows: JSON, CSV, a table of pandas."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
from collections.abc import Iterable, MutableSequence
from typing import TYPE_CHECKING, Any

from ..dimse.status import Status
from .asking import Told
from .keys import parts, place_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from .answers import Answer


class Matches(list["Answer"]):
    """The matches of a query, in the order they came in, and what the peer said of them: as of `Finding`.

    Columns are keys: keywords, tags, paths; those that were asked for by default.

    >>> async with aiodicom.connect(HOST, PORT) as pacs:
    ...     matches = await pacs.find("STUDY", {}, ["StudyDate", "PatientName"])
    >>> matches.rows(["StudyDate", "PatientName"])
    [('20240229', 'Phantom^Head')]
    """

    def __init__(self, found: Iterable[Answer], told: Told) -> None:
        super().__init__(found)
        self.columns: tuple[str, ...] = told.asked
        self.complete: bool = told.complete
        self.capped: tuple[str, ...] = tuple(told.capped)
        self.status: Status | None = told.status
        self.warned: int = told.warned
        self.unsupported: tuple[str, ...] = told.unsupported
        self.ignored: tuple[str, ...] = tuple(sorted(told.ignored))
        self.filtered: int = told.filtered
        self.undecoded: tuple[str, ...] = tuple(sorted(told.undecoded))
        self.guessed: tuple[str, ...] = tuple(sorted(told.guessed))
        self.emulated: bool = told.emulated

    def dicts(self) -> list[dict[str, Any]]:
        """A dict a match: values by keyword, by ``GGGGEEEE`` where there is none.

        Values are text, int, float, None where empty, a list where there are several; a sequence is a list of
        dicts, bytes are ``{"base64": ...}``.
        """
        return [to_dict(one) for one in self]

    def rows(self, columns: Iterable[str] | None = None) -> list[tuple[str, ...]]:
        """A tuple of texts a match; see `cell`."""
        wanted = self._columns(columns)
        return [tuple(cell(one, column) for column in wanted) for one in self]

    def to_json(self, indent: int | None = None) -> str:
        """`dicts` as JSON."""
        return json.dumps(self.dicts(), indent=indent, ensure_ascii=False)

    def to_csv(self, columns: Iterable[str] | None = None, *, header: bool = True) -> str:
        """`rows` as CSV with a line of names (RFC 4180, lines end with LF)."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        wanted = self._columns(columns)
        if header:
            writer.writerow(wanted)
        writer.writerows(self.rows(wanted))
        return out.getvalue()

    def to_dataframe(self, columns: Iterable[str] | None = None) -> Any:
        """`rows` as a DataFrame of texts. Raises ImportError without pandas."""
        try:
            import pandas  # type: ignore[import-untyped]
        except ImportError as error:
            raise ImportError("to_dataframe needs pandas: pip install pandas") from error
        wanted = self._columns(columns)
        return pandas.DataFrame(self.rows(wanted), columns=wanted, dtype=object)

    def _columns(self, columns: Iterable[str] | None) -> list[str]:
        if isinstance(columns, str):
            return [columns]
        return list(self.columns if columns is None else columns)


def to_dict(found: Dataset) -> dict[str, Any]:
    """A data set by keyword; see `Matches.dicts`."""
    return {
        element.keyword or f"{element.tag:08X}": [to_dict(item) for item in element.value]
        if element.VR == "SQ"
        else _value(element.value)
        for element in found
    }


def _value(value: Any) -> Any:
    if value is None or value == "":
        return None
    if _is_list(value):
        return [_value(one) for one in value] or None
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, int):  # IS among them
        return int(value)
    if isinstance(value, float):  # DS among them
        return float(value) if math.isfinite(value) else None
    return str(value)


def _is_list(value: Any) -> bool:
    """Whether an element has several values: a list, a tuple or pydicom's MultiValue."""
    return isinstance(value, MutableSequence | tuple)


def cell(found: Dataset, key: str) -> str:
    """One element's value as text: ``A.B`` is B in the first item of A, several have backslashes between."""
    first, *rest = parts(key)
    place = place_of(found, first)
    element = found[place] if place is not None and place in found else None
    if element is None or element.value is None:
        return ""
    value = element.value
    if rest:
        return cell(value[0], ".".join(rest)) if element.VR == "SQ" and value else ""
    if element.VR == "SQ":
        return f"{len(value)} items"
    if _is_list(value):
        return "\\".join("" if one is None else str(one) for one in value)
    return str(value)
