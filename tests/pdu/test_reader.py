"""The framing reader gives the same for the same bytes, however they arrive, and keeps next to nothing."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable, Sequence

import pytest
from aiodicom.pdu import (
    PDV,
    AAbort,
    AAssociateRJ,
    AbortReason,
    AReleaseRP,
    AReleaseRQ,
    Deviation,
    Fragment,
    PDataTF,
    Pdu,
    PDUReader,
    PduType,
    RemoteProtocolError,
    decode,
    encode,
)
from aiodicom.pdu.errors import DeviationLog
from aiodicom.pdu.reader import guess_protocol
from hypothesis import given
from hypothesis import strategies as st
from readings import Piece, join, judge_all, read
from strategies import cut, pdata, pdus, sizes, streams
from vectors import NAMES, load


def expected(sent: Sequence[Pdu]) -> list[Pdu | Piece]:
    """What reading these PDUs must give, from their values alone."""
    items: list[Pdu | Piece] = []
    for pdu in sent:
        if isinstance(pdu, PDataTF):
            for pdv in pdu.pdvs:
                if pdv.data or pdv.last:
                    join(items, Piece(pdv.context_id, pdv.command, pdv.last, pdv.data))
        else:
            items.append(pdu)
    return items


# --- the same whatever the pieces


@given(st.lists(pdus(), max_size=5), sizes())
def test_whole_bytewise_and_in_pieces(sent: list[Pdu], pieces: list[int]) -> None:
    stream = b"".join(map(encode, sent))
    whole = read([stream])
    assert whole.items == expected(sent)
    assert (whole.error, whole.started, whole.mid_pdu) == (None, len(sent), False)
    assert read(cut(stream, [1])) == whole
    assert read(cut(stream, pieces)) == whole


@given(streams(), sizes())
def test_any_bytes_give_the_same_in_any_pieces(stream: bytes, pieces: list[int]) -> None:
    whole = read([stream])
    assert read(cut(stream, [1])) == whole
    assert read(cut(stream, pieces)) == whole


@given(st.lists(pdus(), max_size=3), st.binary(max_size=12))
def test_trailing_bytes_change_nothing_before_them(sent: list[Pdu], tail: bytes) -> None:
    sent.append(AReleaseRQ())  # nothing of the tail can join it
    stream = b"".join(map(encode, sent))
    got = read([stream + tail])
    assert got.items[: len(expected(sent))] == expected(sent)
    assert read([stream, tail]) == got


@pytest.mark.parametrize("name", NAMES)
def test_vectors_cut_at_every_byte(name: str) -> None:
    raw = load(name)
    whole = read([raw])
    for at in range(len(raw) + 1):
        assert read([raw[:at], raw[at:]]) == whole


@pytest.mark.parametrize("name", NAMES)
def test_a_pdu_has_begun_until_its_last_byte(name: str) -> None:
    raw = load(name)
    assert not read([]).mid_pdu
    for end in range(1, len(raw)):
        assert read([raw[:end]]).mid_pdu
    assert not read([raw]).mid_pdu


def test_control_pdus_are_decoded_as_the_codec_does() -> None:
    for name in NAMES:
        raw = load(name)
        if raw[0] != PduType.P_DATA_TF:
            assert read([raw]).items == [decode(raw[0], raw[6:])]


# --- PDVs


def pdata_of(*pdvs: bytes) -> bytes:
    body = b"".join(pdvs)
    return struct.pack(">BBL", 4, 0, len(body)) + body


def pdv(length: int, control: int = 0, data: bytes = b"", context_id: int = 1) -> bytes:
    return struct.pack(">LBB", length, context_id, control) + data


@given(pdata(max_pdvs=40, max_size=3))
def test_many_pdvs_in_one_pdu(pdu: PDataTF) -> None:
    assert read([encode(pdu)]).items == expected([pdu])


def test_command_and_data_in_one_pdu() -> None:
    sent = PDataTF((PDV(3, True, False, b"com"), PDV(3, True, True, b"mand"), PDV(3, False, True, b"data")))
    assert read([encode(sent)]).items == [Piece(3, True, True, b"command"), Piece(3, False, True, b"data")]


def test_no_pdvs() -> None:
    got = read([pdata_of() + encode(AReleaseRQ())])
    assert (got.items, got.error, got.started) == ([AReleaseRQ()], None, 2)


@pytest.mark.parametrize("piece", [1, 100])
def test_an_empty_last_fragment_ends_its_data_set(piece: int) -> None:
    stream = pdata_of(pdv(6, 0, b"data")) + pdata_of(pdv(2, 2)) + pdata_of(pdv(2, 3))
    got = read(cut(stream, [piece]))
    assert got.items == [Piece(1, False, True, b"data"), Piece(1, True, True, b"")]


def test_empty_fragments_that_end_nothing_are_not_handed_on() -> None:
    assert read([pdata_of(*[pdv(2)] * 1000)]).items == []


@pytest.mark.parametrize("length", [0, 1])
def test_a_pdv_length_without_room_for_its_header(length: int) -> None:
    got = read([pdata_of(pdv(length, 0, b"rest"))])
    assert got.items == []
    assert got.error is not None
    assert got.error[1] == AbortReason.INVALID_PARAMETER


@pytest.mark.parametrize("length", [7, 8, 1000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_a_pdv_length_beyond_its_pdu(length: int) -> None:
    got = read([pdata_of(pdv(6, 0, b"good"), pdv(length, 0, b"data")) + encode(AReleaseRQ())])
    assert got.items == [Piece(1, False, False, b"good")]
    assert got.error is not None
    assert got.error[1] == AbortReason.INVALID_PARAMETER


@pytest.mark.parametrize("left", [1, 2, 3, 4, 5])
def test_a_rest_too_short_for_a_pdv_is_refused_before_it_comes(left: int) -> None:
    stream = struct.pack(">BBL", 4, 0, 10 + left) + pdv(6, 2, b"good")
    got = read([stream])
    assert got.items == [Piece(1, False, True, b"good")]
    assert got.error is not None
    assert got.error[1] == AbortReason.INVALID_PARAMETER


def test_odd_fragments_are_read_and_noted() -> None:
    got = read([pdata_of(pdv(5, 2, b"odd"))])
    assert got.items == [Piece(1, False, True, b"odd")]
    assert [d.clause for d in got.deviations] == ["PS3.8 9.3.5.1"]


@pytest.mark.parametrize("piece", [1, 3, 7, 100])
def test_fragments_are_views_of_what_was_fed(piece: int) -> None:
    reader = PDUReader(judge_all, [])
    stream = pdata_of(pdv(2 + 64, 2, bytes(range(64))))
    for part in cut(stream, [piece]):
        buffer = bytearray(part)
        reader.feed(memoryview(buffer))
        while (item := reader.next()) is not None:
            assert isinstance(item, Fragment)
            assert item.data.obj is buffer
            assert item.data.nbytes <= piece


# --- the judge


def test_the_judge_sees_each_header_once_and_before_the_body() -> None:
    seen: list[tuple[int, int, bytes]] = []

    def judge(pdu_type: int, length: int, header: bytes) -> bool:
        seen.append((pdu_type, length, header))
        return True

    stream = b"".join(load(name) for name in NAMES)
    headers = [load(name)[:6] for name in NAMES]
    for piece in (1, len(stream)):
        seen.clear()
        read(cut(stream, [piece]), judge)
        assert seen == [(h[0], int.from_bytes(h[2:], "big"), h) for h in headers]
    seen.clear()
    read([headers[0]], judge)
    assert len(seen) == 1


@given(st.lists(pdus(), max_size=6), st.sets(st.sampled_from(list(PduType))), sizes())
def test_what_the_judge_refuses_is_passed_over(
    sent: list[Pdu], unwanted: set[PduType], pieces: list[int]
) -> None:
    stream = b"".join(map(encode, sent))
    got = read(cut(stream, pieces), lambda pdu_type, length, header: pdu_type not in unwanted)
    assert got.items == expected([pdu for pdu in sent if encode(pdu)[0] not in unwanted])
    assert (got.error, got.started, got.mid_pdu) == (None, len(sent), False)


def test_the_body_of_a_passed_over_pdu_may_be_anything() -> None:
    bad = struct.pack(">BBL", 1, 0, 50) + b"\xff" * 50
    got = read([bad + encode(AAbort(0, 0))], lambda pdu_type, length, header: pdu_type != 1)
    assert (got.items, got.error) == ([AAbort(0, 0)], None)


def test_an_error_of_the_judge_ends_the_reading() -> None:
    def judge(pdu_type: int, length: int, header: bytes) -> bool:
        if pdu_type == PduType.A_RELEASE_RP:
            raise RemoteProtocolError("no", reason=2)
        return True

    got = read([encode(AAssociateRJ(1, 1, 1)) + encode(AReleaseRP()) + encode(AReleaseRQ())], judge)
    assert (got.items, got.error) == ([AAssociateRJ(1, 1, 1)], ("no", 2))


@pytest.mark.parametrize("reserved", [1, 0xFF])
def test_a_reserved_header_byte_is_noted_not_tested(reserved: int) -> None:
    raw = bytearray(encode(AReleaseRQ()))
    raw[1] = reserved
    got = read([bytes(raw)])
    assert (got.items, got.error) == ([AReleaseRQ()], None)
    assert [d.clause for d in got.deviations] == ["PS3.8 9.3.1"]


# --- memory


def peak_of(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("skipped", [False, True])
def test_pdata_of_any_length_holds_nothing(skipped: bool) -> None:
    chunk = memoryview(bytes(65536))
    head = struct.pack(">BBL", 4, 0, 0xFFFFFFFF) + pdv(0xFFFFFFFF - 4)

    def work() -> None:
        reader = PDUReader(lambda *_: not skipped, [])
        reader.feed(memoryview(head))
        assert reader.next() is None
        got = 0
        for _ in range(500):  # 32 MB
            reader.feed(chunk)
            while (item := reader.next()) is not None:
                assert isinstance(item, Fragment)
                got += item.data.nbytes
        assert got == (0 if skipped else 500 * 65536)

    assert peak_of(work) < 20_000


def test_a_control_pdu_of_any_length_holds_only_what_has_come() -> None:
    def work() -> None:
        reader = PDUReader(judge_all, [])
        reader.feed(memoryview(struct.pack(">BBL", 1, 0, 0xFFFFFFFF)))
        for _ in range(100):
            assert reader.next() is None
            reader.feed(memoryview(bytes(100)))

    assert peak_of(work) < 30_000


def test_a_reader_between_pdus_lets_go_of_the_buffer() -> None:
    stream = bytearray(encode(PDataTF((PDV(1, False, True, bytes(1000)),))) + b"\x05\x00")
    reader = PDUReader(judge_all, [])
    reader.feed(memoryview(stream))
    while reader.next() is not None:
        pass
    stream.extend(b"x")  # a buffer that is still lent cannot be resized: BufferError


def test_the_log_of_deviations_is_bounded() -> None:
    log = DeviationLog()
    for number in range(1000):
        log.append(Deviation("PS3.8", f"number {number}"))
        log.append(Deviation("PS3.8", f"number {number}"))
    assert [d.message for d in log] == [f"number {n}" for n in range(DeviationLog.LIMIT)]
    log.append(Deviation("PS3.8", "number 3"))
    assert len(log) == DeviationLog.LIMIT


def test_a_flood_of_deviations_is_one_each() -> None:
    got = read([pdata_of(*[pdv(3, 4, b"x")] * 2000)])
    assert [d.clause for d in got.deviations] == ["PS3.8 E.2", "PS3.8 9.3.5.1"]


# --- other protocols


@pytest.mark.parametrize(
    ("first", "spoken"),
    [
        (b"\x16\x03\x01\x02\x00\x01", "TLS"),
        (b"\x16\x03\x03\x00\xff\x01", "TLS"),
        (b"\x15\x03\x01\x00\x02\x02", "TLS"),
        (b"GET / ", "HTTP"),
        (b"POST /", "HTTP"),
        (b"HTTP/1", "HTTP"),
        (b"PRI * ", "HTTP/2"),
        (b"SSH-2.", "SSH"),
        (b"\x0bMSH|^", "HL7"),
        (b"220 ft", "SMTP or FTP"),
        (b"\x16\x02\x00\x00\x00\x00", None),
        (b"\x00\x00\x00\x00\x00\x00", None),
        (b"", None),
        (b"\x16", None),
    ],
)
def test_other_protocols_are_named(first: bytes, spoken: str | None) -> None:
    assert guess_protocol(first) == spoken


@given(pdus())
def test_no_pdu_is_taken_for_another_protocol(pdu: Pdu) -> None:
    assert guess_protocol(encode(pdu)[:6]) is None
