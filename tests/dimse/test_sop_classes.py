"""The tables of storage SOP classes and transfer syntaxes against the dictionary of the installed pydicom."""

from __future__ import annotations

import pytest
from aiodicom.dimse.sop_classes import (
    NON_PATIENT,
    TRANSFER_SYNTAXES,
    maybe_storage,
    patient_sop_classes,
    storage_sop_classes,
)
from pydicom.uid import UID_dictionary

_NO_STORAGE = ("1.2.840.10008.1.", "1.2.840.10008.5.1.1.")
"""The directory, storage commitment, and print."""


def test_every_storage_class_pydicom_knows_is_in_the_table() -> None:
    known = {
        uid
        for uid, (name, kind, _, retired, _) in UID_dictionary.items()
        if kind == "SOP Class"
        and not retired
        and not uid.startswith(_NO_STORAGE)
        and "Storage" in name
        and "Trial" not in name
    }
    ours = storage_sop_classes()
    assert len(ours) == len(set(ours))
    assert known <= set(ours)
    # what pydicom does not know yet may be here, but nothing that it knows as something else
    assert all(uid in known or uid not in UID_dictionary for uid in ours)


def test_what_belongs_to_no_patient_is_in_no_query_root() -> None:
    """PS3.4 GG: an archive of patients' objects does not take it, and says so by the context."""
    assert set(patient_sop_classes()) == set(storage_sop_classes()) - NON_PATIENT
    assert all(maybe_storage(uid) is None for uid in NON_PATIENT)
    named = {UID_dictionary[uid][0] for uid in NON_PATIENT if uid in UID_dictionary}
    assert len(named) == len(NON_PATIENT)
    for word in ("Hanging", "Palette", "Implant", "Defined", "Approval", "Inventory"):
        assert any(word in name for name in named)


def test_what_may_be_a_storage_class() -> None:
    assert all(maybe_storage(uid) == () for uid in patient_sop_classes())
    assert maybe_storage("1.2.276.0.7230010.3.1.0.1") == ()  # private
    assert maybe_storage("1.2.840.10008.1.1") is None
    assert maybe_storage("..") is None  # no UID
    assert maybe_storage("9" * 200) is None
    assert maybe_storage("1.2.840.10008.5.1.4.1.2.2.1") is None


def test_every_transfer_syntax_an_object_is_stored_in_is_offered() -> None:
    """PS3.6 Table A-1, but for MIME, XML and Papyrus, which are retired, and live video."""
    known = {uid for uid, (_, kind, _, _, _) in UID_dictionary.items() if kind == "Transfer Syntax"}
    elsewhere = ("1.2.840.10008.1.2.6.", "1.2.840.10008.1.2.7.", "1.2.840.10008.1.20")
    assert len(TRANSFER_SYNTAXES) == len(set(TRANSFER_SYNTAXES))
    assert {uid for uid in known if not uid.startswith(elsewhere)} <= set(TRANSFER_SYNTAXES)
    assert not [uid for uid in TRANSFER_SYNTAXES if uid.startswith(elsewhere)]


@pytest.mark.parametrize("uid", ["1.02.3", "9.9", "3.1", "1", "1." * 31 + "1"])
def test_a_private_class_is_digits_and_dots(uid: str) -> None:
    """Stricter than devices are would lose objects (docs/deviations.md)."""
    assert maybe_storage(uid) == ()


@pytest.mark.parametrize("uid", ["", ".", "1.", ".1", "1..2", "1.2a", "1.2 ", "1/2", "1" * 65])
def test_what_is_not_digits_and_dots_is_no_class(uid: str) -> None:
    assert maybe_storage(uid) is None
