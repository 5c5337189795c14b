"""The table of storage SOP classes against the dictionary of the installed pydicom."""

from __future__ import annotations

from aiodicom.dimse.sop_classes import maybe_storage, storage_sop_classes
from pydicom.uid import UID_dictionary


def test_every_storage_class_pydicom_knows_is_in_the_table() -> None:
    known = {
        uid
        for uid, (name, kind, _, retired, _) in UID_dictionary.items()
        if kind == "SOP Class"
        and not retired
        and uid.startswith("1.2.840.10008.5.1.4.1.1.")
        and "Storage" in name
    }
    ours = storage_sop_classes()
    assert len(ours) == len(set(ours))
    assert known <= set(ours)
    # what pydicom does not know yet may be here, but nothing that it knows as something else
    assert all(uid in known or uid not in UID_dictionary for uid in ours)


def test_what_may_be_a_storage_class() -> None:
    assert all(maybe_storage(uid) == () for uid in storage_sop_classes())
    assert maybe_storage("1.2.276.0.7230010.3.1.0.1") == ()  # private
    assert maybe_storage("1.2.840.10008.1.1") is None
    assert maybe_storage("..") is None  # no UID
    assert maybe_storage("9" * 200) is None
    assert maybe_storage("1.2.840.10008.5.1.4.1.2.2.1") is None
