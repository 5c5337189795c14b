"""A file under its final name is whole and, where asked for, on the disk: the calls in their order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from aiodicom.dataset.part10 import Part10Writer
from syscalls import descriptors, noted


def writer(path: Path, **more: object) -> Part10Writer:
    return Part10Writer(
        path,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.7",
        sop_instance_uid="1.2.3",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        implementation_class_uid="1.2.3.4",
        implementation_version_name="TEST",
        **more,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("overwrite", [False, True])
def test_data_then_name_then_folder(tmp_path: Path, overwrite: bool) -> None:
    with noted() as calls:
        one = writer(tmp_path / "a.dcm", overwrite=overwrite)
        one.write(b"data")
        one.commit("fsync")
    naming = "replace" if overwrite else "link"
    order = [
        calls.last("write", one.temporary),
        calls.first("fsync", one.temporary),
        calls.first(naming, "a.dcm"),
        calls.first("fsync", str(tmp_path)),
    ]
    assert order == sorted(order)
    flags = calls.opened[one.temporary]
    assert flags & os.O_EXCL
    assert flags & os.O_NOFOLLOW


def test_rename_forces_nothing(tmp_path: Path) -> None:
    with noted() as calls:
        one = writer(tmp_path / "a.dcm")
        one.write(b"data")
        one.commit("rename")
    assert not [name for name, _ in calls.made if name == "fsync"]


def test_a_name_that_lies_there_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even one that was guessed."""
    monkeypatch.setattr("aiodicom.dataset.part10.part_name", lambda: ".guessed.part")
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (tmp_path / ".guessed.part").symlink_to(victim)
    with pytest.raises(OSError, match="exists"):
        writer(tmp_path / "a.dcm")
    assert victim.read_bytes() == b"mine"


@pytest.mark.parametrize("failing", ["fsync", "link", "write"])
def test_a_failure_leaves_no_file_and_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    before = descriptors()

    def fail(*_: object, **__: object) -> int:
        raise OSError(5, "Input/output error")

    one = writer(tmp_path / "a.dcm", overwrite=failing != "link")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace" if failing == "link" else failing, fail)
        patch.setattr(os, "link", fail)
        with pytest.raises(OSError, match="Input/output"):
            one.write(b"data")
            one.commit("fsync")
            raise AssertionError
    one.discard()
    assert list(tmp_path.iterdir()) == []
    assert descriptors() == before
