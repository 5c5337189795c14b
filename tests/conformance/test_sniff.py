"""Captures to conversations: containers, gaps, order, wrap of sequence numbers; and a proxy that listens."""

from __future__ import annotations

import asyncio
import gc
import io
import random
import ssl
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiodicom.conformance import Profile, cases, rulebook, run_scp, sniff, watch, wire
from aiodicom.conformance.dissect import command_set, dissect
from aiodicom.conformance.foils import FoilServer, request
from aiodicom.conformance.proxy import WatchingProxy
from aiodicom.conformance.rulebook import RuleBook, Said
from aiodicom.conformance.sniff import CaptureError, Stream, conversations, packets
from aiodicom.conformance.watch import Watched, lines
from hypothesis import example, given, settings
from hypothesis import strategies as st

CALLER, CALLED = (b"\x0a\0\0\1", 40001), (b"\x0a\0\0\2", 104)
RQ = wire.Associate(contexts=(wire.context_rq(1, wire.VERIFICATION, wire.IMPLICIT),)).encode()
AC = wire.Associate(kind=wire.AC, contexts=(wire.context_ac(1),)).encode()
BAD_RP = wire.release_rp(reserved=7)
TALK = [(">", RQ), ("<", AC), (">", wire.echo_rq()), (">", wire.release_rq()), ("<", BAD_RP)]


def frame(
    way: str, sequence: int, data: bytes, flags: int = 0x18, *, ack: int = 0, six: bool = False, port: int = 0
) -> bytes:
    caller = (CALLER[0], port or CALLER[1])
    (here, mine), (there, other) = (caller, CALLED) if way == ">" else (CALLED, caller)
    numbers = (sequence & 0xFFFFFFFF, ack & 0xFFFFFFFF)
    tcp = struct.pack(">HHLLBBHHH", mine, other, *numbers, 0x50, flags, 1000, 0, 0) + data
    if six:
        head = (
            struct.pack(">LHBB", 6 << 28, len(tcp), 6, 64)
            + here.rjust(16, b"\xfd")
            + there.rjust(16, b"\xfd")
        )
        return bytes(12) + b"\x86\xdd" + head + tcp
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + here + there
    return bytes(12) + b"\x08\0" + head + tcp


def pcap(frames: list[bytes], order: str = "<") -> bytes:
    head = struct.pack(order + "LHHlLLL", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    return head + b"".join(
        struct.pack(order + "LLLL", at, 500000, len(one), len(one)) + one for at, one in enumerate(frames)
    )


def block(order: str, kind: int, body: bytes) -> bytes:
    body += b"\0" * (-len(body) % 4)
    size = struct.pack(order + "L", len(body) + 12)
    return struct.pack(order + "L", kind) + size + body + size


def pcapng(frames: list[bytes], order: str = "<") -> bytes:
    out = block(order, 0x0A0D0D0A, struct.pack(order + "LHHq", 0x1A2B3C4D, 1, 0, -1))
    nano = struct.pack(order + "HHBxxxHH", 9, 1, 9, 0, 0)
    out += block(order, 1, struct.pack(order + "HHL", 1, 0, 65535) + nano) + block(order, 5, bytes(12))
    for at, one in enumerate(frames):
        ticks = at * 10**9 + 500000000
        head = struct.pack(order + "LLLLL", 0, ticks >> 32, ticks & 0xFFFFFFFF, len(one), len(one))
        out += block(order, 6, head + one)
    return out


def talk(
    said: list[tuple[str, bytes]] = TALK,
    *,
    start: int = 0xFFFFFF00,
    six: bool = False,
    size: int = 100,
    ending: str = "",
    port: int = 0,
) -> list[bytes]:
    """The conversation as frames, its sequence numbers about to wrap; `ending` is "fin" or "rst"."""
    at = {">": start, "<": 7}

    def made(way: str, data: bytes, flags: int) -> bytes:
        ack = at["<" if way == ">" else ">"]
        return frame(way, at[way], data, flags, ack=ack, six=six, port=port)

    frames = [made(">", b"", 0x02), frame("<", at["<"], b"", 0x12, ack=start + 1, six=six, port=port)]
    at = {way: number + 1 for way, number in at.items()}
    for way, data in said:
        for piece in (data[n : n + size] for n in range(0, len(data), size)):
            frames.append(made(way, piece, 0x18))
            at[way] += len(piece)
    if ending == "rst":
        frames.append(made("<", b"", 0x14))
    if ending == "fin":
        for way in "<>":
            frames.append(made(way, b"", 0x11))
            at[way] += 1
        frames.append(made("<", b"", 0x10))
    return frames


def heard(capture: bytes) -> Watched:
    found = list(conversations(io.BytesIO(capture)))
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("container", [pcap, pcapng])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("six", [False, True])
def test_a_conversation_in_each_container(container: object, order: str, six: bool) -> None:
    assert callable(container)
    watched = heard(container(talk(six=six), order))
    assert [one.pdu.raw for one in watched.said] == [data for _, data in TALK]
    assert {one.rule.clause for one in watched.deviations()} == {"PS3.8 9.3.7"}
    assert watched.notes == []
    assert "released" in lines(watched)[0]
    assert "called at byte" in lines(watched)[1]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 90), st.integers(0, 2**32))
