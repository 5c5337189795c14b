"""Statuses against PS3.7 Annex C and the tables of PS3.4."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from aiodicom.dimse import Category, Status, categorize

S, P, C, W, F = Category.SUCCESS, Category.PENDING, Category.CANCEL, Category.WARNING, Category.FAILURE

GENERAL = [  # PS3.7 C.1 to C.5
    (0x0000, S, "success"),
    (0x0001, W, "optional attributes"),
    (0x0105, F, "no such attribute"),
    (0x0106, F, "invalid attribute value"),
    (0x0107, W, "attribute list error"),
    (0x0110, F, "processing failure"),
    (0x0111, F, "duplicate SOP instance"),
    (0x0112, F, "no such SOP instance"),
    (0x0113, F, "no such event type"),
    (0x0114, F, "no such argument"),
    (0x0115, F, "invalid argument value"),
    (0x0116, W, "out of range"),
    (0x0117, F, "invalid SOP instance"),
    (0x0118, F, "no such SOP class"),
    (0x0119, F, "class-instance conflict"),
    (0x0120, F, "missing attribute"),
    (0x0121, F, "missing attribute value"),
    (0x0122, F, "SOP class not supported"),
    (0x0123, F, "no such action type"),
    (0x0124, F, "not authorized"),
    (0x0210, F, "duplicate invocation"),
    (0x0211, F, "unrecognized operation"),
    (0x0212, F, "mistyped argument"),
    (0x0213, F, "resource limitation"),
    (0xFE00, C, "cancel"),
    (0xFF00, P, "pending"),
    (0xFF01, P, "optional keys"),
]
STORE = [  # PS3.4 Table B.2-1
    (0xA700, F, "out of resources"),
    (0xA7FF, F, "out of resources"),
    (0xA900, F, "does not match the SOP class"),
    (0xA9FF, F, "does not match the SOP class"),
    (0xB000, W, "coercion"),
    (0xB006, W, "discarded"),
    (0xB007, W, "does not match the SOP class"),
    (0xC000, F, "cannot understand"),
    (0xCFFF, F, "cannot understand"),
]
FIND = [  # PS3.4 Table C.4-1
    (0xA700, F, "out of resources"),
    (0xA900, F, "identifier does not match"),
    (0xC000, F, "unable to process"),
    (0xC123, F, "unable to process"),
]
RETRIEVE = [  # PS3.4 Tables C.4-2 and C.4-3
    (0xA701, F, "number of matches"),
    (0xA702, F, "sub-operations"),
    (0xA801, F, "destination unknown"),
    (0xA900, F, "identifier does not match"),
    (0xAA00, F, "frames"),
    (0xAA01, F, "new object"),
    (0xAA02, F, "extract frames"),
    (0xAA03, F, "time-based"),
    (0xAA04, F, "invalid request"),
    (0xB000, W, "one or more failures"),
    (0xC000, F, "unable to process"),
    (0xCFFF, F, "unable to process"),
]
ROWS = [
    (service, *row)
    for services, rows in (
        (["", "C-STORE", "C-FIND", "C-GET", "C-MOVE", "N-SET"], GENERAL),
        (["C-STORE"], STORE),
        (["C-FIND"], FIND),
        (["C-GET", "C-MOVE"], RETRIEVE),
    )
    for service in services
    for row in rows
]


@pytest.mark.parametrize(("service", "code", "category", "words"), ROWS)
def test_every_row_of_the_tables(service: str, code: int, category: Category, words: str) -> None:
    found = Status(code, service)
    assert (found, found.category, found.service) == (code, category, service)
    assert words in found.meaning
    assert found.ok == (code == 0)
    assert str(found).startswith(f"{code:04X}H {category.value}: ")


def test_every_code_has_a_category() -> None:
    counted = dict.fromkeys(Category, 0)
    for code in range(0x10000):
        counted[categorize(code)] += 1
    assert counted[S] == 1
    assert counted[P] == 2
    assert counted[C] == 1
    assert counted[W] == 3 + 0x1000
    assert sum(counted.values()) == 0x10000


@pytest.mark.parametrize("service", ["", "C-STORE", "C-FIND", "C-GET", "C-MOVE", "N-ACTION", "nonsense"])
def test_every_code_has_words(service: str) -> None:
    for code in range(0x10000):
        found = Status(code, service)
        assert found.meaning
        assert found.category is categorize(code)
        # the words name no other class than the category
        for category in (S, C):
            if found.category is not category:
                assert not found.meaning.startswith(category.value)


@pytest.mark.parametrize("code", [0x0002, 0x0125, 0x8000, 0xD000, 0xFE01, 0xFF02, 0xFFFF])
def test_what_the_standard_does_not_define_is_a_failure(code: int) -> None:
    found = Status(code, "C-STORE")
    assert found.category is F
    assert "does not define" in found.meaning


@pytest.mark.parametrize("service", ["", "C-STORE"])
def test_a_status_is_a_number_with_its_service(service: str) -> None:
    status = Status(0xA700, service)
    for copied in (pickle.loads(pickle.dumps(status)), copy.copy(status), copy.deepcopy(status)):
        assert (copied, copied.service, str(copied)) == (status, service, str(status))
    assert json.dumps([status]) == "[42752]"
    assert repr(status) == f"<Status {status}>"
