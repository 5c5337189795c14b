"""Traces of the network in a file: lines of JSON, or a capture that Wireshark opens; written on a thread."""

from __future__ import annotations

import dataclasses
import json
import struct
import threading
from collections import deque
from collections.abc import Iterator
from io import RawIOBase
from pathlib import Path
from typing import Any, BinaryIO

import click

from ..association.lines import line_of
from ..association.observing import BytesEvent, EndedEvent, Event, MessageEvent, name_of
from ..association.tap import Tap

QUEUED_BYTES = 64 * 1024 * 1024
"""Bytes that wait for a slow disk; what comes beyond is left out, counted and told."""
EVENT_BYTES = 1024
"""What an event counts in them before it is text."""

_MAGIC = b"\xd4\xc3\xb2\xa1"  # pcap, little endian, microseconds
_PCAP_HEAD = struct.Struct("<4sHHiIII")
_RECORD = struct.Struct("<IIII")
_RAW_IP = 101
_IP = struct.Struct(">BBHHHBBH4s4s")
_TCP = struct.Struct(">HHIIBBHHH")
_SEGMENT = 65000
_US, _PEER = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
_DICOM_PORT = 104
_FIRST_PORT = 1024
_SYN, _ACK, _FIN, _PUSH = 2, 16, 1, 8