def test_cut_repeated_and_shuffled_it_is_the_same(start: int, size: int, seed: int) -> None:
    chance = random.Random(seed)
    frames = talk(start=start, size=size)
    first, rest = frames[:2], frames[2:]
    rest += chance.sample(rest, min(5, len(rest)))
    for at in range(len(rest) - 1):  # packets overtake their neighbours
        if chance.random() < 0.3:
            rest[at], rest[at + 1] = rest[at + 1], rest[at]
    watched = heard(pcap(first + rest))
    by_way = {way: b"".join(one.pdu.raw for one in watched.said if one.way == way) for way in "<>"}
    assert by_way == {way: b"".join(data for one, data in TALK if one == way) for way in "<>"}


def test_a_gap_says_so() -> None:
    frames = talk()
    del frames[7]  # the request for an echo
    assert any("not in the capture" in note for note in heard(pcap(frames)).notes)


GOOD = [
    *TALK[:3],
    ("<", wire.p_data(wire.pdv(1, 3, wire.response(command_set(wire.command(wire.echo_fields())))))),
    (">", wire.echo_rq(2)),
    ("<", wire.p_data(wire.pdv(1, 3, wire.response(command_set(wire.command(wire.echo_fields(2))))))),
    (">", wire.release_rq()),
    ("<", wire.release_rp()),
]


@settings(max_examples=150, deadline=None)
@given(
    size=st.integers(2, 120),
    ending=st.sampled_from(["", "fin", "rst"]),
    gone=st.sets(st.integers(0, 200), min_size=1),
)
@example(size=46, ending="", gone={17, 18, 19, 14})  # the end of a side, in the middle of a PDU
def test_behind_a_gap_nobody_is_accused(size: int, ending: str, gone: set[int]) -> None:
    """Whatever frames of a conversation without a fault are missing, of either side, at its end too."""
    first, rest = (frames := talk(GOOD, size=size, ending=ending))[:2], frames[2:]
    kept = [one for at, one in enumerate(rest) if at not in {number % len(rest) for number in gone}]
    for watched in conversations(io.BytesIO(pcap(first + kept))):
        assert watched.deviations() == [], watched.notes
        assert all("not in the capture" in note or "reset" in note for note in watched.notes)


@pytest.mark.parametrize("size", [7, 100])
def test_before_a_gap_all_is_judged(size: int) -> None:
    """A fault of each side, and then something that is missing."""
    said = [(">", RQ[:1] + b"\1" + RQ[2:]), ("<", AC[:1] + b"\1" + AC[2:]), *GOOD[2:]]
    frames = talk(said, size=size)
    del frames[-4]
    watched = heard(pcap(frames))
    assert {one.way for one in watched.deviations()} == {">", "<"}
    assert len(watched.deviations()) == 2


def test_what_is_pending_behind_a_gap_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sniff, "MAX_PENDING", 10)
    stream = Stream()
    assert stream.take(1, b"a") == b"a"
    assert stream.take(4, b"0123456789") == b""
    assert stream.take(14, b"0") == b""
    assert (stream.missing(), stream.pending) == (2, {})
    assert stream.take(2, b"bc") == b""


