"""Messages cut into PDUs: what a session sends of them is tested on the session too."""

from __future__ import annotations

import struct

import pytest
from aiodicom.dimse.fragments import fragments, room
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("maximum", "data"),
    [(None, 1048570), (0, 1048570), (1 << 31, 1048570), (16384, 16378), (17, 10), (16, 10), (15, 0), (1, 0)],
)
def test_the_room_there_is(maximum: int | None, data: int) -> None:
    assert room(maximum) == data


@given(st.binary(max_size=100), st.integers(5, 40).map(lambda n: n * 2), st.booleans(), st.booleans())
def test_each_pdu_has_one_even_pdv(data: bytes, largest: int, command: bool, last: bool) -> None:
    raw = b"".join(map(bytes, fragments(memoryview(data), 3, largest, command=command, last=last)))
    found, controls = b"", []
    while raw:
        kind, _, length, pdv, context, control = struct.unpack(">BBLLBB", raw[:12])
        assert (kind, context, pdv, length % 2) == (4, 3, length - 4, 0)
        assert 0 <= length - 6 <= largest
        found += raw[12 : 6 + length]
        controls.append(control)
        raw = raw[6 + length :]
    assert found == data + b"\0" * (len(data) % 2)
    assert controls == [int(command)] * (len(controls) - 1) + [int(command) | 2 * last]
