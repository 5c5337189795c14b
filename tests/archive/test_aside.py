"""Conflicts are bounded, folders closed to others, and an archive is made only where one is wanted."""

from __future__ import annotations

import os
import stat

import pytest
from aiodicom.archive.archive import Archive
from aiodicom.archive.errors import NoArchive
from aiodicom.archive.files import MAX_CONFLICTS, aside
from archive_objects import image, store


def test_conflicts_of_one_object_are_bounded(tmp_path, caplog):
    with Archive(tmp_path, durability="rename") as archive:
        for number in range(MAX_CONFLICTS):
            store(archive, image(ImageComments=f"stamped {number}"))
        again = store(archive, image(ImageComments="stamped 1"))
        assert again.status == 0x0111
        assert len(aside(tmp_path, "conflicts")) == MAX_CONFLICTS - 1
    with Archive(tmp_path, durability="rename") as archive:  # counted anew
        for number in range(100, 105):
            assert store(archive, image(ImageComments=f"stamped {number}")).status == 0x0111
        assert len(aside(tmp_path, "conflicts")) == MAX_CONFLICTS
        assert "not kept" in caplog.text
        store(archive, image(2))
        assert store(archive, image(2, ImageComments="another object has room of its own")).status == 0x0111
        assert len(aside(tmp_path, "conflicts")) == MAX_CONFLICTS + 1
    assert not [name for name in os.listdir(tmp_path / "incoming") if name != "journal"]


def test_nothing_is_for_everyone(tmp_path):
    umask = os.umask(0)
    try:
        with Archive(tmp_path / "new") as archive:
            store(archive, image())
            store(archive, image(ImageComments="other"))
            found = list((tmp_path / "new").rglob("*"))
            assert len(found) > 8
            for path in [tmp_path / "new", *found]:
                assert not path.stat().st_mode & stat.S_IRWXO, path
    finally:
        os.umask(umask)


def test_no_archive_is_made_where_none_is_wanted(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(NoArchive):
            Archive(folder, create=False)
    assert list(tmp_path.iterdir()) == []
    Archive(tmp_path).close()
    Archive(tmp_path, create=False).close()