@pytest.mark.parametrize("ending", ["fin", "rst"])
def test_a_conversation_is_handed_out_when_it_has_ended_and_let_go_of(ending: str) -> None:
    count = 5
    one_by_one = [talk(ending=ending, port=41000 + number) for number in range(count)]
    file = io.BytesIO(pcap([one for frames in one_by_one for one in frames]))
    gc.collect()
    before = sum(isinstance(one, Watched) for one in gc.get_objects())
    left = conversations(file)
    for number in range(count):
        assert len(next(left).said) == len(TALK)
        read = 24 + sum(16 + len(one) for frames in one_by_one[: number + 1] for one in frames)
        assert file.tell() <= read
        alive = sum(isinstance(one, Watched) for one in gc.get_objects()) - before
        assert alive == 1  # which was handed out just now
    assert list(left) == []


def test_a_half_that_is_closed_does_not_end_the_other() -> None:
    frames = talk(GOOD, ending="fin")
    closing = frame(">", 0xFFFFFF01 + sum(len(data) for way, data in GOOD if way == ">"), b"", 0x11)
    frames[-5:-5] = [closing]  # before the answer to the release
    assert [one.pdu.raw for one in heard(pcap(frames)).said] == [data for _, data in GOOD]


@pytest.mark.parametrize("ending", ["", "fin", "rst"])
def test_a_port_that_is_used_again_is_another_conversation(ending: str) -> None:
    frames = [*talk(ending=ending), *talk(ending=ending, start=99)]
    assert [len(one.said) for one in conversations(io.BytesIO(pcap(frames)))] == [len(TALK)] * 2


def test_a_syn_that_was_sent_again_begins_nothing() -> None:
    frames = talk()
    assert len(heard(pcap([*frames[:5], frames[0], *frames[5:]])).said) == len(TALK)


def test_overlap_takes_each_byte_once() -> None:
    stream = Stream()
    out = (
        stream.take(10, b"abcd") + stream.take(12, b"cdef") + stream.take(11, b"b") + stream.take(15, b"fgh")
    )
    assert out == b"abcdefgh"


@pytest.mark.parametrize("capture", [pcap(talk()), pcapng(talk())])
def test_a_capture_cut_anywhere_is_read_or_told(capture: bytes) -> None:
    """What was there before the cut is what was said, as far as it goes."""
    whole = {way: b"".join(data for one, data in TALK if one == way) for way in "<>"}
    cut, counts = 0, []
    for end in range(0, len(capture), 7):
        found: list[Watched] = []
        try:
            for watched in conversations(io.BytesIO(capture[:end])):
                found.append(watched)
        except CaptureError:
            cut += 1
        assert len(found) <= 1
        for watched in found:
            for way, said in whole.items():
                assert said.startswith(b"".join(one.pdu.raw for one in watched.said if one.way == way))
        counts.append(sum(len(watched.said) for watched in found))
    assert 0 < cut < len(counts)
    assert sorted(counts) == counts  # no cut costs what came before it
    assert counts[-1] == len(TALK) - 1


@pytest.mark.parametrize("data", [b"", b"no capture", b"\x0a\x0d\x0d\x0a" + b"\xff" * 64])
def test_what_is_no_capture(data: bytes) -> None:
    with pytest.raises(CaptureError):
        list(packets(io.BytesIO(data)))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("length", range(12))
def test_a_section_that_is_shorter_than_its_beginning(length: int, order: str, tmp_path: Path) -> None:
    path = tmp_path / "short.pcapng"
    whole = pcapng(talk(), order)
    path.write_bytes(whole[:4] + struct.pack(order + "L", length) + whole[8:])
    with path.open("rb") as file, pytest.raises(CaptureError, match=f"{length - 12} bytes left"):
        list(conversations(file))


@pytest.mark.parametrize("order", ["<", ">"])
def test_an_interface_cut_off_at_each_byte(order: str) -> None:
    """Of its fields or its options: the block has the length it says."""
    section = block(order, 0x0A0D0D0A, struct.pack(order + "LHHq", 0x1A2B3C4D, 1, 0, -1))
    fields = struct.pack(order + "HHL", 1, 0, 65535) + struct.pack(order + "HH", 9, 1)
    for end in range(len(fields) + 1):
        size = struct.pack(order + "L", 12 + end)
        capture = section + struct.pack(order + "L", 1) + size + fields[:end] + size
        if end < 8:
            with pytest.raises(CaptureError):
                list(packets(io.BytesIO(capture)))
        else:
            assert list(packets(io.BytesIO(capture))) == []


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("container", [pcap, pcapng])
@settings(max_examples=150, deadline=None)
@given(noise=st.binary(max_size=200), size=st.integers(0, 48))
def test_noise_behind_a_header_raises_nothing_else(
    container: Callable[..., bytes], order: str, noise: bytes, size: int
) -> None:
    """As packets, as blocks of a size that fits, and as it is; from a file, which reads no negative count."""
    head = container([], order)
    framed = [block(order, kind, noise[:size]) for kind in (0x0A0D0D0A, 1, 6)]
    for capture in (container([noise], order), head + noise, *(head + one + noise for one in framed)):
        with tempfile.TemporaryFile() as file:
            file.write(capture)
            file.seek(0)
            try:
                list(conversations(file))
            except CaptureError:
                pass


