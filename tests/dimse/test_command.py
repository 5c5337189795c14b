"""Command sets against PS3.7 6.3 and Annex E: written out by hand, there and back, cut and bent."""

from __future__ import annotations

import struct

import pytest
from aiodicom.dimse.command import VR, decode_command, encode_command, values_of_group
from aiodicom.pdu import Deviation, LocalProtocolError, RemoteProtocolError
from hypothesis import given
from hypothesis import strategies as st
from strategies import bent
from strategies_dimse import US, command_elements, raw_commands
from vectors import parse

C_ECHO_RQ = """
00 00 00 00  04 00 00 00  38 00 00 00      # (0000,0000) group length: 56, what follows it
00 00 02 00  12 00 00 00                   # (0000,0002) affected SOP class UID, 18 bytes
"1.2.840.10008.1.1" 00                     #   Verification, 17 characters and a NUL (PS3.5 9.1)
00 00 00 01  02 00 00 00  30 00            # (0000,0100) command field 0030H
00 00 10 01  02 00 00 00  07 00            # (0000,0110) message id 7
00 00 00 08  02 00 00 00  01 01            # (0000,0800) command data set type 0101H: none
"""
C_STORE_RQ = """
00 00 00 00  04 00 00 00  70 00 00 00      # group length 112
00 00 02 00  1A 00 00 00                   # affected SOP class UID, 26 bytes
"1.2.840.10008.5.1.4.1.1.2" 00             #   CT Image Storage
00 00 00 01  02 00 00 00  01 00            # command field 0001H
00 00 10 01  02 00 00 00  01 02            # message id 0201H
00 00 00 07  02 00 00 00  01 00            # priority: high
00 00 00 08  02 00 00 00  01 00            # command data set type: there is one
00 00 00 10  06 00 00 00  "1.2.3" 00       # affected SOP instance UID
00 00 30 10  06 00 00 00  "MOVER "         # move originator AE title, padded with a space
00 00 31 10  02 00 00 00  05 00            # move originator message id
"""
C_FIND_RSP = """
00 00 00 00  04 00 00 00  46 00 00 00      # group length 70
00 00 00 01  02 00 00 00  20 80            # command field 8020H
00 00 20 01  02 00 00 00  03 00            # message id being responded to
00 00 00 08  02 00 00 00  01 01            # no data set
00 00 00 09  02 00 00 00  00 A9            # status A900H
00 00 01 09  08 00 00 00                   # offending element, AT: two tags
08 00 52 00  10 00 10 00                   #   (0008,0052) and (0010,0010), group first
00 00 02 09  06 00 00 00  "level "         # error comment
"""
VECTORS = {
    C_ECHO_RQ: {0x0002: "1.2.840.10008.1.1", 0x0100: 0x0030, 0x0110: 7, 0x0800: 0x0101},
    C_STORE_RQ: {
        0x0002: "1.2.840.10008.5.1.4.1.1.2",
        0x0100: 0x0001,
        0x0110: 0x0201,
        0x0700: 1,
        0x0800: 1,
        0x1000: "1.2.3",
        0x1030: "MOVER",
        0x1031: 5,
    },
    C_FIND_RSP: {
        0x0100: 0x8020,
        0x0120: 3,
        0x0800: 0x0101,
        0x0900: 0xA900,
        0x0901: (0x00080052, 0x00100010),
        0x0902: "level",
    },
}
WELL_FORMED = sorted(VECTORS)


def element(number: int, value: bytes, group: int = 0) -> bytes:
    return struct.pack("<HHL", group, number, len(value)) + value


def with_length(body: bytes) -> bytes:
    return element(0, struct.pack("<L", len(body))) + body


def clauses(noted: list[Deviation]) -> list[str]:
    return [deviation.clause for deviation in noted]


@pytest.mark.parametrize("text", WELL_FORMED)
def test_vectors(text: str) -> None:
    noted: list[Deviation] = []
    assert encode_command(VECTORS[text]) == parse(text)
    assert decode_command(parse(text), noted) == VECTORS[text]
    assert noted == []


