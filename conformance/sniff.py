"""Captures (pcap and pcapng) to conversations: containers, IP, TCP, and reassembly that says where gaps are.

Only what a capture of TCP needs is read; a packet that is not understood is passed over.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from .watch import Watched

LONGEST_PACKET = 262144
"""Bytes a captured packet may have: more is no capture (libpcap's own limit)."""
MAX_PENDING = 4 * 1024 * 1024
"""Bytes kept of one direction behind a gap, before it is said that what is missing is lost."""
ETHERNET, RAW, LOOP, LINUX_SLL, LINUX_SLL2, NULL = 1, 101, 108, 113, 276, 0
MAGIC = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
"""The byte order of a pcapng section, by how its magic number stands there."""
IPV4, IPV6, TCP = 0x0800, 0x86DD, 6
FIN, SYN, RST, ACK = 1, 2, 4, 16
ASSOCIATE_RQ = b"\x01"


class CaptureError(ValueError):
    """A file that is no capture, or is cut."""


@dataclass(frozen=True, slots=True)
class Packet:
    """A captured packet: seconds, link type, bytes."""

    seconds: float
    link: int
    data: bytes


def packets(file: BinaryIO) -> Iterator[Packet]:
    """The packets of a pcap or pcapng file, in order. Raises CaptureError."""
    head = file.read(4)
    if head in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1"):
        yield from _pcap(file, "<", 1e-9 if head[0] == 0x4D else 1e-6)
    elif head in (b"\xa1\xb2\xc3\xd4", b"\xa1\xb2\x3c\x4d"):
        yield from _pcap(file, ">", 1e-9 if head[3] == 0x4D else 1e-6)
    elif head == b"\x0a\x0d\x0d\x0a":
        yield from _pcapng(file)
    else:
        raise CaptureError("neither pcap nor pcapng")


def _exactly(file: BinaryIO, count: int) -> bytes:
    if not 0 <= count <= LONGEST_PACKET:
        raise CaptureError(f"a block with {count} bytes left of it")
    data = file.read(count)
    if len(data) != count:
        raise CaptureError("the file ends in the middle of a packet")
    return data


def _pcap(file: BinaryIO, order: str, unit: float) -> Iterator[Packet]:
    (link,) = struct.unpack_from(order + "L", _exactly(file, 20), 16)
    while head := file.read(16):
        if len(head) != 16:
            raise CaptureError("the file ends in the middle of a packet")
        seconds, fraction, length, _ = struct.unpack(order + "4L", head)
        yield Packet(seconds + fraction * unit, link & 0xFFFF, _exactly(file, length))


def _pcapng(file: BinaryIO) -> Iterator[Packet]:
    order, links = "<", list[tuple[int, float]]()
    kind = b"\x0a\x0d\x0d\x0a"
    while kind:
        if kind == b"\x0a\x0d\x0d\x0a":  # a section: its magic says the byte order
            length, magic = _exactly(file, 4), _exactly(file, 4)
            order = MAGIC.get(magic, "")
            if not order:
                raise CaptureError("a section without the byte order of its numbers")
            links = []
            _exactly(file, struct.unpack(order + "L", length)[0] - 12)
        else:
            (number,) = struct.unpack(order + "L", kind)
            (size,) = struct.unpack(order + "L", _exactly(file, 4))
            if size < 12:
                raise CaptureError(f"a block of {size} bytes")
            body = _exactly(file, size - 8)[:-4]
            if number == 1:
                if len(body) < 8:
                    raise CaptureError("an interface without its link type")
                links.append((struct.unpack_from(order + "H", body)[0], _unit(body[8:], order)))
            elif number == 6 and len(body) >= 20:
                yield _enhanced(body, order, links)
        kind = file.read(4)
        if kind and len(kind) != 4:
            raise CaptureError("the file ends in the middle of a block")


def _unit(options: bytes, order: str) -> float:
    at = 0
    while at + 4 <= len(options):
        code, length = struct.unpack_from(order + "HH", options, at)
        if code == 9 and length == 1 and at + 4 < len(options):  # if_tsresol
            power = options[at + 4]
            return 2.0 ** -(power & 0x7F) if power & 0x80 else 10.0**-power
        at += 4 + (length + 3 & ~3)
    return 1e-6


def _enhanced(body: bytes, order: str, links: list[tuple[int, float]]) -> Packet:
    interface, high, low, length, _ = struct.unpack_from(order + "5L", body)
    if interface >= len(links) or 20 + length > len(body):
        raise CaptureError("a packet that does not fit its block")
    link, unit = links[interface]
    return Packet(((high << 32) | low) * unit, link, body[20 : 20 + length])


# --- IP and TCP

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Segment:
    """A TCP segment."""

    source: Address
    target: Address
    sequence: int
    acknowledged: int
    flags: int
    data: bytes


def segment(packet: Packet) -> Segment | None:
    """The TCP segment in a packet; None for whatever else it is."""
    try:
        return _segment(packet)
    except (struct.error, IndexError, ValueError):
        return None


def _segment(packet: Packet) -> Segment | None:
    data = packet.data
    kind, at = _network(packet.link, data)
    version = data[at] >> 4 if kind in (0, IPV4, IPV6) else 0
    if version == 4:
        head, total = (data[at] & 15) * 4, struct.unpack_from(">H", data, at + 2)[0]
        fragment = struct.unpack_from(">H", data, at + 6)[0] & 0x3FFF
        if data[at + 9] != TCP or fragment:
            return None
        source, target = data[at + 12 : at + 16], data[at + 16 : at + 20]
        end = at + total if total else len(data)  # offloaded segments have a length of zero
    elif version == 6:
        head, total = 40, struct.unpack_from(">H", data, at + 4)[0]
        if data[at + 6] != TCP:
            return None
        source, target = data[at + 8 : at + 24], data[at + 24 : at + 40]
        end = at + 40 + total if total else len(data)
    else:
        return None
    at += head
    here, there, sequence, acknowledged = struct.unpack_from(">HHLL", data, at)
    offset, flags = data[at + 12] >> 4, data[at + 13]
    return Segment(
        (str(ipaddress.ip_address(source)), here),
        (str(ipaddress.ip_address(target)), there),
        sequence,
        acknowledged,
        flags,
        data[at + offset * 4 : end],
    )


def _network(link: int, data: bytes) -> tuple[int, int]:
    """The kind of packet in a frame, 0 where its version tells, and where it begins."""
    if link == ETHERNET:
        return _ethernet(data)
    if link == LINUX_SLL:
        return struct.unpack_from(">H", data, 14)[0], 16
    if link == LINUX_SLL2:
        return struct.unpack_from(">H", data)[0], 20
    if link in (NULL, LOOP):
        return 0, 4
    return (0, 0) if link in (RAW, 228, 229) else (-1, 0)


def _ethernet(data: bytes) -> tuple[int, int]:
    at = 12
    (kind,) = struct.unpack_from(">H", data, at)
    while kind in (0x8100, 0x88A8):  # VLAN tags
        at += 4
        (kind,) = struct.unpack_from(">H", data, at)
    return kind, at + 2


# --- reassembly


def _from(start: int, sequence: int) -> int:
    """How far a sequence number is ahead of another; negative where it is behind. They wrap."""
    return (sequence - start + 0x80000000) % 0x100000000 - 0x80000000


@dataclass(slots=True)
class Stream:
    """One direction: bytes in order, whatever the order they came in, each once, up to what is missing.

    `end` is the number of its FIN, `acked` how far the other side says that it came.
    """

    next: int | None = None
    pending: dict[int, bytes] = field(default_factory=dict)
    held: int = 0
    lost: int = 0
    end: int | None = None
    acked: int | None = None

    def take(self, sequence: int, data: bytes) -> bytes:
        """What can be read on now that this segment is there; nothing any more behind what is lost."""
        if self.lost:
            return b""
        if self.next is None:
            self.next = sequence
        if data:
            known = self.pending.get(sequence, b"")
            if len(known) < len(data):
                self.pending[sequence] = data
                self.held += len(data) - len(known)
        if _from(self.next, sequence) <= 0:
            return self._ready()
        if self.held > MAX_PENDING:
            self.missing()
        return b""

    def acknowledged(self, number: int) -> None:
        """The other side says that everything before this number came."""
        if self.acked is None or _from(self.acked, number) > 0:
            self.acked = number

    @property
    def over(self) -> bool:
        """Whether nothing more can come: it was read to its end, or the other side has, and we cannot."""
        if self.end is None or self.next is None:
            return False
        acknowledged = self.acked is not None and _from(self.end, self.acked) > 0
        return bool(self.lost) or acknowledged or _from(self.next, self.end) <= 0

    def missing(self) -> int:
        """Nothing more comes to fill a gap: how many bytes are lost in the first, 0 where there is none."""
        if self.lost or self.next is None:
            return self.lost
        if self.pending:
            self.lost = min(_from(self.next, sequence) for sequence in self.pending)
            self.pending.clear()
        elif self.end is not None:
            self.lost = max(0, _from(self.next, self.end))
        elif self.acked is not None:
            ahead = _from(self.next, self.acked)
            self.lost = ahead if ahead > 1 else 0  # one is a FIN that was not captured
        return self.lost

    def _ready(self) -> bytes:
        out = bytearray()
        assert self.next is not None
        for sequence in sorted(self.pending, key=lambda one: _from(self.next or 0, one)):
            behind = -_from(self.next, sequence)
            if behind < 0:
                break
            data = self.pending.pop(sequence)
            self.held -= len(data)
            out += data[behind:]
            self.next = (self.next + max(0, len(data) - behind)) & 0xFFFFFFFF
        return bytes(out)


@dataclass(slots=True)
class _Connection:
    caller: Address
    watched: Watched
    begun: int | None
    """The sequence number of its SYN, where that was captured."""
    streams: dict[str, Stream] = field(default_factory=lambda: {">": Stream(), "<": Stream()})
    sound: dict[str, int] = field(default_factory=lambda: {">": 0, "<": 0})
    """PDUs of both sides that were there when a side was last read: with a gap behind it, no later ones are
    judged, not the other side's either, for they may answer what is missing."""

    def used_again(self, found: Segment) -> bool:
        """Whether a SYN between the two is that of a new connection."""
        if not found.flags & SYN or found.flags & ACK:
            return False
        return bool(self.watched.said) if self.begun is None else self.begun != found.sequence


def conversations(file: BinaryIO) -> Iterator[Watched]:
    """The associations of a capture, each when it has ended, last those that had not. Raises CaptureError.

    No more is kept than the connections that are open.
    """
    open_now: dict[frozenset[Address], _Connection] = {}
    damaged: CaptureError | None = None
    try:
        for packet in packets(file):
            yield from _with(open_now, packet)
    except CaptureError as error:  # what was captured before counts
        damaged = error
    for connection in open_now.values():
        yield from _closed(connection)
    if damaged is not None:
        raise damaged


def _with(open_now: dict[frozenset[Address], _Connection], packet: Packet) -> Iterator[Watched]:
    """Read a packet; the associations that are over with it."""
    found = segment(packet)
    if found is None:
        return
    key = frozenset((found.source, found.target))
    if key in open_now and open_now[key].used_again(found):
        yield from _closed(open_now.pop(key))
    if key not in open_now:
        if not found.flags & SYN and found.data[:1] != ASSOCIATE_RQ:
            return  # the rest of one that is over, or no association from its beginning
        open_now[key] = _begin(found, packet.seconds)
    if _add(open_now[key], found, packet.seconds):
        yield from _closed(open_now.pop(key))


def _begin(found: Segment, seconds: float) -> _Connection:
    # without the SYN who speaks first is taken for the caller: in DICOM he does (PS3.8 9.1.2)
    answered = found.flags & SYN and found.flags & ACK
    caller, called = (found.target, found.source) if answered else (found.source, found.target)
    name = f"{caller[0]}:{caller[1]} to {called[0]}:{called[1]}"
    begun = found.sequence if found.flags & SYN and not answered else None
    return _Connection(caller, Watched(name, seconds), begun)


def _add(connection: _Connection, found: Segment, seconds: float) -> bool:
    """Read a segment; whether the connection is over with it."""
    way, other = (">", "<") if found.source == connection.caller else ("<", ">")
    stream, watched = connection.streams[way], connection.watched
    sequence = (found.sequence + 1) & 0xFFFFFFFF if found.flags & SYN else found.sequence
    if found.flags & SYN and stream.next is None:
        stream.next = sequence
    if out := stream.take(sequence, found.data):
        watched.feed(way, out, seconds)
        connection.sound[way] = len(watched.said)
    if found.flags & FIN:
        stream.end = (sequence + len(found.data)) & 0xFFFFFFFF
    if found.flags & ACK:
        connection.streams[other].acknowledged(found.acknowledged)
    if found.flags & RST:
        watched.notes.append(f"reset by the {'caller' if way == '>' else 'called'}")
        return True
    return all(one.over for one in connection.streams.values())


def _closed(connection: _Connection) -> Iterator[Watched]:
    watched = connection.watched
    for way, stream in connection.streams.items():
        if missing := stream.missing():
            watched.lose(way, missing, connection.sound[way])
    watched.finish(watched.ended, {way for way, one in connection.streams.items() if one.end is None})
    if watched.dicom:
        yield watched
