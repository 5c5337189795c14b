"""UIDs that more than one floor needs, and their form (PS3.5 9.1, PS3.6 Annex A)."""

from __future__ import annotations

import re

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"

UNCOMPRESSED = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)

_CHARACTERS = frozenset("0123456789.")
_SIGN = r"!-)+->@-\[\]-~"  # printable ASCII but `*`, `?`, the backslash and the blank
_NEAR = re.compile(rf"[{_SIGN}](?:[ {_SIGN}]*[{_SIGN}])?")


def is_uid(text: str) -> bool:
    """Whether a text has a UID's form: digits and dots, 1 to 64, no empty component; leading zeros pass."""
    return 0 < len(text) <= 64 and _CHARACTERS.issuperset(text) and all(text.split("."))


MAX_NEAR_UID = 128
"""Characters of what stands in a UID's place and is none; archives hold such of 70."""


def is_near_uid(text: str, longest: int = MAX_NEAR_UID) -> bool:
    """Whether a text can stand where a UID must, though it may be none: letters, slashes, blanks, too long.

    PS3.5 9.1 binds who makes a UID; who asks for one, or keeps what has it, takes it as it is: as a key. No
    path is made of it but by `dataset.names.file_stem`. Only what would mean something else cannot stand: a
    list, a wildcard, the key for an empty value (`""`), a control character, blanks around it (padding).
    """
    return len(text) <= longest and text != '""' and _NEAR.fullmatch(text) is not None
