"""The names of what can be claimed are the standard's, and nothing else is kept of what was seen."""

from __future__ import annotations

from aiodicom.conformance import wire
from aiodicom.conformance.claims import CLASSES, STORAGE, SYNTAXES, Observed, claimed
from aiodicom.conformance.link import Entry
from pydicom.uid import UID

STRANGE = "1.2.3.4.5"
FIELDS = {0x0100: b"\x30\0", 0x0110: b"\1\0"}


def test_the_uids_are_what_they_are_called() -> None:
    """As pydicom has them: a third writing."""
    assert len(set(CLASSES.values())) == len(CLASSES)
    for name, uid in CLASSES.items():
        assert UID(uid).type == "SOP Class", name
    assert all(UID(uid).name.endswith(("Storage", "Storage - For Presentation")) for uid in STORAGE.values())
    for words in ("CT Image", "MR Image", "Ultrasound Image"):
        short = {"CT Image": "CT", "MR Image": "MR", "Ultrasound Image": "US"}[words]
        assert UID(STORAGE[short]).name == f"{words} Storage"
    for level in ("patient", "study"):
        for verb in ("find", "move", "get"):
            assert UID(CLASSES[f"{verb} {level}"]).name.lower().startswith(level)
            assert UID(CLASSES[f"{verb} {level}"]).name.endswith(verb.upper())
    for uid, name in SYNTAXES.items():
        assert UID(uid).type == "Transfer Syntax"
        assert UID(uid).name.split(" (")[0].split(",")[0] == name.split(" (")[0].split(",")[0]


def test_claims_by_their_names() -> None:
    assert claimed({"verification": True, "mpps": False, "storage": ["MR"], "max_pdu": 1}) == {
        "verification": wire.VERIFICATION,
        "storage MR": STORAGE["MR"],
    }


def association(name: str, result: int = 0) -> list[Entry]:
    request = wire.Associate(contexts=(wire.context_rq(1, name, wire.IMPLICIT, STRANGE),))
    answer = wire.Associate(
        kind=wire.AC, contexts=(wire.context_ac(1, result, wire.IMPLICIT),), user=(wire.maximum_length(77),)
    )
    said = wire.p_data(wire.pdv(1, 3, wire.response(FIELDS, status=0xA700)))
    return [Entry(0, 0, ">", request.encode()), Entry(0, 0, "<", answer.encode()), Entry(0, 0, "<", said)]


def test_what_a_server_accepted_and_refused_and_said() -> None:
    seen = Observed("scp")
    for entries in (association(wire.CT_STORAGE), association(STRANGE), association(STORAGE["MR"], 3)):
        seen.watch(entries)
    assert seen.as_dict() == {
        "classes": {wire.CT_STORAGE: [wire.IMPLICIT]},
        "refused": [STORAGE["MR"]],
        "max_pdu": [77],
        "window": [],
        "statuses": {"8030": ["A700"]},
    }


def test_what_a_client_proposes() -> None:
    seen = Observed("scu")
    request, _, _ = association(wire.CT_STORAGE)
    seen.watch([Entry(0, 0, "<", request.raw)])
    assert seen.as_dict()["classes"] == {wire.CT_STORAGE: [wire.IMPLICIT]}
    assert seen.as_dict()["max_pdu"] == [16384]