@pytest.mark.parametrize("way", [">", "<"])
@pytest.mark.parametrize("more", [b"", b"more"])
def test_where_we_leave_off_nobody_is_said_to_have_stopped(
    way: str, more: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "MAX_WATCHED", len(RQ) + 20)
    watched = Watched("one")
    watched.feed(">", RQ, 0)
    watched.feed(way, wire.echo_rq()[:20], 1)
    watched.feed(way, wire.echo_rq()[20:], 2)
    if more:
        watched.feed(way, more, 3)
    watched.finish(4)
    assert watched.notes == [f"more than {len(RQ) + 20} bytes: the rest was not looked at"]
    assert [one.pdu.raw for one in watched.said] == [RQ]


class Counted(list[Said]):
    """What was said, counting how often something of it was looked at."""

    looked = 0

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        self.looked += len(found) if isinstance(at, slice) else 1
        return found

    def __iter__(self) -> Iterator[Said]:
        self.looked += len(self)
        return super().__iter__()

    def __reversed__(self) -> Iterator[Said]:
        self.looked += len(self)
        return super().__reversed__()


def test_judging_takes_no_longer_for_each_pdu_the_longer_a_conversation_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sets: list[bytes] = []

    def counted(data: bytes) -> dict[int, bytes]:
        sets.append(data)
        return command_set(data)

    monkeypatch.setattr(rulebook, "command_set", counted)

    def looked(echoes: int) -> tuple[int, int]:
        said = [Said(">", dissect(RQ)), Said("<", dissect(AC))]
        for number in range(echoes):
            fields = wire.echo_fields(number)
            answer = wire.response(command_set(wire.command(fields)))
            said += [
                Said(">", dissect(wire.p_data(wire.pdv(1, 3, wire.command(fields))))),
                Said("<", dissect(wire.p_data(wire.pdv(1, 3, answer)))),
            ]
        sets.clear()
        talk = Counted(said)
        assert RuleBook("both").judge(talk) == []
        return talk.looked, len(sets)

    once, twice = looked(50), looked(100)
    assert once[1] == 100
    assert twice[1] == 200
    assert twice[0] < 2 * once[0]


async def test_a_proxy_changes_nothing_and_judges_both() -> None:
    told: asyncio.Queue[Watched] = asyncio.Queue()
    async with FoilServer("rp-reserved") as server:
        async with WatchingProxy("127.0.0.1", server.port, told.put) as proxy:
            await request("127.0.0.1", proxy.port)
            watched = await told.get()
    assert "any:ps3.8/9.3.7/release-rp-reserved" in {one.rule.id for one in watched.deviations()}
    assert "1 of 1 contexts" in watched.summary()


async def test_a_proxy_whose_server_is_not_there_says_so(unused_tcp_port: int) -> None:
    told: asyncio.Queue[Watched] = asyncio.Queue()
    async with WatchingProxy("127.0.0.1", unused_tcp_port, told.put) as proxy:
        _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        watched = await told.get()
        writer.close()
    assert "could not be reached" in watched.notes[0]


async def test_over_tls_which_ends_in_the_proxy() -> None:
    authority = trustme.CA()
    served, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(served)
    authority.configure_trust(trusting)
    told: asyncio.Queue[Watched] = asyncio.Queue()
    async with FoilServer() as server:
        async with WatchingProxy("127.0.0.1", server.port, told.put, tls_in=served) as proxy:
            profile = Profile(port=proxy.port, tls=trusting)
            run = await run_scp(profile, cases("group:sanity,group:accept"))
    assert [(result.case.id, result.outcome) for result in run.results if result.verdict != "pass"] == []
    assert run.exit_code == 0
    assert any(told.get_nowait().dicom for _ in range(told.qsize()))
