"""What a response says beside its status: the comment, the error id, the elements at fault (PS3.7 C)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ..dataset.encoding import BIG_ENDIAN_SYNTAXES, name
from ..dataset.errors import ImagingError
from ..dataset.scan import scan_dataset

if TYPE_CHECKING:
    from ..dimse.messages import Response

_OFFENDING = 0x00000901
_COMMENT = 0x00000902
_ERROR_ID = 0x00000903
SHOWN = 8
"""Offending elements that are named."""


def words_of(response: Response, data: bytes | None = None, transfer_syntax: str = "") -> str | None:
    """The words for a user, or None where the peer said nothing but the status.

    Some peers put these elements of the command into the data set of the response.
    """
    comment, error_id = response.error_comment, response.error_id
    offending = response.offending_elements
    if data:
        more = _in_dataset(data, transfer_syntax)
        comment, error_id, offending = comment or more[0], error_id or more[1], offending or more[2]
    said = [comment] if comment else []
    if error_id:
        said.append(f"error ID {error_id}")
    if offending:
        rest = " ..." if len(offending) > SHOWN else ""
        said.append(f"offending element {', '.join(map(name, offending[:SHOWN]))}{rest}")
    return "; ".join(said) or None


def _in_dataset(data: bytes, transfer_syntax: str) -> tuple[str | None, int | None, tuple[int, ...]]:
    try:
        values = scan_dataset(data, transfer_syntax, (_OFFENDING, _COMMENT, _ERROR_ID)).values
    except ImagingError:
        return None, None, ()
    order = ">" if transfer_syntax in BIG_ENDIAN_SYNTAXES else "<"
    comment = values.get(_COMMENT, b"").decode("latin-1").strip(" \0")
    raw = values.get(_ERROR_ID, b"")
    form = {2: "H", 4: "L"}.get(len(raw))
    error_id = struct.unpack(order + form, raw)[0] if form else None
    raw = values.get(_OFFENDING, b"")
    numbers = struct.unpack(f"{order}{len(raw) // 4 * 2}H", raw[: len(raw) // 4 * 4])
    tags = tuple(group << 16 | element for group, element in zip(numbers[::2], numbers[1::2], strict=True))
    return comment or None, error_id, tags
