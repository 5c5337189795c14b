"""--trace and `aiodicom trace`: what is written, what is read back, and what stands in neither."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from aiodicom.association.observing import BytesEvent, EndedEvent, OpenedEvent
from aiodicom.cli import tracing
from aiodicom.cli.tracing import TraceFile, read_trace

from .conftest import Invoke, Served, serve, stop

BASE = {"number": 1, "at": 1.5, "peer": "X@h:1", "requestor": True}


def shown(out: str) -> list[str]:
    """The lines without their times."""
    return [line.partition(" ")[2] for line in out.splitlines()]


@pytest.mark.parametrize("suffix", [".jsonl", ".pcap"])
def test_a_command_is_traced_and_read_back(
    invoke: Invoke, archive: Served, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"trace{suffix}"
    found = invoke(
        *("find", "127.0.0.1", archive.port, "PatientName=CANARY*", "--level", "STUDY", "--trace", path),
        *("--user", "CANARY", "--passcode", "CANARY"),
    )
    assert found.code == 0, found.err
    lines = shown(invoke("trace", path).out)
    assert any("A-ASSOCIATE-RQ" in line for line in lines)
    assert any("-> C-FIND-RQ id 1 Study Root FIND" in line for line in lines)
    assert any("<- C-FIND-RSP id 1 Study Root FIND, 0000H success" in line for line in lines)
    assert "released after" in lines[-1]
    assert not any("CANARY" in line for line in lines)
    number = lines[0].split()[0].removeprefix("#")
    assert shown(invoke("trace", path, "--association", number).out) == lines
    assert invoke("trace", path, "--association", 60000).out == ""
    raw = path.read_bytes()
    assert (b"CANARY" in raw) == (suffix == ".pcap")  # lines of JSON hold no data; a capture holds all


def test_a_capture_is_tcp_that_others_read(invoke: Invoke, archive: Served, tmp_path: Path) -> None:
    """Each packet whole, sequence numbers without a gap, the bytes of both directions DICOM."""
    path = tmp_path / "trace.pcap"
    assert invoke("echo", "127.0.0.1", archive.port, "--trace", path).code == 0
    data = path.read_bytes()
    assert struct.unpack_from("<IHHiIII", data) == (0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, 101)
    at = 24
    streams: dict[tuple[int, ...], bytes] = {}
    expected: dict[tuple[int, ...], int] = {}
    while at < len(data):
        _, fraction, length, original = struct.unpack_from("<IIII", data, at)
        packet = data[at + 16 : at + 16 + length]
        at += 16 + length
        assert length == original == len(packet) == struct.unpack_from(">H", packet, 2)[0]
        assert fraction < 1_000_000
        assert sum(struct.unpack(">10H", packet[:20])) % 0xFFFF == 0  # the checksum of IP
        ports = struct.unpack_from(">HH", packet, 20)
        sequence, flags = struct.unpack_from(">I", packet, 24)[0], packet[33]
        assert sequence == expected.get(ports, 0)
        payload = packet[40:]
        expected[ports] = sequence + len(payload) + (1 if flags & 3 else 0)
        streams[ports] = streams.get(ports, b"") + payload
    assert at == len(data)
    first = sorted(stream[0] for stream in streams.values())
    assert first == [1, 2]  # A-ASSOCIATE-RQ one way, -AC the other
    assert all(104 in ports for ports in streams)


def test_a_server_is_traced(invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "server.jsonl"
    served = serve(tmp_path / "archive", "--trace", str(path))
    try:
        assert invoke("echo", "127.0.0.1", served.port, "--calling", "SCANNER").code == 0
    finally:
        assert stop(served) == 0
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert {"opened", "message", "request", "ended"} <= {one["event"] for one in events}
    assert all(one["peer"].startswith(("SCANNER@127.0.0.1:", "127.0.0.1")) for one in events)
    assert "body" not in events[0]


def test_a_trace_of_another_kind_is_wrong_usage(invoke: Invoke, archive: Served, tmp_path: Path) -> None:
    result = invoke("echo", "127.0.0.1", archive.port, "--trace", tmp_path / "trace.txt")
    assert result.code == 2
    assert ".jsonl or a .pcap" in result.err
    result = invoke("echo", "127.0.0.1", archive.port, "--trace", tmp_path / "absent" / "trace.jsonl")
    assert result.code == 1
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    "content",
    [
        b"{}\n",
        b"no json\n",
        b"[1]\n",
        b"\xff\xfe",
        b"\xd4\xc3\xb2\xa1" + bytes(20) + b"cut",
        b"\xd4\xc3\xb2\xa1" + bytes(20) + struct.pack("<IIII", 0, 0, 60, 60) + bytes(60),
    ],
)
def test_what_is_no_trace_is_told(invoke: Invoke, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "trace"
    path.write_bytes(content)
    result = invoke("trace", path)
    assert result.code == 1
    assert str(path) in result.error


def test_a_full_disk_is_told_and_stops_nothing(invoke: Invoke, archive: Served) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full here")
    link = full.parent / "shm" / "aiodicom-full.jsonl"
    link.unlink(missing_ok=True)
    link.symlink_to(full)
    try:
        result = invoke("echo", "127.0.0.1", archive.port, "--trace", link)
    finally:
        link.unlink()
    assert result.code == 0
    assert "is not whole: No space left" in result.error


def test_what_does_not_fit_the_queue_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "QUEUED_BYTES", 100)
    trace = TraceFile(tmp_path / "trace.jsonl")
    trace(OpenedEvent(**BASE, accepted=1, proposed=1))
    trace.close()
    assert trace.left_out == 1
    assert (tmp_path / "trace.jsonl").read_bytes() == b""


def test_an_association_without_bytes_has_no_packets(tmp_path: Path) -> None:
    path = tmp_path / "trace.pcap"
    trace = TraceFile(path)
    ended = EndedEvent(
        **BASE, seconds=0, opened=False, outcome="lost", reason=None,
        bytes_received=0, bytes_sent=0, received={}, sent={},
    )  # fmt: skip
    trace(ended)
    trace(OpenedEvent(**BASE, accepted=1, proposed=1))
    trace(BytesEvent(**BASE, sent=True, data=memoryview(bytes(70000))))  # more than a packet holds
    trace.close()
    trace.close()
    assert path.stat().st_size == 24 + 2 * 56 + 2 * 56 + 70000
    assert [text for _, _, text in read_trace(path)] == ["#1 -> PDU of type 00H, 0 bytes"] * 11666
