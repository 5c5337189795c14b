"""Index and files are compared while the archive serves; what is being committed is no difference."""

from __future__ import annotations

import threading

import pytest
from aiodicom.archive import comparing
from aiodicom.archive.archive import Archive
from aiodicom.archive.comparing import Comparison
from aiodicom.archive.files import ObjectFiles
from archive_objects import image, store, uids

POWER = "another run of the machine"


def stored(folder, numbers, **values):
    with Archive(folder, durability="rename") as archive:
        return {number: store(archive, image(number, **values)).path for number in numbers}


def lose(folder, uids):
    """Take objects out of the index, their files staying."""
    with Archive(folder, durability="rename") as archive:
        archive.wait_until_compared(30)
        archive._committer.run(lambda: archive._index.remove(uids))


@pytest.fixture
def held(monkeypatch):
    """A comparison that waits before its first folder until it is let go."""
    begun, go = threading.Event(), threading.Event()
    real = Comparison._differences

    def differences(self, folder, series):
        begun.set()
        while not go.wait(0.01) and not self._stop.is_set():
            pass
        return real(self, folder, series)

    monkeypatch.setattr(Comparison, "_differences", differences)
    yield begun, go
    go.set()


@pytest.mark.parametrize("mark", ["", POWER])
def test_an_archive_serves_while_it_is_compared(tmp_path, held, mark):
    begun, go = held
    go.set()
    stored(tmp_path, range(3))
    lose(tmp_path, ["1.2.3.1.1"])
    go.clear()
    (tmp_path / "lock").write_text(mark)
    with Archive(tmp_path, durability="rename") as archive:
        assert begun.wait(30)
        assert not archive.wait_until_compared(0)
        assert uids(archive) == {"1.2.3.1.0", "1.2.3.1.2"}
        assert store(archive, image(7)).status == 0
        assert store(archive, image(1)).status == 0  # the one it is about to find: the same, so no conflict
        go.set()
        assert archive.wait_until_compared(30)
        assert uids(archive) == {f"1.2.3.1.{number}" for number in (0, 1, 2, 7)}
    assert not list((tmp_path / "conflicts").iterdir())


def test_one_that_is_closed_before_its_end_is_begun_again(tmp_path, held):
    """Else a start after a power failure would be the only one that looks, and the next would not."""
    begun, go = held
    paths = stored(tmp_path, range(3))
    paths[1].write_bytes(b"")
    (tmp_path / "lock").write_text(POWER)
    for durability in ("fsync", "rename"):
        with Archive(tmp_path, durability=durability) as archive:
            assert begun.wait(30)
            assert not archive.wait_until_compared(0)
        files = ObjectFiles(tmp_path, "fsync")
        assert files.last_end == "power"
        files.close(clean=False)
    go.set()
    with Archive(tmp_path) as archive:
        assert archive.wait_until_compared(30)
        assert archive.counts().instances == 2
    files = ObjectFiles(tmp_path, "fsync")
    assert files.last_end == "clean"
    files.close(clean=False)


def test_as_many_objects_but_others(tmp_path):
    """A restored index may hold as many objects as there are files."""
    stored(tmp_path, range(3))
    old = (tmp_path / "index.sqlite").read_bytes()
    paths = stored(tmp_path, range(3, 5))
    lose(tmp_path, [])
    paths[3].unlink()
    next(tmp_path.rglob("1.2.3.1.0.dcm")).unlink()
    (tmp_path / "index.sqlite").write_bytes(old)
    with Archive(tmp_path) as archive:
        assert archive.wait_until_compared(30)
        assert uids(archive) == {f"1.2.3.1.{number}" for number in (1, 2, 4)}


@pytest.mark.filterwarnings("ignore:.* for VR UI:UserWarning")
def test_objects_with_uids_that_are_none_are_compared_too(tmp_path):
    odd = "LOCALIZER1.2"
    path = stored(tmp_path, [1], SOPInstanceUID=odd)[1]
    lose(tmp_path, [odd])
    for _ in range(2):
        with Archive(tmp_path) as archive:
            assert archive.wait_until_compared(30)
            assert uids(archive) == {odd}
    path.unlink()
    with Archive(tmp_path) as archive:
        assert archive.wait_until_compared(30)
        assert uids(archive) == set()


def test_many_series_and_more_than_a_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(comparing, "BATCH", 4)
    monkeypatch.setattr(comparing, "_AT_ONCE", 3)
    monkeypatch.setattr(comparing, "_PAGE", 5)
    monkeypatch.setattr(ObjectFiles, "folder_of", staticmethod(lambda uid: f"objects/00/0{len(uid) % 2}"))
    with Archive(tmp_path, durability="rename") as archive:
        for number in range(30):
            store(archive, image(number, series=f"1.2.3.{number}"))
        expected = uids(archive)
        archive._committer.run(lambda: archive._index.remove(sorted(expected)[::2]))
    next(tmp_path.rglob("1.2.3.29.29.dcm")).unlink()
    (tmp_path / "lock").write_text(POWER)
    with Archive(tmp_path) as archive:
        assert archive.wait_until_compared(30)
        assert uids(archive) == expected - {"1.2.3.29.29"}


def test_a_folder_that_cannot_be_read_takes_no_object_out(tmp_path, monkeypatch):
    stored(tmp_path, range(3))
    monkeypatch.setattr(ObjectFiles, "names", lambda _self, _folder: iter(()))
    with Archive(tmp_path) as archive:
        assert archive.wait_until_compared(30)
        assert archive.counts().instances == 3


def test_a_comparison_that_fails_is_said_and_tried_again(tmp_path, monkeypatch, caplog):
    stored(tmp_path, range(2))
    (tmp_path / "lock").write_text(POWER)
    with monkeypatch.context() as patched:

        def fail(*_):
            raise RuntimeError("Secret^Name")

        patched.setattr(Comparison, "_differences", fail)
        with Archive(tmp_path) as archive:
            assert not archive.wait_until_compared(30)
            assert archive.counts().instances == 2
    assert "RuntimeError" in caplog.text
    assert "Secret" not in caplog.text
    files = ObjectFiles(tmp_path, "fsync")
    assert files.last_end == "power"
    files.close(clean=False)
