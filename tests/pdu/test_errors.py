"""The root of all errors: it names its peer once, and survives being pickled."""

from __future__ import annotations

import pickle

import pytest
from aiodicom.pdu.errors import (
    AiodicomError,
    Deviation,
    RemoteProtocolError,
    describe_abort,
    describe_rejection,
)


def test_the_peer_is_named_once() -> None:
    error = AiodicomError("it went wrong")
    assert str(error) == "it went wrong"
    assert error.at("ORTHANC@pacs:104").at("OTHER@pacs:104") is error
    assert (error.peer, error.text) == ("ORTHANC@pacs:104", "it went wrong")
    assert str(error) == "ORTHANC@pacs:104: it went wrong"
    named = AiodicomError("no connection to ORTHANC@pacs:104").at("ORTHANC@pacs:104")
    assert str(named) == "no connection to ORTHANC@pacs:104"


def test_a_pickled_error_is_as_it_was() -> None:
    error = RemoteProtocolError("HTTP came", reason=2, spoken="HTTP").at("A@b:1")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is RemoteProtocolError
    assert vars(again) == vars(error) == {"reason": 2, "spoken": "HTTP", "peer": "A@b:1"}
    assert str(again) == str(error)


def test_a_deviation_names_its_clause() -> None:
    assert str(Deviation("PS3.8 9.3.2", "an odd title")) == "an odd title (PS3.8 9.3.2)"


@pytest.mark.parametrize("source", [0, 2, 7])
@pytest.mark.parametrize("reason", [0, 1, 2, 4, 5, 6, 99])
def test_every_abort_has_words(source: int, reason: int) -> None:
    assert describe_abort(source, reason)


@pytest.mark.parametrize("result", [1, 2, 9])
@pytest.mark.parametrize("source", [1, 2, 3, 9])
@pytest.mark.parametrize("reason", [1, 2, 3, 7, 99])
def test_every_rejection_has_words(result: int, source: int, reason: int) -> None:
    assert describe_rejection(result, source, reason)
