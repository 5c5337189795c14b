"""The counters of a C-GET's or C-MOVE's sub-operations, and the status they end in (PS3.4 C.4.2, C.4.3)."""

from __future__ import annotations

from .status import CANCEL, SUBOPERATIONS_WARNING, SUCCESS, UNABLE_TO_PERFORM, Category, categorize

MAX_LISTED = 0xFFFF
"""SOP instances a failed list names: 4 MB of them. What a counter can hold, so much can be named."""
FAILED_LIST = 0x00080058
"""Failed SOP Instance UID List."""


class SubOperations:
    """Counts the C-STORE sub-operations of one retrieve; the four counters always add up to `total`."""

    __slots__ = ("completed", "failed", "failed_uids", "remaining", "total", "warning")

    def __init__(self, total: int) -> None:
        self.total: int = total
        self.remaining: int = total
        self.completed: int = 0
        self.failed: int = 0
        self.warning: int = 0
        self.failed_uids: list[str] = []

    def record(self, sop_instance_uid: str, status: int | None) -> None:
        """One sub-operation has ended with a C-STORE status, or None when it could not be done."""
        self.remaining -= 1
        category = Category.FAILURE if status is None else categorize(status)
        if category is Category.SUCCESS:
            self.completed += 1
        elif category is Category.WARNING:
            self.warning += 1
        else:
            self.failed += 1
            if len(self.failed_uids) < MAX_LISTED:
                self.failed_uids.append(sop_instance_uid)

    def final_status(self, *, cancelled: bool = False) -> int:
        """The final response's status (PS3.4 Tables C.4-2 and C.4-3)."""
        if cancelled and self.remaining:
            return CANCEL
        if self.total and self.failed == self.total:
            return UNABLE_TO_PERFORM
        if self.failed or self.warning:
            return SUBOPERATIONS_WARNING
        return SUCCESS

    def counters(self, *, final: bool) -> dict[str, int]:
        """The counters for a response; `remaining` is left out of a final one unless work was left.

        They are optional (PS3.7 9.1.3): a number that a US cannot hold is left out, not cut to a wrong one.
        """
        found = {"completed": self.completed, "failed": self.failed, "warning": self.warning}
        if not final or self.remaining:
            found["remaining"] = self.remaining
        return {name: value for name, value in found.items() if value <= 0xFFFF}
