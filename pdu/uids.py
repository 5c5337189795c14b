"""UIDs that more than one floor needs, and their form (PS3.5 9.1, PS3.6 Annex A)."""

from __future__ import annotations

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"

UNCOMPRESSED = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)

_CHARACTERS = frozenset("0123456789.")


def is_uid(text: str) -> bool:
    """Whether a text has a UID's form: digits and dots, 1 to 64, no empty component; leading zeros pass."""
    return 0 < len(text) <= 64 and _CHARACTERS.issuperset(text) and all(text.split("."))