@given(command_elements())
def test_there_and_back(elements: dict[int, int | str | tuple[int, ...]]) -> None:
    noted: list[Deviation] = []
    raw = encode_command(elements)
    assert decode_command(raw, noted) == elements
    assert noted == []
    assert len(raw) % 2 == 0
    assert struct.unpack_from("<HHLL", raw) == (0, 0, 4, len(raw) - 12)


@given(command_elements(), st.randoms(use_true_random=False))
def test_elements_go_out_in_ascending_order(elements: dict[int, object], random: object) -> None:
    keys = list(elements)
    random.shuffle(keys)  # type: ignore[attr-defined]
    raw = encode_command({key: elements[key] for key in keys})  # type: ignore[misc]
    numbers, offset = [], 0
    while offset < len(raw):
        group, number, length = struct.unpack_from("<HHL", raw, offset)
        assert group == 0
        assert length % 2 == 0
        numbers.append(number)
        offset += 8 + length
    assert offset == len(raw)
    assert numbers == sorted({0, *elements})


@pytest.mark.parametrize("text", WELL_FORMED)
def test_cut_anywhere_is_an_error_or_whole_elements(text: str) -> None:
    """Cut between two elements it is a shorter set with a wrong group length; anywhere else an error."""
    raw = parse(text)
    whole = {0}
    while max(whole) < len(raw):
        at = max(whole)
        whole.add(at + 8 + struct.unpack_from("<L", raw, at + 4)[0])
    for end in range(len(raw)):
        noted: list[Deviation] = []
        if end in whole:
            decode_command(raw[:end], noted)
            assert clauses(noted) == ["PS3.7 E.1"]
        else:
            with pytest.raises(RemoteProtocolError) as caught:
                decode_command(raw[:end], noted)
            assert caught.value.reason == 6


@given(raw_commands() | st.binary(max_size=200) | st.sampled_from(WELL_FORMED).map(parse).flatmap(bent))
def test_any_bytes_raise_nothing_else(raw: bytes) -> None:
    noted: list[Deviation] = []
    try:
        found = decode_command(raw, noted)
    except RemoteProtocolError:
        return
    assert set(found) <= set(VR) - {0}
    for number, value in found.items():
        assert isinstance(value, {"US": int, "UI": str, "AE": str, "LO": str, "AT": tuple}[VR[number]])


@given(raw_commands())
def test_any_kind_of_buffer(raw: bytes) -> None:
    def read(data: bytes | bytearray | memoryview) -> object:
        noted: list[Deviation] = []
        try:
            return decode_command(data, noted), noted
        except RemoteProtocolError as error:
            return str(error)

    assert read(raw) == read(bytearray(raw)) == read(memoryview(raw))


# --- what is noted


def read(raw: bytes) -> tuple[dict[int, object], list[str]]:
    noted: list[Deviation] = []
    found: dict[int, object] = dict(decode_command(raw, noted))
    return found, clauses(noted)


def test_no_group_length_is_noted() -> None:
    assert read(element(0x0110, b"\x07\0")) == ({0x0110: 7}, ["PS3.7 E.1"])


@pytest.mark.parametrize("told", [0, 9, 11, 0xFFFFFFFF])
def test_a_wrong_group_length_is_noted(told: int) -> None:
    raw = element(0, struct.pack("<L", told)) + element(0x0110, b"\x07\0")
    assert read(raw) == ({0x0110: 7}, ["PS3.7 E.1"])


def test_elements_out_of_order_are_noted() -> None:
    raw = with_length(element(0x0110, b"\x07\0") + element(0x0100, b"\x30\0"))
    assert read(raw) == ({0x0100: 0x30, 0x0110: 7}, ["PS3.7 6.3.1"])


