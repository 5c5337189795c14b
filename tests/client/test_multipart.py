"""Multipart answers: whole, byte by byte, with what stands before and behind, and cut anywhere."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from aiodicom.client.multipart import (
    MAX_PART_HEADER,
    MAX_PREAMBLE,
    Multipart,
    PartBegins,
    PartEnds,
    content_type,
)
from aiodicom.pdu.errors import RemoteProtocolError
from hypothesis import given
from hypothesis import strategies as st

BOUNDARY = "b.1"


def body(parts: Iterable[bytes], boundary: str = BOUNDARY, header: bytes = b"Content-Type: x/y") -> bytes:
    lines = b"".join(b"\r\n--%s\r\n%s\r\n\r\n%s" % (boundary.encode(), header, part) for part in parts)
    return lines[2:] + b"\r\n--%s--\r\n" % boundary.encode()


def taken(chunks: Iterable[bytes], boundary: str = BOUNDARY) -> tuple[list[bytes], list[bytes], Multipart]:
    """The whole parts, and what came of one that is not whole."""
    reader = Multipart(boundary)
    whole: list[bytes] = []
    begun: list[bytes] = []
    inside = False
    for chunk in chunks:
        for event in reader.feed(chunk):
            if isinstance(event, PartBegins):
                assert not inside
                inside, begun = True, []
            elif isinstance(event, PartEnds):
                assert inside
                inside = False
                whole.append(b"".join(begun))
                begun = []
            else:
                assert inside
                assert len(event)
                begun.append(bytes(event))
    return whole, begun, reader


PARTS = [
    b"",
    b"one",
    b"\r\n--b.",
    b"\r\n--b.12 no delimiter",
    b"--b.1",
    b"\r\n\r\n",
    b"\r" * 20,
    bytes(range(256)),
]


def test_whole_and_byte_by_byte() -> None:
    data = body(PARTS)
    for chunks in ([data], [bytes([one]) for one in data]):
        whole, begun, reader = taken(chunks)
        assert whole == PARTS
        assert begun == []
        assert reader.ended


@given(
    parts=st.lists(st.one_of(st.binary(max_size=40), st.sampled_from(PARTS)), max_size=5),
    cuts=st.lists(st.integers(0, 400), max_size=8),
    before=st.sampled_from([b"", b"\r\n", b"a preamble\r\n", b"--b.12\r\n"]),
    behind=st.sampled_from([b"", b"an epilogue", b"\r\n--b.1\r\n\r\nno part"]),
)
def test_however_it_is_cut(parts: list[bytes], cuts: list[int], before: bytes, behind: bytes) -> None:
    clean = [
        one for one in parts if b"\r\n--b.1\r\n" not in b"\r\n" + one + b"\r\n" and b"--b.1--" not in one
    ]
    data = before + body(clean) + behind
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    whole, begun, reader = taken(data[a:b] for a, b in pairwise(places))
    assert (whole, begun, reader.ended) == (clean, [], True)


@pytest.mark.parametrize("cut", range(len(body([b"one", b"two"])) - 4))
def test_an_answer_that_breaks_off_is_not_whole(cut: int) -> None:
    whole, _, reader = taken([body([b"one", b"two"])[:cut]])
    assert not reader.ended
    assert whole == [b"one", b"two"][: len(whole)]


def test_a_delimiter_may_be_padded_and_a_header_left_out() -> None:
    data = b"--b.1 \t\r\n\r\nbare\r\n--b.1\r\nContent-Type: a/b\r\nX: y: z\r\n\r\nnamed\r\n--b.1--"
    reader = Multipart(BOUNDARY)
    events = list(reader.feed(data))
    headers = [one.header for one in events if isinstance(one, PartBegins)]
    assert headers == [{}, {"content-type": "a/b", "x": "y: z"}]
    assert [bytes(one) for one in events if isinstance(one, memoryview)] == [b"bare", b"named"]


def test_nothing_in_it() -> None:
    assert taken([b"--b.1--"])[0] == []
    assert taken([b"--b.1--"])[2].ended


@pytest.mark.parametrize("step", [1, 4096, 10**6])
def test_what_means_nothing_is_not_read_without_end(step: int) -> None:
    long = b"x" * (MAX_PREAMBLE + 8)
    with pytest.raises(RemoteProtocolError, match="no part begins"):
        taken(long[at : at + step] for at in range(0, len(long), step))


@pytest.mark.parametrize("start", [b"--b.1\r\n", b"--b.1"])
@pytest.mark.parametrize("step", [512, 10**6])
def test_a_header_is_bounded(start: bytes, step: int) -> None:
    filling = b"X: " + b"y" * (MAX_PART_HEADER + 8) if start.endswith(b"\n") else b" " * (MAX_PART_HEADER + 8)
    data = start + filling
    with pytest.raises(RemoteProtocolError, match="more than"):
        taken(data[at : at + step] for at in range(0, len(data), step))


@pytest.mark.parametrize("boundary", ["", "a\r\nb", "x" * 201, "ends ", "ü"])
def test_what_is_no_boundary(boundary: str) -> None:
    with pytest.raises(RemoteProtocolError, match="no boundary"):
        Multipart(boundary)


def test_a_long_body_is_handed_on_as_it_comes() -> None:
    """What is held back is no more than a delimiter, and nothing is copied but that."""
    reader = Multipart(BOUNDARY)
    list(reader.feed(b"--b.1\r\n\r\n"))
    for _ in range(10):
        chunk = bytes(65536)
        (view,) = reader.feed(chunk)
        assert isinstance(view, memoryview)
        assert view.obj is chunk
    list(reader.feed(b"\r\n--b"))
    assert len(reader._held) == 5


@pytest.mark.parametrize(
    ("value", "kind", "found"),
    [
        (
            'multipart/related; type="application/dicom"; boundary=a-b',
            "multipart/related",
            ("application/dicom", "a-b"),
        ),
        (
            'Multipart/Related;BOUNDARY="a;b" ; type=application/dicom',
            "multipart/related",
            ("application/dicom", "a;b"),
        ),
        ("application/dicom", "application/dicom", (None, None)),
        ("", "", (None, None)),
    ],
)
def test_content_types(value: str, kind: str, found: tuple[str | None, str | None]) -> None:
    told, parameters = content_type(value)
    assert (told, (parameters.get("type"), parameters.get("boundary"))) == (kind, found)
