"""The codec against the standard's tables, against itself, and against bent bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

import pytest
from aiodicom.pdu import (
    PDV,
    AAbort,
    AAssociateAC,
    AAssociateRJ,
    AAssociateRQ,
    AbortReason,
    AReleaseRP,
    AReleaseRQ,
    AsyncOperationsWindow,
    Deviation,
    LocalProtocolError,
    PDataTF,
    Pdu,
    PresentationContextAC,
    PresentationContextRQ,
    RemoteProtocolError,
    RoleSelection,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UnknownItem,
    UserIdentityAC,
    UserIdentityRQ,
    UserInformation,
    decode,
    encode,
)
from hypothesis import given
from hypothesis import strategies as st
from strategies import bent_pdus, pdus
from vectors import NAMES, load

CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"

EXPECTED: dict[str, Pdu] = {
    "a-associate-rq": AAssociateRQ(
        called_ae="STORE-SCP",
        calling_ae="ECHOSCU",
        presentation_contexts=(
            PresentationContextRQ(1, "1.2.840.10008.1.1", (IMPLICIT,)),
            PresentationContextRQ(255, CT, (IMPLICIT, "1.2.840.10008.1.2.1")),
        ),
        user_information=UserInformation(
            maximum_length=16384,
            implementation_class_uid="1.2.3.45",
            implementation_version_name="VERS_10",
            async_operations=AsyncOperationsWindow(invoked=2, performed=3),
            roles=(RoleSelection(CT, scu_role=False, scp_role=True),),
            extended=(SOPClassExtendedNegotiation(CT, b"\x02\x00\x01"),),
            common_extended=(
                SOPClassCommonExtendedNegotiation(
                    "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.4.2", ("1.2.840.10008.5.1.4.1.1.88.2222",)
                ),
            ),
            user_identity=UserIdentityRQ(2, b"alice", b"wonderland", positive_response_requested=True),
        ),
    ),
    "a-associate-ac": AAssociateAC(
        called_ae="STORE-SCP",
        calling_ae="ECHOSCU",
        presentation_contexts=(
            PresentationContextAC(1, 0, IMPLICIT),
            PresentationContextAC(255, 3, IMPLICIT),
        ),
        user_information=UserInformation(
            maximum_length=0,
            implementation_class_uid="1.2.3.46",
            async_operations=AsyncOperationsWindow(1, 1),
            roles=(RoleSelection("1.2.3.4", scu_role=True, scp_role=False),),
            user_identity_response=UserIdentityAC(b"yes"),
        ),
    ),
    "a-associate-rj": AAssociateRJ(result=1, source=1, reason=7),
    "p-data-tf": PDataTF((PDV(1, True, True, b"\xde\xad\xbe\xef"), PDV(1, False, False, b"\x01\x02\x03"))),
    "p-data-tf-empty": PDataTF((PDV(127, False, True, b""),)),
    "a-release-rq": AReleaseRQ(),
    "a-release-rp": AReleaseRP(),
    "a-abort": AAbort(source=2, reason=6),
}

RQ = load("a-associate-rq")
AC = load("a-associate-ac")


def body_of(raw: bytes) -> tuple[int, bytes]:
    return raw[0], raw[6:]


def noted_in(raw: bytes) -> tuple[Pdu, list[Deviation]]:
    noted: list[Deviation] = []
    return decode(raw[0], raw[6:], noted), noted


def refused(pdu_type: int, body: bytes) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as caught:
        decode(pdu_type, body)
    return caught.value


def outcome(kind: int, body: bytes) -> Pdu | RemoteProtocolError:
    """What `decode` makes of it; any other exception fails the test."""
    try:
        return decode(kind, body)
    except RemoteProtocolError as error:
        return error


def request(contexts: bytes, info: bytes = b"\x51\0\0\x04\0\0\x40\0", tail: bytes = b"") -> bytes:
    """The body of an A-ASSOCIATE-RQ around these presentation context items and user sub-items."""
    return RQ[6:99] + contexts + b"\x50\0" + struct.pack(">H", len(info)) + info + tail


def item(kind: int, data: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(data)) + data


def context_rq(context_id: int, *subitems: bytes) -> bytes:
    return item(0x20, bytes((context_id, 0, 0, 0)) + b"".join(subitems))


ABSTRACT = item(0x30, b"1.2.840.10008.1.1")
TRANSFER = item(0x40, b"1.2.840.10008.1.2")
ONE_CONTEXT = context_rq(1, ABSTRACT, TRANSFER)


# --- the standard's tables


def test_every_vector_has_an_expectation() -> None:
    assert set(NAMES) == set(EXPECTED)


@pytest.mark.parametrize("name", NAMES)
def test_vectors_decode(name: str) -> None:
    assert noted_in(load(name)) == (EXPECTED[name], [])


@pytest.mark.parametrize("name", NAMES)
def test_values_encode_to_the_vectors(name: str) -> None:
    got, want = encode(EXPECTED[name]), load(name)
    if name.startswith("a-associate-r") or name == "a-associate-ac":
        assert sorted(subitems(got)) == sorted(subitems(want))  # the order of sub-items is free
        assert len(got) == len(want)
    else:
        assert got == want


def subitems(raw: bytes) -> list[bytes]:
    """The fixed fields, the items and the user sub-items of an A-ASSOCIATE PDU, or the whole PDU."""
    if raw[0] == 3:
        return [raw]
    found, at, end = [raw[:74]], 74, len(raw)
    while at < end:
        kind, _, length = struct.unpack_from(">BBH", raw, at)
        step = 4 if kind == 0x50 else 4 + length  # into the user information, over everything else
        found.append(raw[at : at + step])
        at += step
    assert at == end
    return found


@pytest.mark.parametrize(
    ("pdv", "control"),
    [
        (PDV(1, False, False, b""), 0),
        (PDV(1, True, False, b""), 1),
        (PDV(1, False, True, b""), 2),
        (PDV(1, True, True, b""), 3),
    ],
)
def test_message_control_header(pdv: PDV, control: int) -> None:
    assert encode(PDataTF((pdv,)))[11] == control
    assert decode(4, bytes((0, 0, 0, 2, 1, control))) == PDataTF((pdv,))


# --- round trips


@given(pdus())
def test_decode_gives_back_what_was_encoded(pdu: Pdu) -> None:
    raw = encode(pdu)
    assert int.from_bytes(raw[2:6], "big") == len(raw) - 6
    assert noted_in(raw)[0] == pdu


@given(pdus())
def test_a_decoded_value_owns_its_bytes(pdu: Pdu) -> None:
    raw = bytearray(encode(pdu))
    got = decode(raw[0], memoryview(raw)[6:])
    raw[:] = b"\xff" * len(raw)  # the reader's buffer is used again
    assert got == pdu


@given(pdus())
def test_reserved_bytes_are_sent_as_zero(pdu: Pdu) -> None:
    raw = encode(pdu)
    assert raw[1] == 0
    if isinstance(pdu, AAssociateRQ | AAssociateAC):
        assert raw[8:10] == bytes(2)
        assert raw[42:74] == bytes(32)


# --- bent bytes: a RemoteProtocolError or a value, nothing else


@given(bent_pdus())
def test_bent_bytes_give_a_value_or_a_remote_error(raw: bytes) -> None:
    if len(raw) < 6:
        return
    got = outcome(raw[0], raw[6:])
    if isinstance(got, RemoteProtocolError):
        assert got.reason in (AbortReason.UNRECOGNIZED_PDU, AbortReason.INVALID_PARAMETER)
    else:
        settles(got)


def settles(pdu: Pdu) -> None:
    """What was received can be sent, or is refused as ours; and one round trip settles it for good."""
    try:
        raw = encode(pdu)
    except LocalProtocolError:
        return
    again = decode(raw[0], raw[6:])
    assert encode(again) == raw


@pytest.mark.parametrize("name", NAMES)
def test_a_body_cut_at_any_byte_is_refused_or_a_shorter_whole(name: str) -> None:
    kind, body = body_of(load(name))
    for end in range(len(body)):
        got = outcome(kind, body[:end])
        if isinstance(got, RemoteProtocolError):
            assert got.reason == AbortReason.INVALID_PARAMETER
        else:  # only a cut between two items can be read
            assert isinstance(got, AAssociateRQ | AAssociateAC | PDataTF)
            assert end in boundaries(kind, body)


def boundaries(kind: int, body: bytes) -> set[int]:
    """The places between top-level items where a body may end."""
    ends, at = set(), 0 if kind == 4 else 68
    while at < len(body):
        ends.add(at)
        if kind == 4:
            at += 4 + int.from_bytes(body[at : at + 4], "big")
        else:
            at += 4 + int.from_bytes(body[at + 2 : at + 4], "big")
    return ends


def length_fields(kind: int, body: bytes) -> list[tuple[int, int]]:
    """Offset and width of every length field in an A-ASSOCIATE or P-DATA-TF body, inner ones too."""
    fields: list[tuple[int, int]] = []

    def prefixed(at: int) -> int:
        fields.append((at, 2))
        return at + 2 + int.from_bytes(body[at : at + 2], "big")

    def items(at: int, end: int) -> None:
        while at < end:
            kind, _, length = struct.unpack_from(">BBH", body, at)
            fields.append((at + 2, 2))
            inside, after = at + 4, at + 4 + length
            if kind in (0x20, 0x21):
                items(inside + 4, after)
            elif kind == 0x50:
                items(inside, after)
            elif kind in (0x54, 0x56, 0x59):
                prefixed(inside)
            elif kind == 0x57:
                related = prefixed(prefixed(inside))
                prefixed(related)
                prefixed(related + 2)
            elif kind == 0x58:
                prefixed(prefixed(inside + 2))
            at = after

    if kind == 4:
        at = 0
        while at < len(body):
            fields.append((at, 4))
            at += 4 + int.from_bytes(body[at : at + 4], "big")
    else:
        items(68, len(body))
    return fields


@pytest.mark.parametrize("name", ["a-associate-rq", "a-associate-ac", "p-data-tf", "p-data-tf-empty"])
@pytest.mark.parametrize(
    "lie",
    [
        lambda true, width: true + 1,
        lambda true, width: true + 2,
        lambda true, width: true - 1,
        lambda true, width: 0,
        lambda true, width: 1,
        lambda true, width: 256**width - 1,
        lambda true, width: 256**width // 2,
    ],
    ids=["+1", "+2", "-1", "0", "1", "all ones", "sign bit"],
)
def test_a_length_that_lies_never_raises_anything_else(name: str, lie: Callable[[int, int], int]) -> None:
    kind, body = body_of(load(name))
    fields = length_fields(kind, body)
    assert fields
    for at, width in fields:
        true = int.from_bytes(body[at : at + width], "big")
        value = lie(true, width)
        if value == true or value < 0:
            continue
        bent = body[:at] + value.to_bytes(width, "big") + body[at + width :]
        got = outcome(kind, bent)
        if isinstance(got, RemoteProtocolError):
            assert got.reason == AbortReason.INVALID_PARAMETER
        else:
            assert got != EXPECTED[name], f"the length at {at} is not looked at"
            settles(got)


@pytest.mark.parametrize("name", ["a-associate-rq", "a-associate-ac", "p-data-tf", "p-data-tf-empty"])
def test_a_length_beyond_its_container_is_always_refused(name: str) -> None:
    kind, body = body_of(load(name))
    for at, width in length_fields(kind, body):
        bent = body[:at] + b"\xff" * width + body[at + width :]
        assert refused(kind, bent).reason == AbortReason.INVALID_PARAMETER


@pytest.mark.parametrize("name", ["a-associate-rj", "a-release-rq", "a-release-rp", "a-abort"])
@pytest.mark.parametrize("length", [0, 1, 3, 5, 8, 100])
def test_fixed_pdus_have_one_length(name: str, length: int) -> None:
    kind, body = body_of(load(name))
    assert refused(kind, (body + bytes(100))[:length]).reason == AbortReason.INVALID_PARAMETER


@pytest.mark.parametrize("kind", [0, 8, 9, 0x16, 0x47, 0xFF])
def test_unknown_pdu_types_are_told_apart(kind: int) -> None:
    assert refused(kind, bytes(4)).reason == AbortReason.UNRECOGNIZED_PDU


# --- reserved fields (PS3.8 9.3.1: not tested)


@pytest.mark.parametrize("name", NAMES)
def test_reserved_fields_are_not_tested(name: str) -> None:
    raw = bytearray(load(name))
    for at in reserved(bytes(raw)):
        raw[at] = 0xFF
    assert decode(raw[0], raw[6:]) == EXPECTED[name]


def reserved(raw: bytes) -> list[int]:
    """Offsets of every reserved byte, from the tables; the titles echoed in an answer have their own test."""
    kind = raw[0]
    places = [1]
    if kind in (3, 5, 6, 7):
        places += {3: [6], 5: [6, 7, 8, 9], 6: [6, 7, 8, 9], 7: [6, 7]}[kind]
    elif kind in (1, 2):
        places += [8, 9, *range(42, 74)]

        def items(at: int, end: int) -> None:
            while at < end:
                kind, _, length = struct.unpack_from(">BBH", raw, at)
                if kind != 0x57:  # its second byte is a version
                    places.append(at + 1)
                if kind in (0x20, 0x21):
                    places.extend((at + 5, at + 7))
                    if kind == 0x20:
                        places.append(at + 6)
                    items(at + 8, at + 4 + length)
                elif kind == 0x50:
                    items(at + 4, at + 4 + length)
                at += 4 + length

        items(74, len(raw))
    return places


@pytest.mark.parametrize("name", NAMES)
def test_each_reserved_field_that_is_not_zero_is_noted(name: str) -> None:
    for at in reserved(load(name))[1:]:  # the reader looks at the header
        raw = bytearray(load(name))
        raw[at] = 1
        pdu, noted = noted_in(bytes(raw))
        assert pdu == EXPECTED[name]
        assert [d.clause for d in noted] == ["PS3.8 9.3.1"], at
        assert "reserved field" in noted[0].message


def test_the_echoed_titles_of_an_answer_are_read_but_not_tested() -> None:
    raw = bytearray(AC)
    raw[10:42] = bytes(range(0x80, 0xA0))
    got = decode(raw[0], raw[6:])
    assert isinstance(got, AAssociateAC)
    assert replace(got, called_ae="STORE-SCP", calling_ae="ECHOSCU") == EXPECTED["a-associate-ac"]


# --- presentation contexts


@pytest.mark.parametrize("context_id", [0, 2, 128, 254])
def test_even_and_zero_context_ids_are_refused(context_id: int) -> None:
    assert "not odd" in str(refused(1, request(context_rq(context_id, ABSTRACT, TRANSFER))))
    answer = AC[6:]
    assert "not odd" in str(refused(2, answer[:97] + bytes((context_id,)) + answer[98:]))


def test_a_context_id_used_twice_is_refused() -> None:
    assert "one id" in str(refused(1, request(ONE_CONTEXT + ONE_CONTEXT)))


def test_a_request_without_a_context_is_refused() -> None:
    assert "without a presentation context" in str(refused(1, request(b"")))


def test_all_128_contexts_are_read() -> None:
    contexts = b"".join(context_rq(n, ABSTRACT, TRANSFER) for n in range(1, 256, 2))
    got = decode(1, request(contexts))
    assert isinstance(got, AAssociateRQ)
    assert [c.context_id for c in got.presentation_contexts] == list(range(1, 256, 2))


def test_one_context_too_many_is_refused() -> None:
    contexts = b"".join(context_rq(n % 256, ABSTRACT, TRANSFER) for n in range(1, 259, 2))
    refused(1, request(contexts))


def test_a_context_without_transfer_syntax_is_noted() -> None:
    noted: list[Deviation] = []
    got = decode(1, request(context_rq(1, ABSTRACT)), noted)
    assert isinstance(got, AAssociateRQ)
    assert got.presentation_contexts == (PresentationContextRQ(1, "1.2.840.10008.1.1", ()),)
    assert any("without a transfer syntax" in d.message for d in noted)


@pytest.mark.parametrize("subitems", [(), (TRANSFER,), (ABSTRACT, ABSTRACT, TRANSFER)])
def test_a_context_needs_just_one_abstract_syntax(subitems: tuple[bytes, ...]) -> None:
    assert "abstract syntax" in str(refused(1, request(context_rq(1, *subitems))))


@pytest.mark.parametrize("length", [0, 1, 2, 3])
def test_a_context_item_has_four_fixed_bytes(length: int) -> None:
    assert "fixed fields" in str(refused(1, request(item(0x20, bytes((1, 0, 0, 0))[:length]))))
    refused(2, RQ[6:99] + item(0x21, bytes((1, 0, 0, 0))[:length]))


def test_unknown_subitems_of_a_context_are_passed_over() -> None:
    got = decode(1, request(context_rq(1, item(0x77, b"new"), ABSTRACT, item(0, b""), TRANSFER)))
    assert isinstance(got, AAssociateRQ)
    assert got.presentation_contexts == (PresentationContextRQ(1, "1.2.840.10008.1.1", (IMPLICIT,)),)


@pytest.mark.parametrize("syntaxes", [b"", TRANSFER + TRANSFER])
def test_an_accepted_context_has_one_transfer_syntax(syntaxes: bytes) -> None:
    body = RQ[6:99] + item(0x21, bytes((1, 0, 0, 0)) + syntaxes)
    assert "not one" in str(refused(2, body))


@pytest.mark.parametrize("result", [1, 2, 3, 4, 5, 255])
def test_a_refused_context_needs_no_transfer_syntax(result: int) -> None:
    noted: list[Deviation] = []
    got = decode(2, RQ[6:99] + item(0x21, bytes((1, 0, result, 0))), noted)
    assert isinstance(got, AAssociateAC)
    assert got.presentation_contexts == (PresentationContextAC(1, result, ""),)
    assert any(f"with result {result}" in d.message for d in noted) == (result > 4)


# --- AE titles


def with_titles(called: bytes, calling: bytes = b"ECHOSCU         ") -> bytes:
    return RQ[:10] + called.ljust(16) + calling.ljust(16) + RQ[42:]


@pytest.mark.parametrize(
    ("raw", "title", "words"),
    [
        (b"X", "X", None),
        (b"  LEADING", "LEADING", None),  # PS3.5 6.2: leading spaces have no meaning
        (b"in the middle", "in the middle", None),
        (b"0123456789ABCDEF", "0123456789ABCDEF", None),
        (b"", "", "blank"),
        (bytes(16), "", "NUL"),
        (b"PACS" + bytes(12), "PACS", "NUL"),
        (b"PACS\0RUBBISH", "PACS", "NUL"),
        (b"A\\B", "A\\B", "may not hold"),
        (b"A\nB", "A\nB", "may not hold"),
        (b"A\x1b[2J", "A\x1b[2J", "may not hold"),
        (b"\xc4RZTE", "\xc4RZTE", "may not hold"),
        (b"A\x7f", "A\x7f", "may not hold"),
    ],
)
def test_ae_titles_as_they_come(raw: bytes, title: str, words: str | None) -> None:
    for bent, name in ((with_titles(raw), "called"), (with_titles(b"OK", raw), "calling")):
        pdu, noted = noted_in(bent)
        assert isinstance(pdu, AAssociateRQ)
        assert getattr(pdu, f"{name}_ae") == title
        if words is None:
            assert noted == []
        else:
            assert any(words in d.message and name in d.message for d in noted)


@pytest.mark.parametrize("title", ["", " ", " " * 16, "A" * 17, "A\\B", "A\0", "A\n", "Ä", "A\x7f"])
def test_ae_titles_that_may_not_be_sent(title: str) -> None:
    good = EXPECTED["a-associate-rq"]
    assert isinstance(good, AAssociateRQ)
    with pytest.raises(LocalProtocolError, match="AE title"):
        encode(replace(good, called_ae=title))
    with pytest.raises(LocalProtocolError, match="AE title"):
        encode(replace(good, calling_ae=title))


def test_spaces_around_a_title_are_not_sent_twice() -> None:
    good = EXPECTED["a-associate-rq"]
    assert isinstance(good, AAssociateRQ)
    assert encode(replace(good, called_ae="  STORE-SCP" + " " * 20)) == encode(good)


def test_an_answer_echoes_any_title() -> None:
    answer = EXPECTED["a-associate-ac"]
    assert isinstance(answer, AAssociateAC)
    assert encode(replace(answer, called_ae="", calling_ae="Ä" * 20))[10:42] == b" " * 16 + b"\xc4" * 16


# --- UIDs


@pytest.mark.parametrize("padding", [b"\0", b" ", b"\0\0"])
def test_padded_uids_are_read_without_padding(padding: bytes) -> None:
    noted: list[Deviation] = []
    got = decode(
        1, request(context_rq(1, item(0x30, b"1.2.3" + padding), item(0x40, b"1.2" + padding))), noted
    )
    assert isinstance(got, AAssociateRQ)
    assert got.presentation_contexts == (PresentationContextRQ(1, "1.2.3", ("1.2",)),)
    assert sum("padding" in d.message for d in noted) == 2


@pytest.mark.parametrize("uid", [b"1..2", b".1", b"1.", b"abc", b"1.2\n", b"\xff", b"1" * 65])
def test_bad_uids_are_noted_and_kept(uid: bytes) -> None:
    noted: list[Deviation] = []
    got = decode(1, request(context_rq(1, ABSTRACT, item(0x40, uid))), noted)
    assert isinstance(got, AAssociateRQ)
    assert got.presentation_contexts[0].transfer_syntaxes == (uid.decode("latin-1"),)
    assert any("not a well-formed UID" in d.message for d in noted)


# --- items out of place


def test_unknown_items_are_kept() -> None:
    got = decode(1, request(item(0x11, b"before") + ONE_CONTEXT, tail=item(0xFE, b"") + item(0x60, b"after")))
    assert isinstance(got, AAssociateRQ)
    assert got.unknown_items == (
        UnknownItem(0x11, b"before"),
        UnknownItem(0xFE, b""),
        UnknownItem(0x60, b"after"),
    )


def test_a_context_item_of_the_other_pdu_is_an_unknown_item() -> None:
    got = decode(1, request(ONE_CONTEXT + item(0x21, bytes((1, 0, 0, 0)) + TRANSFER)))
    assert isinstance(got, AAssociateRQ)
    assert [unknown.item_type for unknown in got.unknown_items] == [0x21]


def test_unknown_user_subitems_are_kept() -> None:
    got = decode(1, request(ONE_CONTEXT, info=item(0x5A, b"new") + item(0x51, bytes(4)) + item(0xFF, b"")))
    assert isinstance(got, AAssociateRQ)
    assert got.user_information.unknown == (UnknownItem(0x5A, b"new"), UnknownItem(0xFF, b""))
    assert got.user_information.maximum_length == 0


@pytest.mark.parametrize(
    ("contexts", "info", "tail"),
    [
        (item(0x11, b"before") + ONE_CONTEXT, b"", b""),
        (ONE_CONTEXT, b"", item(0x11, b"")),
        (ONE_CONTEXT, item(0x11, b"new"), b""),
        (context_rq(1, ABSTRACT, item(0x11, b"new"), TRANSFER), b"", b""),
    ],
    ids=["an item", "a last item", "of the user information", "of a context"],
)
def test_an_unknown_item_is_noted(contexts: bytes, info: bytes, tail: bytes) -> None:
    usual = item(0x51, bytes(4)) + item(0x52, b"1.2.3")
    _, noted = noted_in(b"\1\0\0\0\0\0" + request(contexts, info=usual + info, tail=tail))
    assert [d.clause for d in noted] == ["PS3.8 9.3.1"]
    assert noted[0].message.endswith("with an unknown item 11H")


def test_what_is_missing_is_noted() -> None:
    noted: list[Deviation] = []
    got = decode(1, RQ[6:74] + ONE_CONTEXT, noted)
    assert isinstance(got, AAssociateRQ)
    assert got.application_context_name == ""
    assert got.user_information == UserInformation(maximum_length=None)
    assert {"application context", "user information"} <= {
        word for word in ("application context", "user information") for d in noted if word in d.message
    }


def test_no_maximum_length_is_not_a_maximum_length_of_zero() -> None:
    got = decode(1, request(ONE_CONTEXT, info=item(0x52, b"1.2.3")))
    assert isinstance(got, AAssociateRQ)
    assert got.user_information.maximum_length is None


@pytest.mark.parametrize("kind", [0x10, 0x50])
def test_items_that_may_come_once_may_not_come_twice(kind: int) -> None:
    again = item(kind, b"1.2.3" if kind == 0x10 else b"")
    assert "two" in str(refused(1, request(ONE_CONTEXT, tail=again)))


@pytest.mark.parametrize(
    ("kind", "first", "second", "name"),
    [
        (0x51, bytes(4), b"\xff" * 4, "maximum_length"),
        (0x52, b"1.2", b"1.3", "implementation_class_uid"),
        (0x53, bytes(4), b"\xff" * 4, "async_operations"),
        (0x55, b"A", b"B", "implementation_version_name"),
        (0x58, b"\1\0\0\1a\0\0", b"\1\0\0\1b\0\0", "user_identity"),
        (0x59, b"\0\1a", b"\0\1b", "user_identity_response"),
    ],
)
def test_of_doubled_subitems_the_first_counts(kind: int, first: bytes, second: bytes, name: str) -> None:
    noted: list[Deviation] = []
    once = decode(1, request(ONE_CONTEXT, info=item(kind, first)))
    twice = decode(1, request(ONE_CONTEXT, info=item(kind, first) + item(kind, second)), noted)
    assert once == twice
    assert any("twice" in d.message and name in d.message for d in noted)


@pytest.mark.parametrize("kind", [0x51, 0x53])
@pytest.mark.parametrize("length", [0, 1, 3, 5, 8])
def test_fixed_subitems_have_one_length(kind: int, length: int) -> None:
    assert "is fixed" in str(refused(1, request(ONE_CONTEXT, info=item(kind, bytes(length)))))


@pytest.mark.parametrize(
    "subitem",
    [
        item(0x54, b"\0\3" + b"1.2"),  # no roles
        item(0x54, b"\0\3" + b"1.2\1"),  # one role
        item(0x54, b"\0"),
        item(0x56, b"\0\4" + b"1.2"),
        item(0x57, b"\0\3" + b"1.2"),
        item(0x57, b"\0\3" + b"1.2" + b"\0\3" + b"1.2"),
        item(0x57, b"\0\1" + b"1" + b"\0\1" + b"1" + b"\0\1" + b"\0"),  # half a length
        item(0x57, b"\0\1" + b"1" + b"\0\1" + b"1" + b"\0\3" + b"\0\2" + b"1"),
        item(0x58, b""),
        item(0x58, b"\1"),
        item(0x58, b"\1\0\0\5abcd"),
        item(0x58, b"\1\0\0\1a"),
        item(0x58, b"\1\0\0\1a\0\1"),
        item(0x59, b""),
        item(0x59, b"\0\1"),
        b"\x51\0\0",
        b"\x51\0\0\4\0\0\0",
    ],
)
def test_cut_subitems_are_refused(subitem: bytes) -> None:
    assert refused(1, request(ONE_CONTEXT, info=subitem)).reason == AbortReason.INVALID_PARAMETER


@pytest.mark.parametrize(
    ("subitem", "words"),
    [
        (item(0x54, b"\0\3" + b"1.2\2\0"), "role selection values"),
        (item(0x55, b""), "0 characters"),
        (item(0x55, b"A" * 17), "17 characters"),
        (item(0x55, b"caf\xe9"), "implementation version name"),
        (item(0x58, b"\0\0\0\0\0\0"), "unknown type 0"),
        (item(0x58, b"\6\0\0\0\0\0"), "unknown type 6"),
        (item(0x54, b"\0\3" + b"1.2\1\0x"), "role selection: 1 bytes after"),
        (item(0x58, b"\1\0\0\1a\0\0xy"), "user identity: 2 bytes after"),
        (item(0x54, b"\0\3" + b"1.2\1\0") * 2, "two role selections"),
        (item(0x59, b"\0\1a"), "answer to a user identity in an A-ASSOCIATE-RQ"),
        (item(0x52, b"1.02.3"), "begins with zero"),
    ],
)
def test_harmless_errors_are_noted(subitem: bytes, words: str) -> None:
    noted: list[Deviation] = []
    decode(1, request(ONE_CONTEXT, info=subitem), noted)
    assert any(words in d.message for d in noted)


@pytest.mark.parametrize(
    ("subitem", "words"),
    [
        (item(0x58, b"\1\0\0\1a\0\0"), "a user identity in an A-ASSOCIATE-AC"),
        (item(0x57, b"\0\0031.2\0\0031.3\0\0"), "common extended negotiation in an A-ASSOCIATE-AC"),
    ],
)
def test_subitems_of_a_request_in_an_answer_are_noted(subitem: bytes, words: str) -> None:
    noted: list[Deviation] = []
    decode(2, AC[6:99] + item(0x50, subitem), noted)
    assert any(words in d.message for d in noted)


@given(st.binary(min_size=1, max_size=8))
def test_identities_are_not_shown(secret: bytes) -> None:
    identity = UserIdentityRQ(2, b"name-of-the-user", secret * 3)
    answer = UserIdentityAC(b"ticket" + secret)
    assert "name-of" not in repr(identity)
    assert "field" not in repr(identity)
    assert "ticket" not in repr(answer)


# --- P-DATA-TF


@pytest.mark.parametrize("length", [0, 1])
def test_a_pdv_must_hold_its_own_header(length: int) -> None:
    assert "no room" in str(refused(4, struct.pack(">LBB", length, 1, 0)))


@pytest.mark.parametrize("end", [1, 2, 3, 4, 5])
def test_a_cut_pdv_header_is_refused(end: int) -> None:
    assert "cut" in str(refused(4, struct.pack(">LBB", 2, 1, 0)[:end]))


def test_a_pdata_may_hold_nothing() -> None:
    assert decode(4, b"") == PDataTF(())


@pytest.mark.parametrize("control", [0x04, 0x80, 0xFF])
def test_reserved_bits_of_the_control_header_are_noted(control: int) -> None:
    noted: list[Deviation] = []
    got = decode(4, struct.pack(">LBB", 2, 1, control), noted)
    assert got == PDataTF((PDV(1, bool(control & 1), bool(control & 2), b""),))
    assert [d.clause for d in noted] == ["PS3.8 E.2"]


# --- what the wire cannot carry

_RQ = EXPECTED["a-associate-rq"]
_AC = EXPECTED["a-associate-ac"]
assert isinstance(_RQ, AAssociateRQ)
assert isinstance(_AC, AAssociateAC)


def _with(info: UserInformation) -> AAssociateRQ:
    assert isinstance(_RQ, AAssociateRQ)
    return replace(_RQ, user_information=info)


@pytest.mark.parametrize(
    "pdu",
    [
        AAbort(256, 0),
        AAbort(0, -1),
        AAssociateRJ(1, 300, 1),
        PDataTF((PDV(256, True, True, b""),)),
        replace(_RQ, protocol_version=65536),
        replace(_RQ, protocol_version=-1),
        replace(_RQ, application_context_name="é"),
        replace(_RQ, unknown_items=(UnknownItem(256, b""),)),
        replace(_RQ, unknown_items=(UnknownItem(0x60, bytes(65536)),)),
        replace(_RQ, presentation_contexts=(PresentationContextRQ(0, "1.2", ("1.2",)),)),
        replace(_RQ, presentation_contexts=(PresentationContextRQ(2, "1.2", ("1.2",)),)),
        replace(_RQ, presentation_contexts=(PresentationContextRQ(257, "1.2", ("1.2",)),)),
        replace(_RQ, presentation_contexts=(PresentationContextRQ(1, "1.2", ("1.2" * 9999,) * 3),)),
        replace(_AC, presentation_contexts=(PresentationContextAC(300, 0, "1.2"),)),
        replace(_AC, presentation_contexts=(PresentationContextAC(1, 256, "1.2"),)),
        _with(UserInformation(maximum_length=2**32)),
        _with(UserInformation(maximum_length=-1)),
        _with(UserInformation(implementation_version_name="é")),
        _with(UserInformation(async_operations=AsyncOperationsWindow(65536, 0))),
        _with(UserInformation(user_identity=UserIdentityRQ(256, b""))),
        _with(UserInformation(user_identity=UserIdentityRQ(1, bytes(65536)))),
        _with(UserInformation(common_extended=(SOPClassCommonExtendedNegotiation("1", "1", (), 256),))),
        _with(
            UserInformation(common_extended=(SOPClassCommonExtendedNegotiation("1" * 40000, "1" * 40000),))
        ),
        _with(UserInformation(extended=(SOPClassExtendedNegotiation("1", bytes(65535)),))),
        _with(UserInformation(unknown=(UnknownItem(0x60, bytes(40000)), UnknownItem(0x61, bytes(40000))))),
    ],
    ids=lambda pdu: repr(pdu)[:40],
)
def test_what_the_wire_cannot_carry_is_our_error(pdu: Pdu) -> None:
    with pytest.raises(LocalProtocolError):
        encode(pdu)


def _crowd(kind: str, number: int) -> bytes:
    """The items that come after a request's own: `number` of them."""
    if kind == "unknown":
        return item(0x77, b"") * number
    if kind == "transfer syntaxes":
        return b"".join(
            item(
                0x20, bytes((2 * n + 101, 0, 0, 0)) + item(0x30, b"1.2") + item(0x40, b"1.3") * (number // 50)
            )
            for n in range(50)
        )
    return item(0x50, item(0x66, b"") * number)


@pytest.mark.parametrize("kind", ["unknown", "transfer syntaxes", "user information"])
def test_the_items_of_an_association_request_are_bounded(kind: str) -> None:
    """Counted before anything is made of them: 64,000 small ones fit into the length allowed."""
    head = struct.pack(">HH16s16s32s", 1, 0, b"A".ljust(16), b"B".ljust(16), bytes(32))
    context = item(0x20, bytes((1, 0, 0, 0)) + item(0x30, b"1.2") + item(0x40, b"1.3"))
    few = decode(1, head + context + _crowd(kind, 1000))
    assert isinstance(few, AAssociateRQ)
    with pytest.raises(RemoteProtocolError, match="more than 8192 items"):
        decode(1, head + context + _crowd(kind, 9000))


def test_related_classes_are_bounded() -> None:
    head = struct.pack(">HH16s16s32s", 1, 0, b"A".ljust(16), b"B".ljust(16), bytes(32))
    context = item(0x20, bytes((1, 0, 0, 0)) + item(0x30, b"1.2") + item(0x40, b"1.3"))
    for number in (1024, 1025):
        related = b"\0\0031.2" * number
        common = b"\0\0031.2\0\0031.2" + struct.pack(">H", len(related)) + related
        body = head + context + item(0x50, item(0x57, common))
        if number == 1024:
            assert isinstance(decode(1, body), AAssociateRQ)
        else:
            with pytest.raises(RemoteProtocolError, match="more than 1024 related"):
                decode(1, body)
