"""UIDs that more than one floor needs, and their form (PS3.5 9.1, PS3.6 Annex A)."""

from __future__ import annotations

import re

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"

UNCOMPRESSED = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)

_CHARACTERS = frozenset("0123456789.")
_NEAR = re.compile(r"[._+:~-]*[A-Za-z0-9][A-Za-z0-9._+:~-]*")


def is_uid(text: str) -> bool:
    """Whether a text has a UID's form: digits and dots, 1 to 64, no empty component; leading zeros pass."""
    return 0 < len(text) <= 64 and _CHARACTERS.issuperset(text) and all(text.split("."))


MAX_NEAR_UID = 128
"""Characters of what stands in a UID's place and is none; archives hold such of 70."""


def is_near_uid(text: str) -> bool:
    """Whether a text can stand where a UID must, though it may be none: letters, empty components, too long.

    PS3.5 9.1 binds who makes a UID; who asks for one, or keeps what has it, takes it as it is. Anything but
    letters, digits and `._+:~-` would mean something else: a list, a wildcard, a path.
    """
    return len(text) <= MAX_NEAR_UID and _NEAR.fullmatch(text) is not None