def test_of_a_doubled_element_the_first_counts() -> None:
    raw = with_length(element(0x0110, b"\x07\0") + element(0x0110, b"\x08\0"))
    assert read(raw) == ({0x0110: 7}, ["PS3.7 6.3.1"])


@pytest.mark.parametrize("number", [0x0001, 0x0010, 0x0200, 0x0850, 0x5010, 0x1235, 0xFFFF])
@pytest.mark.parametrize("value", [b"", b"x", b"anything"])
def test_retired_and_unknown_elements_are_skipped(number: int, value: bytes) -> None:
    """PS3.7 Table E.2-1 and whatever comes: each has its own length."""
    raw = with_length(element(number, value))
    assert read(raw) == ({}, [])


@pytest.mark.parametrize("number", sorted(set(VR) - {0}))
def test_empty_elements_are_absent(number: int) -> None:
    assert read(with_length(element(number, b""))) == ({}, [])


@pytest.mark.parametrize(
    ("value", "uid", "noted"),
    [
        (b"1.2.3\0", "1.2.3", []),
        (b"1.2.3", "1.2.3", []),
        (b"1.2.3\0\0\0", "1.2.3", []),
        (b"1.2.3 ", "1.2.3", ["PS3.5 9.1"]),
        (b" 1.2.3\0", "1.2.3", ["PS3.5 9.1"]),
        (b"1.2.\xe9\0", "1.2.\xe9", ["PS3.5 9.1"]),
    ],
)
def test_the_padding_of_a_uid(value: bytes, uid: str, noted: list[str]) -> None:
    assert read(with_length(element(0x0002, value))) == ({0x0002: uid}, noted)


@pytest.mark.parametrize("number", [0x0002, 0x0600, 0x0902])
@pytest.mark.parametrize("value", [b"  ", b"\0\0", b" \0"])
def test_padding_alone_is_absent(number: int, value: bytes) -> None:
    found, _ = read(with_length(element(number, value)))
    assert found == {}


@pytest.mark.parametrize("value", [b" MOVER  ", b"MOVER\0", b"MOVER"])
def test_the_padding_of_an_ae_title(value: bytes) -> None:
    assert read(with_length(element(0x0600, value))) == ({0x0600: "MOVER"}, [])


# --- what harms nothing: each element carries its length, so the next is found


US_ELEMENTS = [n for n, vr in VR.items() if vr == "US"]
BEHIND = element(0x0902, b"behind")


def read_noting(raw: bytes) -> tuple[dict[int, object], list[Deviation]]:
    noted: list[Deviation] = []
    return dict(decode_command(raw, noted)), noted


def noted_once(deviations: list[Deviation], text: str) -> None:
    assert [d.message for d in deviations if text in d.message] != []
    assert all(d.clause == "PS3.7 6.3.1" for d in deviations if text in d.message)


@pytest.mark.parametrize("number", US_ELEMENTS)
@pytest.mark.parametrize(
    ("raw", "value"), [(b"\7", 7), (b"\7\0\0", 7), (b"\7\1\0\0", 0x0107), (b"\7" + bytes(5), 7)]
)
def test_a_us_of_another_length_that_fits_is_taken(number: int, raw: bytes, value: int) -> None:
    found, deviations = read_noting(with_length(element(number, raw) + BEHIND))
    assert found == {number: value, 0x0902: "behind"}
    noted_once(deviations, f"a US element of {len(raw)} bytes")


@pytest.mark.parametrize("number", US_ELEMENTS)
def test_a_us_that_does_not_fit_is_as_if_it_had_not_come(number: int) -> None:
    found, deviations = read_noting(with_length(element(number, b"\0\0\1\0") + BEHIND))
    assert found == {0x0902: "behind"}
    noted_once(deviations, "a US element of 4 bytes")


@pytest.mark.parametrize("length", [1, 2, 6, 8])
def test_a_group_length_of_another_length(length: int) -> None:
    found, deviations = read_noting(element(0, bytes(length)) + BEHIND)
    assert found == {0x0902: "behind"}
    noted_once(deviations, f"a UL element of {length} bytes")


