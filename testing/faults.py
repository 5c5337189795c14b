"""What a fake PACS does wrong, said by count and place and never by time.

on("C-STORE", nth=2).status(0xA700)          the second store fails
on("associate", nth=3).reject(2, 3, 2)       the third association is rejected
on("C-FIND").after(pending=1).abort()        one match, then an A-ABORT
on("C-GET").cut(bytes=1000, how="rst")       a reset 1000 bytes into the answer
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

What = Literal["associate", "C-ECHO", "C-STORE", "C-FIND", "C-GET", "C-MOVE"]
WHATS = ("associate", "C-ECHO", "C-STORE", "C-FIND", "C-GET", "C-MOVE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens at the nth request of a kind; 0 is every one.

    `action`: "status", "reject", "abort", "hang" or "cut", with what it needs beside it.
    """

    what: str
    nth: int = 0
    pending: int = 0
    action: str = ""
    code: int = 0
    rejection: tuple[int, int, int] = (1, 1, 1)
    after_bytes: int = 0
    how: Literal["fin", "rst", "half"] = "rst"

    def after(self, *, pending: int) -> Fault:
        """Behind so many matches of a C-FIND."""
        if self.what != "C-FIND":
            raise ValueError("only a C-FIND is answered by matches")
        return replace(self, pending=pending)

    def status(self, code: int) -> Fault:
        """Answer with this status: a failure or a warning."""
        if self.what == "associate" or not 0 < code <= 0xFFFF:
            raise ValueError("a status answers a request, and is 0001H to FFFFH")
        return replace(self, action="status", code=code)

    def reject(self, result: int, source: int, reason: int) -> Fault:
        """Reject the association (PS3.8 9.3.4)."""
        if self.what != "associate":
            raise ValueError("only an association is rejected")
        return replace(self, action="reject", rejection=(result, source, reason))

    def abort(self) -> Fault:
        """End the association by an A-ABORT of the service user."""
        if self.what == "associate":
            raise ValueError("an association that was not accepted is rejected")
        return replace(self, action="abort")

    def hang(self) -> Fault:
        """Never answer."""
        if self.what == "associate":
            raise ValueError("hang at a request")
        return replace(self, action="hang")

    def cut(self, *, bytes: int, how: Literal["fin", "rst", "half"] = "rst") -> Fault:
        """Cut the connection when so many more bytes went out."""
        if self.what == "associate" or bytes < 0:
            raise ValueError("a cut is so many bytes behind a request")
        return replace(self, action="cut", after_bytes=bytes, how=how)

    def fits(self, what: str, count: int) -> bool:
        """Whether it is for the count-th request of this kind."""
        return bool(self.action) and self.what == what and self.nth in (0, count)


def on(what: str, *, nth: int = 0) -> Fault:
    """A fault at the nth "associate", "C-STORE" and so on (1 is the first); without `nth` at every one."""
    if what not in WHATS or nth < 0:
        raise ValueError(f"{what!r} is none of {', '.join(WHATS)}")
    return Fault(what=what, nth=nth)


CATALOGUE: dict[str, Fault] = {
    "rejected-once": on("associate", nth=1).reject(2, 3, 2),
    "rejected-for-ever": on("associate").reject(1, 1, 7),
    "echo-fails": on("C-ECHO").status(0x0110),
    "echo-hangs": on("C-ECHO").hang(),
    "store-out-of-resources": on("C-STORE").status(0xA700),
    "store-second-fails": on("C-STORE", nth=2).status(0xC000),
    "store-coerced": on("C-STORE").status(0xB000),
    "store-aborted": on("C-STORE", nth=2).abort(),
    "store-reset": on("C-STORE", nth=2).cut(bytes=0),
    "store-hangs": on("C-STORE").hang(),
    "find-refused": on("C-FIND").status(0xA700),
    "find-aborted": on("C-FIND").after(pending=1).abort(),
    "find-fails-late": on("C-FIND").after(pending=1).status(0xC001),
    "find-reset": on("C-FIND").cut(bytes=0),
    "get-refused": on("C-GET").status(0xA702),
    "get-cut": on("C-GET").cut(bytes=1000),
    "get-closed": on("C-GET").cut(bytes=1000, how="fin"),
    "get-hangs": on("C-GET").hang(),
    "move-unknown-destination": on("C-MOVE").status(0xA801),
    "move-aborted": on("C-MOVE").abort(),
}
"""Faults by name, to parametrize a test over."""
