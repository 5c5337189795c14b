"""How many requests a peer may have outstanding, for every kind of request."""

from __future__ import annotations

import pytest
from aiodicom.dimse import messages as m
from aiodicom.dimse.limits import OVER_LIMIT
from aiodicom.dimse.outstanding import Outstanding
from aiodicom.pdu.errors import DeviationLog, RemoteProtocolError

STORE = m.CStoreRQ(message_id=9, affected_sop_class_uid="1.2", affected_sop_instance_uid="1.3")
REQUESTS: list[m.Request] = [
    STORE,
    m.CFindRQ(message_id=9, affected_sop_class_uid="1.2"),
    m.CGetRQ(message_id=9, affected_sop_class_uid="1.2"),
    m.CMoveRQ(message_id=9, affected_sop_class_uid="1.2", move_destination="X"),
    m.CEchoRQ(message_id=9),
    m.NEventReportRQ(
        message_id=9, affected_sop_class_uid="1.2", affected_sop_instance_uid="1.3", event_type_id=1
    ),
    m.NGetRQ(message_id=9, requested_sop_class_uid="1.2", requested_sop_instance_uid="1.3"),
    m.NSetRQ(message_id=9, requested_sop_class_uid="1.2", requested_sop_instance_uid="1.3"),
    m.NActionRQ(
        message_id=9, requested_sop_class_uid="1.2", requested_sop_instance_uid="1.3", action_type_id=1
    ),
    m.NCreateRQ(message_id=9, affected_sop_class_uid="1.2"),
    m.NDeleteRQ(message_id=9, requested_sop_class_uid="1.2", requested_sop_instance_uid="1.3"),
]


def outstanding(number: int, limit: int = 64, *, lenient: bool = False) -> Outstanding:
    some = Outstanding(limit, lenient=lenient)
    some.requests.update(dict.fromkeys(range(100, 100 + number), (1, 1)))
    return some


@pytest.mark.parametrize("window", [1, 2, 5])
@pytest.mark.parametrize("request_", REQUESTS, ids=lambda one: type(one).__name__)
def test_the_window(request_: m.Request, window: int) -> None:
    noted = DeviationLog()
    assert outstanding(window - 1).refusal(request_, window, noted) is None
    assert list(noted) == []
    refusal = outstanding(window).refusal(request_, window, noted)
    assert refusal == (0x0213, "more requests outstanding than negotiated")
    assert [one.clause for one in noted] == ["PS3.7 D.3.3.3"]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda one: type(one).__name__)
def test_a_window_without_limit_and_the_limit_of_our_own(request_: m.Request) -> None:
    noted = DeviationLog()
    assert outstanding(3, 4).refusal(request_, 0, noted) is None
    assert outstanding(4, 4).refusal(request_, 0, noted) == (0x0213, "too many outstanding requests")
    assert list(noted) == []


def test_one_that_is_lenient_notes_the_window_and_keeps_the_limit() -> None:
    noted = DeviationLog()
    assert outstanding(3, 4, lenient=True).refusal(STORE, 1, noted) is None
    assert [one.clause for one in noted] == ["PS3.7 D.3.3.3"]
    assert outstanding(4, 4, lenient=True).refusal(STORE, 1, noted) == (
        0x0213,
        "too many outstanding requests",
    )


def test_a_message_id_in_use() -> None:
    some = outstanding(0)
    some.requests[9] = (1, 1)
    assert some.refusal(STORE, 1, DeviationLog()) == (0x0210, "message id in use")


@pytest.mark.parametrize(("number", "window"), [(1, 1), (2, 0)], ids=["over the window", "over the limit"])
def test_who_goes_on_and_on_is_cut_off(number: int, window: int) -> None:
    some = outstanding(number, 2)
    for _ in range(OVER_LIMIT * 2):
        assert some.refusal(STORE, window, DeviationLog()) is not None
    with pytest.raises(RemoteProtocolError, match="in a row"):
        some.refusal(STORE, window, DeviationLog())


def test_one_that_is_taken_ends_the_row() -> None:
    some = outstanding(2, 2)
    for _ in range(5):
        for _ in range(OVER_LIMIT * 2):
            some.refusal(STORE, 0, DeviationLog())
        gone = some.requests.popitem()
        assert some.refusal(STORE, 0, DeviationLog()) is None
        some.requests[gone[0]] = gone[1]
