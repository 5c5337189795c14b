"""A multipart answer taken apart while it arrives (RFC 2046 5.1, PS3.18 8.6.1.2): bytes in, parts out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from ..pdu.errors import RemoteProtocolError

MAX_PREAMBLE = 64 * 1024
"""Bytes before the first part, which mean nothing."""
MAX_PART_HEADER = 16 * 1024
"""Bytes of the header of one part."""
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,199}[0-9A-Za-z'()+_,\-./:=?]")


class _At(Enum):
    PREAMBLE = 1
    DELIMITER = 2
    HEADER = 3
    BODY = 4
    END = 5


@dataclass(frozen=True, slots=True)
class PartBegins:
    """A part begins, and what its header says, by name in small letters."""

    header: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PartEnds:
    """The part is whole."""


Event = PartBegins | memoryview | PartEnds


def content_type(value: str) -> tuple[str, dict[str, str]]:
    """A media type and its parameters by name, both names in small letters."""
    from email.message import Message

    message = Message()
    message["content-type"] = value
    found = message.get_params(failobj=[])
    kind = found[0][0].lower() if found else ""
    return kind, {name.lower(): text for name, text in found[1:]}


class Multipart:
    """Takes a body apart; what it holds back is no more than a delimiter or a header.

    `ended` says whether the closing delimiter has come: without it something is missing.
    """

    def __init__(self, boundary: str) -> None:
        """Raises RemoteProtocolError for what is no boundary.

        RFC 2046 has 70 characters at most, and some servers write more.
        """
        if not _BOUNDARY.fullmatch(boundary):
            raise RemoteProtocolError(f"{boundary[:80]!r} is no boundary of a multipart answer")
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        self._held = b"\r\n"  # as if a line had ended before: the first delimiter may stand at the beginning
        self._at = _At.PREAMBLE
        self._skipped = 0
        self._resumes = _At.PREAMBLE  # where it goes on if what looks like a delimiter is none

    @property
    def ended(self) -> bool:
        """Whether the last part is behind it."""
        return self._at is _At.END

    def feed(self, data: bytes) -> Iterator[Event]:
        """What more bytes bring; to be taken to its end. Views are of `data`, or of what was held back.

        Raises RemoteProtocolError.
        """
        if self._held:
            data, self._held = self._held + data, b""
        position: int | None = 0
        while position is not None and self._at is not _At.END:
            if self._at is _At.HEADER:
                header, position = self._header(data, position)
                if header is not None:
                    self._at = _At.BODY
                    yield PartBegins(header)
            elif self._at is _At.DELIMITER:
                before = self._resumes
                position = self._behind_delimiter(data, position)
                if position is not None and before is _At.BODY and self._at is not _At.DELIMITER:
                    if self._at is _At.BODY:
                        yield memoryview(self._delimiter)
                    else:
                        yield PartEnds()
            else:
                end, position = self._content(data, position)
                if self._at_body_before(end):
                    yield memoryview(data)[end.start : end.stop]

    def _at_body_before(self, found: slice) -> bool:
        """Whether what was found before a delimiter, or before more, is a part's."""
        where: _At = self._resumes if self._at is _At.DELIMITER else self._at
        if where is _At.BODY:
            return bool(found.stop > found.start)
        self._skipped += int(found.stop - found.start)
        if self._skipped > MAX_PREAMBLE:
            raise RemoteProtocolError(f"no part begins in the first {MAX_PREAMBLE} bytes of an answer")
        return False

    def _content(self, data: bytes, position: int) -> tuple[slice, int | None]:
        """What stands before the next delimiter, and where to go on; None where more must come."""
        found = data.find(self._delimiter, position)
        if found >= 0:
            self._resumes, self._at = self._at, _At.DELIMITER
            return slice(position, found), found + len(self._delimiter)
        # a delimiter has its only CR at the beginning: the last one tells where one may have begun
        begun = data.rfind(b"\r", max(position, len(data) - len(self._delimiter)))
        if begun < 0 or not self._delimiter.startswith(data[begun:]):
            begun = len(data)
        self._held = data[begun:]
        return slice(position, begun), None

    def _behind_delimiter(self, data: bytes, position: int) -> int | None:
        """Decide what a delimiter is: the last one, one with a part behind it, or none at all."""
        rest = data[position : position + MAX_PART_HEADER]
        if rest.startswith(b"--"):
            self._at = _At.END
            return position
        text = rest.lstrip(b" \t")
        if text.startswith(b"\r\n"):
            self._at = _At.HEADER
            return position + len(rest) - len(text)  # its line's end may be the header's too
        if text in (b"", b"\r") or rest == b"-":
            if len(rest) >= MAX_PART_HEADER:
                raise RemoteProtocolError(f"a delimiter of more than {MAX_PART_HEADER} bytes")
            self._held = data[position:]
            return None
        self._at = self._resumes  # it goes on: another line that begins so
        return position

    def _header(self, data: bytes, position: int) -> tuple[dict[str, str] | None, int | None]:
        """The header of a part, from the end of its delimiter's line on, and where its body begins."""
        end = data.find(b"\r\n\r\n", position, position + MAX_PART_HEADER + 4)
        if end < 0:
            if len(data) - position > MAX_PART_HEADER:
                raise RemoteProtocolError(f"the header of a part has more than {MAX_PART_HEADER} bytes")
            self._held = data[position:]
            return None, None
        header: dict[str, str] = {}
        for line in data[position:end].decode("latin-1").split("\r\n"):
            name, colon, value = line.partition(":")
            if colon:
                header[name.strip().lower()] = value.strip()
        return header, end + 4