@pytest.mark.parametrize(("length", "tags"), [(1, 0), (3, 0), (5, 1), (6, 1), (10, 2)])
def test_an_at_of_another_length_keeps_its_whole_tags(length: int, tags: int) -> None:
    found, deviations = read_noting(with_length(element(0x1005, bytes(length)) + BEHIND))
    assert found == {0x0902: "behind"} | ({0x1005: (0,) * tags} if tags else {})
    noted_once(deviations, f"an AT element of {length} bytes")


@pytest.mark.parametrize("group", [0x0001, 0x0002, 0x0008, 0xFFFE])
def test_an_element_of_another_group_is_skipped(group: int) -> None:
    found, deviations = read_noting(with_length(element(0x0110, b"\7\0", group) + BEHIND))
    assert found == {0x0902: "behind"}
    noted_once(deviations, f"({group:04X},0110) in a command set")


def test_the_value_of_a_strayed_element() -> None:
    strayed = with_length(element(0x0902, b"\x08\0\x58\0") + element(0x0058, b"1.2\\1.3\0", 0x0008))
    assert values_of_group(strayed, 0x00080058) == [b"1.2\\1.3\0"]
    assert values_of_group(strayed + element(0x0058, b"1.4\0", 0x0008), 0x00080058) == [
        b"1.2\\1.3\0",
        b"1.4\0",
    ]
    assert values_of_group(strayed, 0x00080018) == []
    assert values_of_group(with_length(element(0x0902, b"\x08\0\x58\0")), 0x00080058) == []


# --- what is refused


@pytest.mark.parametrize("length", [3, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_length_beyond_the_end(length: int) -> None:
    with pytest.raises(RemoteProtocolError, match="where 2 are left"):
        decode_command(struct.pack("<HHLH", 0, 0x0110, length, 7), [])


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (0x0110, -1),
        (0x0110, 0x10000),
        (0x0901, (0x1_0000_0000,)),
        (0x0901, (-1,)),
        (0x0002, "1.2.é"),
        (0x0600, "TITLE-Ä"),
        (0x0123, 1),
    ],
)
def test_what_an_element_cannot_hold(number: int, value: int | str | tuple[int, ...]) -> None:
    with pytest.raises(LocalProtocolError, match=f"{number:04X}"):
        encode_command({number: value})


@given(st.text(min_size=1))
def test_any_text_becomes_an_error_comment(text: str) -> None:
    """One LO value: at most 64 characters of the default repertoire, no controls, no backslash."""
    raw = encode_command({0x0902: text})[20:]
    assert len(raw) <= 64
    assert all(0x20 <= byte <= 0x7E and byte != 0x5C for byte in raw)


@given(US)
def test_numbers_are_little_endian(value: int) -> None:
    assert encode_command({0x0110: value})[-2:] == bytes([value & 0xFF, value >> 8])


@pytest.mark.parametrize("stray", range(1, 8))
def test_bytes_too_few_for_an_element_are_noted_unless_more_was_announced(stray: int) -> None:
    """With a true group length nothing is missing; with one that says more, the end of an element may be."""
    body = element(0x0100, b"\x30\0") + element(0x0110, b"\1\0")
    whole = with_length(body)
    for data in (whole + b"\xff" * stray, with_length(body + b"\xff" * stray)):
        noted: list[Deviation] = []
        assert decode_command(data, noted) == {0x0100: 0x30, 0x0110: 1}
        assert f"{stray} stray bytes" in noted[0].message
    for told in (len(body) + stray + 1, len(body) + 100):
        data = element(0, told.to_bytes(4, "little")) + body + b"\xff" * stray
        with pytest.raises(RemoteProtocolError, match="is cut"):
            decode_command(data, [])
    with pytest.raises(RemoteProtocolError, match="is cut"):
        decode_command(body + b"\xff" * stray, [])
