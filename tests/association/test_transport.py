"""Writing: what waits for a peer that does not read is bounded, whatever the event loop forgets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import pytest
from aiodicom.association import transport
from aiodicom.dimse import DataReceived, MessageReceived, SessionEvent
from aiodicom.dimse import messages as m
from aiodicom.pdu import AReleaseRQ, ProviderAbort, encode
from pair import CT, data_pdv, open_session, pdata, wire


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


class Lost(Written):
    """A transport whose connection is about to go."""

    def __init__(self) -> None:
        super().__init__()
        self.gone = False

    def set_write_buffer_limits(self, high: int) -> None: ...

    def get_extra_info(self, name: str) -> None: ...

    def is_closing(self) -> bool:
        return self.gone

    def abort(self) -> None:
        self.gone = True

    def pause_reading(self) -> None:
        assert not self.gone

    def resume_reading(self) -> None:
        assert not self.gone


class Told:
    """An owner that notes what it is told."""

    def __init__(self) -> None:
        self.events: list[SessionEvent] = []
        self.data = b""
        self.closed = 0

    def on_event(self, event: SessionEvent) -> None:
        assert not self.closed
        if isinstance(event, DataReceived):  # its view is good until this returns
            self.data += event.data
        self.events.append(event)

    def on_read(self) -> None: ...

    def on_held(self) -> None: ...

    def on_overflow(self, text: str) -> None: ...

    def on_closed(self, error: Exception | None) -> None:
        self.closed += 1


@pytest.mark.parametrize("over", [False, True], ids=["in the middle", "before it was looked at"])
@pytest.mark.parametrize("released", [False, True])
async def test_what_came_before_the_connection_went_counts(
    monkeypatch: pytest.MonkeyPatch, over: bool, released: bool
) -> None:
    """It waits for its turn, as ever; then the end is told, once."""
    monkeypatch.setattr(transport, "MOST_EVENTS", 2)
    told, lost = Told(), Lost()
    session = open_session(requestor=False)
    monkeypatch.setattr(session, "connection_made", lambda: None)  # it is open already
    connection = transport.Connection(session, told, artim=1)
    monkeypatch.setattr(type(connection._turns), "over", over)
    connection.connection_made(cast(Any, lost))
    store = m.CStoreRQ(message_id=1, affected_sop_class_uid=CT, affected_sop_instance_uid="1.2.3")
    came = wire(3, store) + b"".join(pdata(data_pdv(3, b"ab", last=n == 9)) for n in range(10))
    came += encode(AReleaseRQ()) if released else b""
    connection.get_buffer(-1)[: len(came)] = came
    connection.buffer_updated(len(came))
    assert len(told.events) == (0 if over else 2)
    lost.gone = True
    connection.connection_lost(ConnectionResetError())
    connection.get_buffer(-1)[: len(came)] = bytes(len(came))
    for _ in range(100):
        await asyncio.sleep(0)
    assert isinstance(told.events[0], MessageReceived)
    assert told.data == b"ab" * 10
    assert len(told.events) == 12 if not released else 13
    assert isinstance(told.events[11], ProviderAbort) is not released
    assert (told.closed, connection.closed) == (1, True)
    assert isinstance(connection.lost_error, ConnectionResetError)


@pytest.mark.parametrize("over", [False, True], ids=["at once", "in a turn"])
async def test_a_defect_in_the_session_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch, over: bool
) -> None:
    """The loop is told, the connection is dropped, and its end is told: nobody waits for it for ever."""

    def broken(data: object) -> Iterator[SessionEvent | None]:
        raise KeyError("a defect")
        yield None

    told, lost = Told(), Lost()
    session = open_session(requestor=False)
    monkeypatch.setattr(session, "connection_made", lambda: None)  # it is open already
    monkeypatch.setattr(session, "events", broken)
    connection = transport.Connection(session, told, artim=1)
    monkeypatch.setattr(type(connection._turns), "over", over)
    connection.connection_made(cast(Any, lost))
    heard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
    if over:
        connection.buffer_updated(10)
        for _ in range(100):
            await asyncio.sleep(0)
        assert [type(one["exception"]) for one in heard] == [KeyError]
    else:
        with pytest.raises(KeyError):
            connection.buffer_updated(10)
    assert lost.gone
    connection.connection_lost(None)
    assert (told.closed, connection.closed) == (1, True)
