"""Writing: what waits for a peer that does not read is bounded, whatever the event loop forgets."""

from __future__ import annotations

from typing import Any, cast

import pytest
from aiodicom.association import transport


class Written:
    """A transport that notes how it is written to."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.data = b""

    def write(self, data: bytes) -> None:
        self.calls.append("write")
        self.data += data

    def writelines(self, buffers: list[bytes]) -> None:
        self.calls.append("writelines")
        self.data += b"".join(buffers)


@pytest.mark.parametrize(("forgets", "calls"), [(True, ["write", "write"]), (False, ["writelines"])])
def test_where_writelines_does_not_pause_write_does(
    monkeypatch: pytest.MonkeyPatch, forgets: bool, calls: list[str]
) -> None:
    monkeypatch.setattr(transport, "_WRITELINES_FORGETS_TO_PAUSE", forgets)
    written = Written()
    transport._write_all(cast(Any, written), [b"ab", b"cd"])
    assert (written.calls, written.data) == (calls, b"abcd")