class TraceFile:
    """An observer that writes what it is told into a file; its name's end says how: ``.jsonl``, ``.pcap``.

    A capture holds the bytes as they were inside TLS: patients' data and passcodes. Lines of JSON hold none.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError when the file cannot be made, click.BadParameter for another end of its name."""
        if path.suffix not in (".jsonl", ".pcap"):
            raise click.BadParameter(f"{path}: a trace is a .jsonl or a .pcap file")
        self.wants_bytes: bool = path.suffix == ".pcap"
        self.left_out: int = 0
        self.error: OSError | None = None
        self._capture = _Capture() if self.wants_bytes else None
        self._file = path.open("wb", buffering=0)
        if self.wants_bytes:
            self._file.write(_PCAP_HEAD.pack(_MAGIC, 2, 4, 0, 0, 1 << 18, _RAW_IP))
        self._waiting: deque[bytes | Event] = deque()
        self._bytes = 0
        self._ready = threading.Condition()
        self._ends = False
        self._thread = threading.Thread(target=self._write, name="aiodicom-trace", daemon=True)
        self._thread.start()

    def __call__(self, event: Event) -> None:
        """Queue an event; never waits."""
        # a lent view must be copied here; text is made on the thread, for it loads names of UIDs
        data = event if self._capture is None else self._capture.record(event)
        length = len(data) if isinstance(data, bytes) else EVENT_BYTES
        with self._ready:
            if self._bytes + length > QUEUED_BYTES:
                self.left_out += 1
                return
            self._waiting.append(data)
            self._bytes += length
            self._ready.notify()

    def close(self) -> None:
        """Write what waits, and end. May be called again."""
        with self._ready:
            self._ends = True
            self._ready.notify()
        self._thread.join()

    def _write(self) -> None:
        with self._file as file:
            while True:
                with self._ready:
                    self._ready.wait_for(lambda: self._waiting or self._ends)
                    taken, self._waiting = self._waiting, deque()
                    self._bytes = 0
                    ends = self._ends
                if taken and self.error is None:
                    self._put(file, b"".join(one if isinstance(one, bytes) else _line(one) for one in taken))
                if ends and not taken:
                    return

    def _put(self, file: RawIOBase, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[file.write(rest) or 0 :]
        except OSError as error:
            self.error = error


def _line(event: Event) -> bytes:
    values: dict[str, Any] = {"event": type(event).__name__.removesuffix("Event").lower()}
    for field in dataclasses.fields(event):
        values[field.name] = getattr(event, field.name)
    values.pop("body", None)  # it may hold a passcode
    if isinstance(event, MessageEvent):
        values["message"] = None if event.message is None else _message(event)
    values["text"] = line_of(event)
    return json.dumps(values).encode() + b"\n"


def _message(event: MessageEvent) -> dict[str, Any]:
    assert event.message is not None
    values = {field.name: getattr(event.message, field.name) for field in dataclasses.fields(event.message)}
    if values.get("error_comment") is not None:
        values["error_comment"] = f"({len(values['error_comment'])} characters)"  # a peer's, of whatever
    return {"name": name_of(event.message), **values}


class _Capture:
    """Makes TCP of the bytes of associations: each its own pair of ports, what was sent in order."""

    def __init__(self) -> None:
        self._sequences: dict[int, dict[bool, int]] = {}

    def record(self, event: Event) -> bytes:
        """The packets of an event; none for what has no bytes."""
        if isinstance(event, EndedEvent):
            sequence = self._sequences.pop(event.number, None)
            if sequence is None:
                return b""
            return self._packet(event, sequence, True, _FIN | _ACK) + self._packet(
                event, sequence, False, _FIN | _ACK
            )
        if not isinstance(event, BytesEvent):
            return b""
        packets = []
        sequence = self._sequences.get(event.number)
        if sequence is None:
            sequence = self._sequences[event.number] = {True: 0, False: 0}
            packets = [
                self._packet(event, sequence, event.requestor, _SYN),
                self._packet(event, sequence, not event.requestor, _SYN | _ACK),
            ]
        for start in range(0, len(event.data), _SEGMENT):
            part = bytes(event.data[start : start + _SEGMENT])
            packets.append(self._packet(event, sequence, event.sent, _PUSH | _ACK, part))
        return b"".join(packets)

    def _packet(
        self, event: Event, sequence: dict[bool, int], sent: bool, flags: int, data: bytes = b""
    ) -> bytes:
        own = _FIRST_PORT + event.number % 60000
        ports = {event.requestor: own, not event.requestor: _DICOM_PORT}
        acknowledged = 0 if flags == _SYN else sequence[not sent]
        tcp = _TCP.pack(
            ports[sent], ports[not sent], sequence[sent], acknowledged, 5 << 4, flags, 0xFFFF, 0, 0
        )
        addresses = (_US, _PEER) if sent else (_PEER, _US)
        total = _IP.size + len(tcp) + len(data)
        head = _IP.pack(0x45, 0, total, 0, 0x4000, 64, 6, 0, *addresses)
        head = _IP.pack(0x45, 0, total, 0, 0x4000, 64, 6, _checksum(head), *addresses)
        moved = len(data) + (1 if flags & (_SYN | _FIN) else 0)
        sequence[sent] = (sequence[sent] + moved) & 0xFFFFFFFF
        seconds, fraction = divmod(event.at, 1)
        return _RECORD.pack(int(seconds), int(fraction * 1e6), total, total) + head + tcp + data


def _checksum(head: bytes) -> int:
    total: int = sum(struct.unpack(">10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def read_trace(path: Path) -> Iterator[tuple[float, int, str]]:
    """Time, association and text of each event of a trace. Raises OSError, click.ClickException."""
    with path.open("rb") as file:
        if file.read(4) == _MAGIC:
            yield from _read_capture(path, file)
            return
        file.seek(0)
        for number, line in enumerate(file, 1):
            try:
                event = json.loads(line)
                found = float(event["at"]), int(event["number"]), event["text"]
            except (ValueError, KeyError, TypeError):
                raise click.ClickException(f"{path}: line {number} is none of a trace") from None
            if found[2] is not None:
                yield found


def _read_capture(path: Path, file: BinaryIO) -> Iterator[tuple[float, int, str]]:
    """The events of a capture of ours; those of others are for ``conformance sniff``."""
    file.read(_PCAP_HEAD.size - 4)
    taps: dict[int, Tap] = {}
    told: list[Event] = []
    now = [0.0]
    while head := file.read(_RECORD.size):
        packet = b""
        if len(head) == _RECORD.size:
            seconds, fraction, length, _ = _RECORD.unpack(head)
            now[0] = seconds + fraction / 1e6
            packet = file.read(length) if length <= 0xFFFF else b""
        least = _IP.size + _TCP.size
        if len(packet) < least or packet[12:16] not in (_US, _PEER):
            raise click.ClickException(f"{path}: cut off, or no capture that aiodicom wrote")
        ports = struct.unpack_from(">HH", packet, _IP.size)
        sent, flags, own = packet[12:16] == _US, packet[_IP.size + 13], max(ports)
        if own not in taps or (flags & _SYN and not flags & _ACK):
            taps[own] = Tap(
                [told.append],
                peer=lambda: "peer",
                requestor=(ports[0] == own) == sent,
                wall=lambda: now[0],
                clock=lambda: now[0],
                number=own - _FIRST_PORT,
            )
        if len(packet) > least:
            taps[own].data(sent=sent, data=memoryview(packet)[least:])
        elif flags & _FIN and sent:
            taps[own].closed(None)
        for event in told:
            text = line_of(event)
            if text is not None:
                yield event.at, event.number, text
        told.clear()
