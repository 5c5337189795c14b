"""What stands where a UID must and is none: kept, found, given and indexed again like any other key."""

from __future__ import annotations

import pytest
from aiodicom.archive.archive import Archive
from aiodicom.archive.files import aside
from aiodicom.dimse.levels import Root
from archive_objects import encode, find, image, store


@pytest.mark.filterwarnings("ignore:.* for VR UI:UserWarning")
@pytest.mark.parametrize("uid", ["LOCALIZER2.16.124.1", "1.2..3", "1" * 70, "1.2.abc", "a", "A"])
def test_what_is_no_uid_is_a_key_all_the_same(tmp_path, uid):
    """PS3.5 9.1 binds who makes UIDs: archives hold such, and what is refused is gone."""
    with Archive(tmp_path, durability="rename") as archive:
        dataset = image(2, StudyInstanceUID=f"s{uid}", SeriesInstanceUID=f"r{uid}")
        dataset.SOPInstanceUID = uid
        assert store(archive, image(1)).status == 0
        outcome = store(archive, dataset, sop_instance_uid=uid)
        assert outcome.status == 0
        assert outcome.path is not None
        assert outcome.path.stem != uid
        keys = {"StudyInstanceUID": f"s{uid}", "SeriesInstanceUID": f"r{uid}", "SOPInstanceUID": ""}
        found = find(archive, Root.STUDY, "IMAGE", **keys)
        assert [one.SOPInstanceUID for one in found] == [uid]
        both = find(archive, Root.STUDY, "STUDY", StudyInstanceUID=[f"s{uid}", image(1).StudyInstanceUID])
        assert len(both) == 2  # one such never spoils the list
        other = encode(dataset) + bytes(8)
        assert store(archive, dataset, sop_instance_uid=uid, data=other).status == 0x0111
        assert len(aside(tmp_path, "conflicts")) == 1
        assert archive.verify().ok
        report = archive.reindex()
        assert report.indexed == 2
        assert not report.skipped
