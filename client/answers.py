"""One answer of a query, from its bytes: text by the set it names, else by what is known of the peer."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydicom.dataset import Dataset

from ..dataset.charset import terms_of, texts, unknown_term
from ..dataset.coding import decode_answer
from ..dataset.scan import scan_dataset
from ..dimse.levels import QueryError
from .keys import place_of

UTF_8 = "ISO_IR 192"


class Answer(Dataset):
    """A match: a data set, and the bytes it came as (`raw`, in `transfer_syntax`).

    >>> async with aiodicom.connect(HOST, PORT) as pacs:
    ...     [answer] = await pacs.find("STUDY", {}, ["PatientName"])
    >>> answer.PatientName, b"Phantom^Head" in bytes(answer.raw)
    ('Phantom^Head', True)
    """

    def __init__(self, *args: Any, raw: bytes = b"", transfer_syntax: str = "") -> None:
        super().__init__(*args)
        self.raw: bytes = raw
        self.transfer_syntax: str = transfer_syntax

    def raw_value(self, key: str) -> bytes | None:
        """The bytes of an element, padding included, as the peer sent them; None where it sent none.

        A key is a keyword or a tag of the top level; a longer value than 64 KiB is not given. Raises
        QueryError for a key that names no element.
        """
        tag = place_of(self, key)
        if tag is None:
            raise QueryError(f"unknown keyword {key[:64]!r}")
        found: bytes | None = scan_dataset(self.raw, self.transfer_syntax, {tag}).values.get(tag)
        return found


def check_character_set(chosen: str | None) -> None:
    """Raise QueryError for a fallback that is no character set."""
    unknown = unknown_term(chosen.split("\\")) if chosen else None
    if unknown is not None:
        raise QueryError(f"character_set: {unknown!r:.40} is no defined term (PS3.3 C.12.1.1.2)")


def read_answer(
    raw: bytes, transfer_syntax: str, fallback: str | None
) -> tuple[Answer, Collection[str], Collection[str]]:
    """An answer, the elements that cannot be decoded, and those read in a set that the answer does not name.

    Where no set is named that exists and there is no fallback, text is UTF-8 if all of it is, else Latin-1.
    Text with bytes that are of no set at hand holds U+FFFD for them. One that breaks off holds
    what came before.
    """
    dataset, undecoded = decode_answer(raw, transfer_syntax)
    if fallback is not None and not _plain(raw):
        for _ in dataset.iterall():  # what fits the set it names is decoded when it is looked at
            pass
    strange = [] if _plain(raw) else [name for name, text in texts(dataset) if not _plain(text)]
    guessed: list[str] = []
    if strange and (named := _unfit(dataset, fallback)) is not None:
        tried = [fallback] if fallback else [] if named else [UTF_8]
        for one in tried:
            again, wrong = decode_answer(raw, transfer_syntax, one)
            if not any("\ufffd" in text for _, text in texts(again)):
                dataset, undecoded, guessed = again, wrong, strange
                break
        else:
            guessed = [] if named else strange
    answer = Answer.__new__(Answer)  # a data set is slow to make, and there is one
    answer.__dict__.update(dataset.__dict__, raw=raw, transfer_syntax=transfer_syntax)
    return answer, undecoded, dict.fromkeys(guessed)


def _plain(text: str | bytes) -> bool:
    return text.isascii() and ("\x1b" if isinstance(text, str) else b"\x1b") not in text  # type: ignore[operator]


def _unfit(dataset: Dataset, fallback: str | None) -> bool | None:
    """Whether the set that is named is not that of the text: None where it may be, False where none is named.

    Of Latin letters and UTF-8 either can be read as the other is written; only what was known before tells.
    """
    terms = terms_of(dataset)
    if not terms or unknown_term(terms) is not None:
        return False
    found = [text for _, text in texts(dataset) if not _plain(text)]
    if any("\ufffd" in text for text in found):
        return True
    return True if fallback == UTF_8 and terms != [UTF_8] and all(map(_is_utf_8, found)) else None


def _is_utf_8(text: str) -> bool:
    """Whether what was read as Latin-1 is UTF-8."""
    try:
        text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return False
    return True
