"""A search can be given up at any moment, and holds nothing while nobody reads its answers."""

from __future__ import annotations

import threading

import pytest
from aiodicom.archive import find
from aiodicom.archive.archive import Archive
from aiodicom.archive.errors import GivenUp
from aiodicom.archive.matching import MAX_PATTERNS
from aiodicom.archive.search import Search
from aiodicom.dimse.levels import Root
from archive_objects import EXPLICIT, image, query, store
from pydicom.dataset import Dataset
from syscalls import descriptors

pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning")

MANY_PATTERNS = "\\".join(f"*{n}?z" for n in range(MAX_PATTERNS))
MANY_VALUES = "\\".join(f"N{n}^A" for n in range(7000))


@pytest.fixture
def archive(tmp_path):
    with Archive(tmp_path, durability="rename") as opened:
        yield opened


def coded(value):
    """A sequence of one item."""
    inside = Dataset()
    inside.CodeMeaning = value
    return [inside]


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ({"PatientName": MANY_VALUES}, {"PatientName": MANY_PATTERNS}),
        ({"StudyDescription": MANY_VALUES}, {"StudyDescription": MANY_PATTERNS}),
        (
            {"ProcedureCodeSequence": coded(MANY_VALUES)},
            {"ProcedureCodeSequence": coded(MANY_PATTERNS)},
        ),
    ],
)
def test_a_search_is_given_up_inside_one_object(archive, monkeypatch, stored, asked):
    """Thousands of comparisons of one value with one pattern: who gives up does not wait for their end."""
    begun = threading.Event()
    checks = 0
    real = Search.check

    def check(search):
        nonlocal checks
        checks += 1
        if checks > 1000:
            begun.set()
        real(search)

    monkeypatch.setattr(Search, "check", check)
    assert store(archive, image(1, **stored)).status == 0
    found = archive.find(Root.STUDY, "IMAGE", query("IMAGE", SOPInstanceUID="", **asked))
    answers: list[Dataset] = []
    thread = threading.Thread(target=lambda: answers.extend(found), daemon=True)
    thread.start()
    assert begun.wait(30)
    found.give_up()
    thread.join(30)
    assert not thread.is_alive()
    assert answers == []
    assert checks < 1_000_000


def test_queries_that_nobody_reads_hold_no_descriptors(archive):
    for number in range(100):
        store(archive, image(number))
    before = len(descriptors())
    waiting = [archive.find(Root.STUDY, "IMAGE", query("IMAGE", SOPInstanceUID="")) for _ in range(50)]
    for one in waiting:
        assert next(one)
    assert len(descriptors()) <= before + 3
    assert [len(list(one)) for one in waiting] == [99] * 50


def test_a_retrieve_is_given_up_too(archive):
    store(archive, image(1))
    search = Search()
    search.give_up()
    with pytest.raises(GivenUp):
        archive.select(Root.STUDY, "STUDY", query("STUDY", StudyInstanceUID="1.2.3"), search=search)


@pytest.mark.parametrize("seconds", [-1.0, 0.1])
def test_a_search_comes_back_in_time_if_with_nothing(archive, monkeypatch, seconds):
    """So that one which looks through everything does not keep those of others waiting."""
    monkeypatch.setattr(find, "TAKEN_WITHIN", seconds)
    for number in range(50):
        store(archive, image(number, StudyDescription="x", SeriesDescription="y" if number > 40 else "z"))
    wanted = query("IMAGE", SOPInstanceUID="", InstanceNumber="49")
    found = archive.find(Root.STUDY, "IMAGE", wanted)
    taken, times = [], 0
    while True:
        batch, ended = found.take(EXPLICIT, 256, 1 << 20, print)
        taken += batch
        times += 1
        if ended:
            break
    assert len(taken) == 1
    assert times == (51 if seconds < 0 else 1)
    assert len(list(archive.find(Root.STUDY, "IMAGE", wanted))) == 1


NAMES = "\\".join(f"a{n}*" for n in range(10))


@pytest.mark.parametrize(
    ("keys", "at"),
    [
        ({"PatientName": NAMES}, 9),
        ({"StudyDescription": NAMES}, 9),
        ({"StudyDate": "\\".join(["20240101-20240202"] * 10)}, 9),
        ({"StudyInstanceUID": "1.2", "StudyDescription": "a", "StudyTime": "10"}, 2),
        ({"ProcedureCodeSequence": coded(NAMES)}, 9),
    ],
)
def test_an_identifier_is_given_up_while_it_is_compiled(archive, monkeypatch, keys, at):
    """Before each key and each of its values: together they can take long."""
    search, checks = Search(), 0
    real = search.check

    def check():
        nonlocal checks
        checks += 1
        if checks == at:
            search.give_up()
        real()

    monkeypatch.setattr(search, "check", check)
    with pytest.raises(GivenUp):
        archive.find(Root.STUDY, "STUDY", query("STUDY", **keys), search=search)
    assert checks == at


def test_it_comes_back_between_two_keys(archive, monkeypatch):
    """Each may take long on one object."""
    monkeypatch.setattr(find, "TAKEN_WITHIN", -1.0)
    store(archive, image(1, StudyDescription="x"))
    found = archive.find(Root.STUDY, "STUDY", query("STUDY", StudyDescription="?", PatientName="?*"))
    assert found.take(EXPLICIT, 256, 1 << 20, print) == ([], False)
    answers, _ = found.take(EXPLICIT, 256, 1 << 20, print)
    assert len(answers) == 1
