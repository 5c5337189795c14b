"""What may leave the kit: no identifier without a key of the kit's own, no C-MOVE to anybody else.

A query with universal matching alone, or for a patient of somebody else, is never sent, whatever a case says.
"""

from __future__ import annotations

from .dissect import command_elements, command_set, dissect, split, us

PREFIX = b"AIODICOM-KIT"
"""Of patient ids, and of titles, that are the kit's."""
UID_ROOT = b"2.25.7085316328620623019342492612812731"
"""Of UIDs that the kit makes."""
C_GET, C_FIND, C_MOVE = 0x0010, 0x0020, 0x0021
KEYS = {(0x0010, 0x0020), (0x0020, 0x000D), (0x0020, 0x000E), (0x0008, 0x0018)}
MOVE_DESTINATION = 0x0600


class GuardError(Exception):
    """A case tried to send what must not leave the kit: a defect of ours."""


class Guard:
    """Looks at what one connection is about to send."""

    def __init__(self) -> None:
        self._rest: bytes = b""
        self._command: bytes = b""
        self._identifier: bytes = b""
        self._asking: bool = False

    def check(self, data: bytes) -> None:
        """Look at bytes before they are sent. Raises GuardError; then none of them may be."""
        whole, self._rest = split(self._rest + data)
        for raw in whole:
            if raw[0] != 4:
                continue
            for value in dissect(raw).values:
                if value.control & 1:
                    self._command += value.data
                    if value.control & 2:
                        self._commanded(command_set(self._command))
                        self._command = b""
                elif self._asking:
                    self._identifier += value.data
                    if value.control & 2:
                        self._identified()

    def _commanded(self, fields: dict[int, bytes]) -> None:
        code = us(fields, 0x0100)
        self._asking = code in (C_GET, C_FIND, C_MOVE)
        self._identifier = b""
        destination = fields.get(MOVE_DESTINATION, b"").strip(b" \0")
        if code == C_MOVE and destination and not destination.startswith(PREFIX):
            raise GuardError("a C-MOVE to somebody else's title")

    def _identified(self) -> None:
        """Judge a whole identifier in Implicit VR Little Endian, the only syntax the kit queries in."""
        identifier, self._identifier, self._asking = self._identifier, b"", False
        for _, group, number, _, value in command_elements(identifier):
            own = value.startswith((PREFIX, UID_ROOT)) and b"*" not in value and b"?" not in value
            if (group, number) in KEYS and own:
                return
        raise GuardError("an identifier without a key of the kit's own")
