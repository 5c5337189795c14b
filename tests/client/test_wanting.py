"""What a retrieve may be told is checked before anything is opened or sent."""

from __future__ import annotations

from typing import Any

import pytest
from aiodicom import QueryError, connect
from aiodicom.client.wanting import check_parents, check_uids
from aiodicom.dimse.levels import Level, Root
from aiodicom.server.limits import ServerLimits

CONTROLS = [chr(code) for code in (*range(32), 127)]


@pytest.mark.parametrize("character", [*CONTROLS, "\\"])
def test_a_patient_id_is_one_value_of_characters(character: str) -> None:
    for uid in (f"P{character}1", f"P{character}P"):
        with pytest.raises(QueryError):
            check_uids(Level.PATIENT, Root.PATIENT, uid)
        with pytest.raises(QueryError):
            check_parents(Level.STUDY, None, {"PatientID": uid})
    assert check_uids(Level.PATIENT, Root.PATIENT, "Ä 1^[x]") == ["Ä 1^[x]"]


def test_a_wildcard_is_a_character_of_a_patient_id_but_not_all_of_it() -> None:
    """PS3.4 C.4.3.1.3.1: a retrieve matches unique keys by single values."""
    assert check_uids(Level.PATIENT, Root.PATIENT, ["P*1", "P?"]) == ["P*1", "P?"]
    for alone in ("*", "?", " ", "*?"):
        with pytest.raises(QueryError):
            check_uids(Level.PATIENT, Root.PATIENT, alone)


@pytest.mark.parametrize(
    ("level", "root", "parents"),
    [
        (Level.SERIES, None, {"Foo": "1"}),
        (Level.SERIES, None, {"PatientName": "X"}),
        (Level.SERIES, None, {"SeriesInstanceUID": "1.2"}),
        (Level.SERIES, None, {"SOPInstanceUID": "1.2"}),
        (Level.SERIES, None, {"QueryRetrieveLevel": "IMAGE"}),
        (Level.SERIES, None, {"StudyInstanceUID": ""}),
        (Level.SERIES, None, {"StudyInstanceUID": "1.2*"}),
        (Level.SERIES, None, {"StudyInstanceUID": "1.2\\1.3"}),
        (Level.SERIES, None, {"StudyInstanceUID": ["1.2"]}),
        (Level.SERIES, Root.STUDY, {"PatientID": "P"}),
        (Level.STUDY, None, {"PatientID": " "}),
        (Level.PATIENT, None, {"PatientID": "P"}),
    ],
)
async def test_parents_are_unique_keys_above_with_one_value(
    level: Level, root: Root | None, parents: dict[str, Any]
) -> None:
    with pytest.raises(QueryError):
        check_parents(level, root, parents)
    pacs = connect("127.0.0.1", 9, lazy=True)
    with pytest.raises(QueryError):
        pacs.get(level, "1.2.3", root=root, parents=parents)
    with pytest.raises(QueryError):
        pacs.move(level, "1.2.3", root=root, parents=parents, destination="X")
    with pytest.raises(QueryError):
        await pacs.plan(level, "1.2.3", root=root, parents=parents)


def test_those_above_are_taken() -> None:
    given = {"PatientID": "P", "StudyInstanceUID": "1.2", "SeriesInstanceUID": "LOCALIZER2.16"}
    assert check_parents(Level.IMAGE, None, given) == given


@pytest.mark.parametrize(
    "said",
    [
        {"listen_host": "127.0.0.1"},
        {"listen_port": 104},
        {"limits": ServerLimits()},
        {"quiet": 7.5},
        {"accept_from": ["10.0.0.0/8"]},
        {"skip_present": False},
        {"durability": "rename"},
        {"layout": "uids"},
    ],
    ids=lambda said: next(iter(said)),
)
def test_a_move_elsewhere_takes_no_options_of_one_to_ourselves(said: dict[str, Any]) -> None:
    with pytest.raises(QueryError, match="of a move to ourselves"):
        connect("127.0.0.1", 1).move("STUDY", "1.2.3", destination="X", **said)
    connect("127.0.0.1", 1).move("STUDY", "1.2.3", destination="X", directory="out", **said)
    connect("127.0.0.1", 1).move("STUDY", "1.2.3", destination="X")
