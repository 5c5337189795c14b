"""DIMSE statuses: their category and what they mean (PS3.7 Annex C, PS3.4 per service)."""

from __future__ import annotations

from enum import Enum


class Category(Enum):
    """Status classes of PS3.7 Annex C.

    >>> aiodicom.Status(0xFF00).category is aiodicom.Category.PENDING
    True
    """

    SUCCESS = "success"
    PENDING = "pending"
    CANCEL = "cancel"
    WARNING = "warning"
    FAILURE = "failure"


class Status(int):
    """The status of a response: a number that knows its category and what it means for its service.

    `service` is "C-STORE", "C-FIND", "C-GET" or "C-MOVE" where the meaning depends on it, else empty.
    Equal to the plain number, whatever the service.

    >>> status = aiodicom.Status(0xA700, "C-STORE")
    >>> status == 0xA700, status.category, status.meaning
    (True, <Category.FAILURE: 'failure'>, 'refused: out of resources')
    """

    service: str

    def __new__(cls, code: int, service: str = "") -> Status:
        """`code` is 0000H to FFFFH."""
        status = super().__new__(cls, code)
        status.service = service
        return status

    def __reduce__(self) -> tuple[type[Status], tuple[int, str]]:
        return Status, (int(self), self.service)

    @property
    def category(self) -> Category:
        """The class of the status (PS3.7 Annex C)."""
        return categorize(self)

    @property
    def meaning(self) -> str:
        """What the standard says of the number, in a few words."""
        for first, last, meaning in _SERVICES.get(self.service, ()):
            if first <= self <= last:
                return meaning
        return _GENERAL.get(int(self), "a status the standard does not define")

    @property
    def ok(self) -> bool:
        """Success and nothing less."""
        return self == SUCCESS

    def __str__(self) -> str:
        return f"{self:04X}H {self.category.value}: {self.meaning}"

    def __repr__(self) -> str:
        return f"<Status {self}>"


def categorize(status: int) -> Category:
    """The category of a status of any service (PS3.7 C.1 to C.5)."""
    if status == 0:
        return Category.SUCCESS
    if status in (0xFF00, 0xFF01):
        return Category.PENDING
    if status == 0xFE00:
        return Category.CANCEL
    if status in (0x0001, 0x0107, 0x0116) or 0xB000 <= status <= 0xBFFF:
        return Category.WARNING
    return Category.FAILURE


SUCCESS = Status(0x0000)
PENDING = Status(0xFF00)
PENDING_WARNING = Status(0xFF01)
CANCEL = Status(0xFE00)

SOP_CLASS_NOT_SUPPORTED = Status(0x0122)
DUPLICATE_INVOCATION = Status(0x0210)
UNRECOGNIZED_OPERATION = Status(0x0211)
MISTYPED_ARGUMENT = Status(0x0212)
RESOURCE_LIMITATION = Status(0x0213)
NOT_AUTHORIZED = Status(0x0124)
PROCESSING_FAILURE = Status(0x0110)
DUPLICATE_SOP_INSTANCE = Status(0x0111)
INVALID_SOP_INSTANCE = Status(0x0117)

OUT_OF_RESOURCES = Status(0xA700)
UNABLE_TO_CALCULATE = Status(0xA701)
UNABLE_TO_PERFORM = Status(0xA702)
MOVE_DESTINATION_UNKNOWN = Status(0xA801)
IDENTIFIER_MISMATCH = Status(0xA900)
"""C-FIND, C-GET, C-MOVE; of a C-STORE it is DATASET_MISMATCH."""
DATASET_MISMATCH = Status(0xA900)
UNABLE_TO_PROCESS = Status(0xC000)
"""C-FIND, C-GET, C-MOVE; of a C-STORE it is CANNOT_UNDERSTAND."""
CANNOT_UNDERSTAND = Status(0xC000)
ENCODING_IN_DOUBT = Status(0xB007)
"""A C-STORE's warning nearest to an object that is kept though its encoding is against PS3.5."""
SUBOPERATIONS_WARNING = Status(0xB000)


# PS3.7 Annex C: meanings every service shares
_GENERAL = {
    0x0000: "success",
    0x0001: "requested optional attributes are not supported",
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0107: "attribute list error",
    0x0110: "processing failure",
    0x0111: "duplicate SOP instance",
    0x0112: "no such SOP instance",
    0x0113: "no such event type",
    0x0114: "no such argument",
    0x0115: "invalid argument value",
    0x0116: "attribute value out of range",
    0x0117: "invalid SOP instance",
    0x0118: "no such SOP class",
    0x0119: "class-instance conflict",
    0x0120: "missing attribute",
    0x0121: "missing attribute value",
    0x0122: "SOP class not supported",
    0x0123: "no such action type",
    0x0124: "not authorized",
    0x0210: "duplicate invocation",
    0x0211: "unrecognized operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
    0xFE00: "cancelled",
    0xFF00: "pending",
    0xFF01: "pending; one or more optional keys are not supported",
}

# (first, last, meaning) per service, the narrower range first
_Ranges = tuple[tuple[int, int, str], ...]
_STORE: _Ranges = (  # PS3.4 Table B.2-1
    (0xA700, 0xA7FF, "refused: out of resources"),
    (0xA900, 0xA9FF, "error: data set does not match the SOP class"),
    (0xB000, 0xB000, "warning: coercion of data elements"),
    (0xB006, 0xB006, "warning: elements discarded"),
    (0xB007, 0xB007, "warning: data set does not match the SOP class"),
    (0xC000, 0xCFFF, "error: cannot understand"),
)
_FIND: _Ranges = (  # PS3.4 Table C.4-1
    (0xA700, 0xA700, "refused: out of resources"),
    (0xA900, 0xA900, "error: identifier does not match the SOP class"),
    (0xC000, 0xCFFF, "failed: unable to process"),
)
_RETRIEVE: _Ranges = (  # PS3.4 Tables C.4-2 and C.4-3
    (0xA701, 0xA701, "refused: out of resources, unable to calculate the number of matches"),
    (0xA702, 0xA702, "refused: out of resources, unable to perform sub-operations"),
    (0xA700, 0xA7FF, "refused: out of resources"),
    (0xA801, 0xA801, "refused: move destination unknown"),
    (0xA900, 0xA900, "error: identifier does not match the SOP class"),
    (0xAA00, 0xAA00, "failed: none of the frames requested were found"),
    (0xAA01, 0xAA01, "failed: unable to create a new object for this SOP class"),
    (0xAA02, 0xAA02, "failed: unable to extract frames"),
    (0xAA03, 0xAA03, "failed: time-based request for an object without time"),
    (0xAA04, 0xAA04, "failed: invalid request"),
    (0xB000, 0xB000, "warning: sub-operations complete, one or more failures or warnings"),
    (0xC000, 0xCFFF, "failed: unable to process"),
)
_SERVICES: dict[str, _Ranges] = {
    "C-STORE": _STORE,
    "C-FIND": _FIND,
    "C-GET": _RETRIEVE,
    "C-MOVE": _RETRIEVE,
}


def defined(service: str) -> _Ranges:
    """The statuses a service defines beside the general ones: first, last, meaning."""
    return _SERVICES[service]
