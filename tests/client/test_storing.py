"""C-STORE as a user: what is found, what is sent, and an outcome for every object whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import zlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiodicom.association import outgoing as outgoing_module
from aiodicom.association.errors import AssociationAborted, InactivityTimeout, TotalTimeout
from aiodicom.client.connect import connect
from aiodicom.client.pacs import BASIC_PROPOSALS, Pacs
from aiodicom.client.progress import Progress
from aiodicom.client.results import StoredItem, StoreReport
from aiodicom.client.storing import Store
from aiodicom.dataset.coding import encode_dataset
from aiodicom.dataset.part10 import encode_file_meta
from aiodicom.dimse import messages as m
from aiodicom.dimse.sop_classes import NON_PATIENT, SUPPORTED_STORAGE
from aiodicom.pdu import AAbort, AsyncOperationsWindow, ConnectionClosed, UserInformation
from aiodicom.server.archive_service import serve_archive
from aiodicom.server.listener import serve
from aiodicom.testing import ScriptedListener, ScriptedPeer
from archive_objects import labelled, part10
from conftest import TLSPair
from pydicom.dataset import Dataset
from wire import (
    CT,
    EXPLICIT,
    IMPLICIT,
    MR,
    STEADY,
    Plain,
    accept_as,
    accepted,
    ct,
    hear,
    implicit,
    on_each_loop,
    play,
    reply,
    say,
)


def objects(folder: Path, count: int, syntax: str = IMPLICIT, **values: Any) -> list[Path]:
    """Files 00.dcm, 01.dcm, ... of objects 1.2.3.0, 1.2.3.1, ..."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number:02}.dcm" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(part10(ct(f"1.2.3.{number}", **values), syntax))
    return paths


async def storage(
    listener: ScriptedListener, answer: Any = None, info: UserInformation | None = None
) -> ScriptedPeer:
    """The association that stores: the client's first, for nothing, is let go."""
    while True:
        peer, request = await accepted(listener, answer=answer, user_information=info)
        basic = {one.abstract_syntax for one in BASIC_PROPOSALS}
        if all(c.abstract_syntax in basic for c in request.presentation_contexts):
            await peer.answer_release()
            continue
        return peer


Storing = Callable[[Pacs], Any]


def storing(source: Any, **how: Any) -> Callable[[Pacs], Any]:
    async def user(client: Pacs) -> StoreReport:
        async with client:
            return await client.store(source, **how)

    return user


def uids(items: Iterable[StoredItem]) -> list[str]:
    return [item.sop_instance_uid.rsplit(".", 1)[1] for item in items]


# --- what goes out


@on_each_loop
async def test_files_go_out_byte_for_byte(tmp_path: Path) -> None:
    paths = objects(tmp_path / "in", 3, size=50001)
    received: dict[str, bytes] = {}

    async def script(listener: ScriptedListener) -> None:
        peer = await storage(listener)
        for _ in paths:
            heard = await hear(peer, m.CStoreRQ)
            received[heard.message.affected_sop_instance_uid] = heard.data or b""
            await reply(peer, heard, 0)
        await peer.answer_release()

    told: list[Progress] = []
    report = await play(script, storing(tmp_path / "in", progress=told.append))
    assert report.ok
    assert uids(report.stored) == ["0", "1", "2"]
    for number, path in enumerate(paths):
        assert path.read_bytes().endswith(received[f"1.2.3.{number}"])
    assert told[0].objects == 0
    assert (told[-1].objects, told[-1].objects_total, told[-1].failed) == (3, 3, 0)
    assert told[-1].bytes == told[-1].bytes_total == report.bytes


async def test_a_large_file_goes_out_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing_module, "WHOLE_READ", 1000)
    [path] = objects(tmp_path / "in", 1, size=5_000_001)
    told: list[Progress] = []

    async def script(listener: ScriptedListener) -> None:
        peer = await storage(listener)
        heard = await hear(peer, m.CStoreRQ)
        assert path.read_bytes().endswith(heard.data or b"?")
        await reply(peer, heard, 0)
        await peer.answer_release()

    report = await play(script, storing(path, progress=told.append))
    assert report.ok
    assert any(0 < one.bytes < one.bytes_total for one in told if one.bytes_total)


@pytest.mark.parametrize("whole_read", [1000, 1 << 20])
async def test_an_odd_length_is_made_even(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole_read: int
) -> None:
    """A deflated data set may be odd in its file; its fragments may not (PS3.5 A.5, PS3.8 E.2)."""
    monkeypatch.setattr(outgoing_module, "WHOLE_READ", whole_read)
    (path,) = objects(tmp_path, 1, size=50001)
    with path.open("ab") as file:
        file.write(b"\xe1\x7f\x10\x00\3\0\0\0abc")  # implicit VR, an odd value
    heard: list[bytes] = []

    async def script(listener: ScriptedListener) -> None:
        peer = await storage(listener)
        request = await hear(peer, m.CStoreRQ)
        heard.append(request.data or b"")
        await reply(peer, request, 0)
        await peer.answer_release()

    report = await play(script, storing(path))
    assert report.ok
    assert heard[0].endswith(b"abc\0")
    assert path.read_bytes().endswith(heard[0][:-1])


async def test_a_data_set_in_memory() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer = await storage(listener, accept_as(EXPLICIT))
        heard = await hear(peer, m.CStoreRQ)
        assert heard.message.affected_sop_instance_uid == "1.2.3.9"
        await reply(peer, heard, 0)
        await peer.answer_release()

    dataset = ct("1.2.3.9")
    report = await play(script, storing(dataset))
    assert report.ok
    assert report.items[0].path is None


async def test_each_transfer_syntax_has_a_context_of_its_own(tmp_path: Path) -> None:
    objects(tmp_path / "in", 1, IMPLICIT)
    (tmp_path / "in" / "explicit.dcm").write_bytes(part10(ct("1.2.3.8"), EXPLICIT))
    (tmp_path / "in" / "mr.dcm").write_bytes(part10(ct("1.2.3.9", SOPClassUID=MR), IMPLICIT))

    async def script(listener: ScriptedListener) -> None:
        peer, request = await accepted(listener)
        await peer.answer_release()
        peer, request = await accepted(listener, answer=lambda c: accept_as(c.transfer_syntaxes[0])(c))
        proposed = {(c.abstract_syntax, *c.transfer_syntaxes) for c in request.presentation_contexts}
        stored = {one for one in proposed if one[0] in (CT, MR)}
        assert stored == {(CT, IMPLICIT), (CT, EXPLICIT), (MR, IMPLICIT), (MR, EXPLICIT)}  # to convert to
        for _ in range(3):
            await reply(peer, await hear(peer, m.CStoreRQ), 0)
        await peer.answer_release()

    assert (await play(script, storing(tmp_path / "in"))).ok


async def test_more_contexts_than_an_association_holds(tmp_path: Path) -> None:
    for number in range(130):
        dataset = ct(f"1.2.3.{number}", SOPClassUID=f"1.2.840.99999.{number}")
        (tmp_path / f"{number:03}.dcm").write_bytes(part10(dataset, IMPLICIT))

    async def script(listener: ScriptedListener) -> None:
        for count in (128, 2):
            peer = await storage(listener)
            for _ in range(count):
                await reply(peer, await hear(peer, m.CStoreRQ), 0)
            await peer.answer_release()

    report = await play(script, storing(tmp_path))
    assert report.ok
    assert len(report.items) == 130


async def test_a_refused_context_fails_its_objects_only(tmp_path: Path) -> None:
    objects(tmp_path / "in", 2)
    (tmp_path / "in" / "mr.dcm").write_bytes(part10(ct("1.2.3.9", SOPClassUID=MR), IMPLICIT))

    async def script(listener: ScriptedListener) -> None:
        peer = await storage(listener, accept_as(IMPLICIT, refuse=[MR], result=3))
        for _ in range(2):
            await reply(peer, await hear(peer, m.CStoreRQ), 0)
        await peer.answer_release()

    report = await play(script, storing(tmp_path / "in"))
    assert uids(report.stored) == ["0", "1"]
    [failed] = report.failed
    assert failed.status is None
    assert "context refused: abstract syntax not supported" in (failed.error or "")
    assert not report.ok


# --- what is found


async def test_a_folder_with_all_sorts_of_files(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    good = objects(folder, 3)
    (folder / "notes.txt").write_text("not DICOM, and long enough to be looked at twice " * 10)
    (folder / "empty").write_bytes(b"")
    (folder / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(300))
    cut = part10(ct("1.2.3.7", size=1000), EXPLICIT)
    (folder / "truncated.dcm").write_bytes(cut[:-500])
    (folder / "truncated meta.dcm").write_bytes(cut[:150])
    (folder / "copy.dcm").write_bytes(good[0].read_bytes())
    (folder / "sub").mkdir()
    (folder / "sub" / "deep.dcm").write_bytes(part10(ct("1.2.3.5"), IMPLICIT))
    (folder / "no uid.dcm").write_bytes(part10(ct("1.2.3.6"), IMPLICIT).replace(b"1.2.3.6", b"       "))
    os.mkfifo(folder / "pipe")
    (folder / "dangling").symlink_to(folder / "nowhere")
    (folder / "linked").symlink_to(folder / "sub")
    (folder / "locked").mkdir()
    unreadable = folder / "unreadable.dcm"
    unreadable.write_bytes(good[0].read_bytes())

    stored: list[str] = []

    async def script(listener: ScriptedListener) -> None:
        peer = await storage(listener, lambda c: accept_as(c.transfer_syntaxes[0])(c))
        for _ in range(5):
            heard = await hear(peer, m.CStoreRQ)
            stored.append(heard.message.affected_sop_instance_uid)
            await reply(peer, heard, 0)
        await peer.answer_release()

    def deny(path: object, *arguments: Any, **how: Any) -> int:
        if isinstance(path, str | Path) and Path(path).name == "unreadable.dcm":
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **how)  # type: ignore[arg-type]

    def deny_folder(path: object) -> Any:
        if Path(str(path)).name == "locked":
            raise PermissionError(13, "Permission denied", path)
        return real_scan(path)  # type: ignore[call-overload]

    real, real_scan = os.open, os.scandir
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", deny)  # root may read whatever its mode is
        patch.setattr(os, "scandir", deny_folder)
        report = await play(script, storing(folder))

    assert {path.name: why for path, why in report.skipped} == {
        "notes.txt": "not DICOM",
        "empty": "not DICOM",
        "image.png": "not DICOM",
        "pipe": "no file",
        "linked": "a link to a folder",
    }
    assert sorted(stored) == ["1.2.3.0", "1.2.3.0", "1.2.3.1", "1.2.3.2", "1.2.3.5"]
    errors = {item.path.name: item.error or "" for item in report.failed if item.path}
    assert errors.keys() == {
        "truncated.dcm", "truncated meta.dcm", "unreadable.dcm", "no uid.dcm", "dangling", "locked",
    }  # fmt: skip
    assert "truncated" in errors["truncated.dcm"]
    assert errors["unreadable.dcm"] == errors["locked"] == "Permission denied"
    assert errors["dangling"] == "No such file or directory"
    assert {item.path.name for item in report.stored if item.path} >= {
        "00.dcm", "01.dcm", "02.dcm", "copy.dcm", "deep.dcm",
    }  # fmt: skip
    assert not report.ok


async def test_nothing_to_store(tmp_path: Path) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await peer.answer_release()

    report = await play(script, storing(tmp_path))
    assert report.items == []
    assert not report.ok  # nothing was stored, which nobody asked for


async def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await peer.answer_release()

    report = await play(script, storing(tmp_path / "nowhere"))
    [item] = report.items
    assert "No such file" in (item.error or "")


async def test_a_file_that_changes_or_goes_while_it_is_stored(tmp_path: Path) -> None:
    paths = objects(tmp_path / "in", 3)
    real = outgoing_module.find_items

    def found_then_changed(sources: Any) -> Any:
        found = real(sources)
        paths[0].write_bytes(paths[0].read_bytes()[:-20])
        paths[1].unlink()
        return found

    async def script(listener: ScriptedListener) -> None:
        peer = await storage(listener)
        heard = await hear(peer, m.CStoreRQ)
        assert heard.message.affected_sop_instance_uid == "1.2.3.2"
        await reply(peer, heard, 0)
        await peer.answer_release()

    import aiodicom.client.sources as client_module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client_module, "find_items", found_then_changed)
        report = await play(script, storing(tmp_path / "in"))
    assert uids(report.stored) == ["2"]
    assert ["changed" in (report.items[0].error or ""), "No such file" in (report.items[1].error or "")] == [
        True,
        True,
    ]


async def test_a_large_file_emptied_while_it_is_stored_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing_module, "WHOLE_READ", 100)
    paths = objects(tmp_path / "in", 2)
    real = outgoing_module.find_items

    def found_then_emptied(sources: Any) -> Any:
        found = real(sources)
        os.truncate(paths[0], 0)
        return found

    async def script(listener: ScriptedListener) -> None:
        peer = await storage(listener)
        heard = await hear(peer, m.CStoreRQ)
        assert heard.message.affected_sop_instance_uid == "1.2.3.1"
        await reply(peer, heard, 0)
        await peer.answer_release()

    import aiodicom.client.sources as client_module

    monkeypatch.setattr(client_module, "find_items", found_then_emptied)
    report = await play(script, storing(tmp_path / "in"))
    assert uids(report.stored) == ["1"]
    [failed] = report.failed
    assert "the file changed" in (failed.error or "")


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:The value length")
@pytest.mark.parametrize(
    ("keyword", "uid"),
    [("SOPClassUID", uid) for uid in ("hello", "1..2", "1." + "2" * 70, "1.2\\3.4")]
    + [("SOPInstanceUID", uid) for uid in ("1.2\\3.4", "1.*", "1." + "2" * 140)],
)
async def test_an_object_whose_uid_is_none_fails_alone(tmp_path: Path, keyword: str, uid: str) -> None:
    """It is not sent: as an abstract syntax it could cost all the others their association."""
    bad = ct("1.2.3.0")
    setattr(bad, keyword, uid)
    file = tmp_path / "bad.dcm"
    file.write_bytes(part10(ct("1.2.3.0"), IMPLICIT)[: -len(implicit(ct("1.2.3.0")))] + implicit(bad))

    async def script(listener: ScriptedListener) -> None:
        peer = await storage(listener, lambda c: accept_as(c.transfer_syntaxes[0])(c))
        heard = await hear(peer, m.CStoreRQ)
        assert heard.message.affected_sop_instance_uid == "1.2.3.1"
        await reply(peer, heard, 0)
        await peer.answer_release()

    report = await play(script, storing([bad, file, ct("1.2.3.1")]))
    assert uids(report.stored) == ["1"]
    assert len(report.failed) == 2
    assert "is no UID" in (report.failed[0].error or "")


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:The value length")
@pytest.mark.parametrize("uid", ["LOCALIZER2.16.124.1", "1..2", "1." + "2" * 70])
async def test_an_instance_uid_that_is_none_is_sent_as_it_is(uid: str) -> None:
    """PS3.5 9.1 binds who made it: whether it is taken is for the peer to say."""

    async def script(listener: ScriptedListener) -> None:
        peer = await storage(listener, lambda c: accept_as(c.transfer_syntaxes[0])(c))
        heard = await hear(peer, m.CStoreRQ)
        assert heard.message.affected_sop_instance_uid == uid
        await reply(peer, heard, 0)
        await peer.answer_release()

    odd = ct("1.2.3.0")
    odd.SOPInstanceUID = uid
    report = await play(script, storing([odd]))
    assert report.ok


async def test_a_file_is_closed_when_sending_it_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when the error, whose traceback holds what was reading it, is forgotten."""
    monkeypatch.setattr(outgoing_module, "WHOLE_READ", 1000)
    [path] = objects(tmp_path / "in", 1, size=12_000_000)

    async def script(listener: ScriptedListener) -> None:
        peer = await storage(listener)
        await peer.receive_bytes(5_000_000)
        await peer.reset()

    async def user(client: Pacs) -> None:
        with pytest.raises(ConnectionClosed) as caught:
            async with client:
                await client.store(path)
        assert caught.value.__traceback__ is not None
        async with asyncio.timeout(20):  # a thread may still be reading from it
            while str(path) in open_files():
                await asyncio.sleep(0)

    await play(script, user)


def open_files() -> set[str]:
    found = set()
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one of the listing itself
            found.add(os.readlink(f"/proc/self/fd/{descriptor}"))
    return found


async def test_a_large_file_cut_while_it_goes_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half an object cannot be taken back: the association is aborted and the report says why."""
    monkeypatch.setattr(outgoing_module, "WHOLE_READ", 1000)
    paths = objects(tmp_path / "in", 3, size=12_000_000)

    async def script(listener: ScriptedListener) -> None:
        peer = await storage(listener)
        header = await peer.receive_bytes(6)
        os.truncate(paths[0], 3_000_000)
        rest, _ = await peer.drain_until_close()
        assert header[0] == 4
        assert rest.endswith(b"\x07\0\0\0\0\x04\0\0\0\0")

    report_error = None

    async def user(client: Pacs) -> None:
        nonlocal report_error
        with pytest.raises(AssociationAborted, match="became shorter") as caught:
            async with client:
                await client.store(tmp_path / "in")
        report_error = caught.value

    await play(script, user, timeouts=replace(STEADY, artim=0.1))
    assert report_error is not None


# --- what the peer answers


async def test_an_outcome_for_every_status(tmp_path: Path) -> None:
    good, warned = [0x0000], [0xB000, 0xB006, 0xB007, 0x0001]
    failed = [0xA700, 0xA900, 0xC000, 0x0111, 0x0117, 0x0122, 0x0124]
    statuses = good + failed + warned
    objects(tmp_path / "in", len(statuses))

    async def script(listener: ScriptedListener) -> None:
        peer = await storage(listener)
        for status in statuses:
            await reply(peer, await hear(peer, m.CStoreRQ), status, error_comment=f"c{status:04X}")
        await peer.answer_release()

    report = await play(script, storing(tmp_path / "in"))
    assert [item.status for item in report.items] == statuses
    assert [item.comment for item in report.items] == [f"c{status:04X}" for status in statuses]
    assert [item.status for item in report.warnings] == warned
    assert [item.status for item in report.failed] == failed
    assert [item.ok for item in report.items] == [status == 0 for status in statuses]
    assert not report.ok
    assert report.error is None
    assert "A700H failure: refused: out of resources (cA700)" in str(report.items[1])


@pytest.mark.parametrize("window", [0, 3], ids=["one at a time", "three at once"])
@pytest.mark.parametrize("how", ["abort", "fin", "rst", "silence"])
@on_each_loop
async def test_the_peer_ends_it_after_some_objects(tmp_path: Path, how: str, window: int) -> None:
    """Every object is in the report once: stored, sent and not answered, or not sent."""
    count, answered = 10, 4
    folder = tmp_path / "in"
    objects(folder, count)
    info = UserInformation(maximum_length=16384, async_operations=AsyncOperationsWindow(window, 1))

    async def script(listener: ScriptedListener) -> None:
        peer = await storage(listener, info=info if window else None)
        for number in range(answered):
            heard = await hear(peer, m.CStoreRQ)
            assert heard.message.affected_sop_instance_uid == f"1.2.3.{number}"
            await reply(peer, heard, 0)
        await hear(peer, m.CStoreRQ)
        match how:
            case "abort":
                await peer.send(AAbort(0, 0))
                await peer.drain_until_close()
            case "fin":
                await peer.close()
            case "rst":
                await peer.reset()
            case "silence":
                await peer.drain_until_close()

    kinds = {"abort": AssociationAborted, "silence": InactivityTimeout}
    window_asked = AsyncOperationsWindow(window, 1) if window else None
    timeouts = replace(STEADY, artim=0.1, inactivity=0.2 if how == "silence" else 20)
    report = await play(script, storing(folder), timeouts=timeouts, async_operations=window_asked)
    assert isinstance(report.error, kinds.get(how, ConnectionClosed))
    assert sorted(uids(report.items)) == [str(number) for number in range(count)]
    assert uids(report.stored) == ["0", "1", "2", "3"]
    by_uid = {item.sop_instance_uid.rsplit(".", 1)[1]: item.error or "" for item in report.failed}
    assert by_uid["4"].startswith(("not answered", "not sent whole"))
    assert by_uid["9"].startswith("not sent")
    assert not report.ok


async def test_an_abort_in_the_first_of_two_associations(tmp_path: Path) -> None:
    """The objects of the association that was never opened are in the report too."""
    for number in range(130):
        dataset = ct(f"1.2.3.{number}", SOPClassUID=f"1.2.840.99999.{number}")
        (tmp_path / f"{number:03}.dcm").write_bytes(part10(dataset, IMPLICIT))

    async def script(listener: ScriptedListener) -> None:
        peer = await storage(listener)
        await reply(peer, await hear(peer, m.CStoreRQ), 0)
        await hear(peer, m.CStoreRQ)
        await peer.send(AAbort(0, 0))
        await peer.drain_until_close()

    report = await play(script, storing(tmp_path))
    assert isinstance(report.error, AssociationAborted)
    assert len(report.items) == len(set(uids(report.items))) == 130
    assert len(report.stored) == 1


async def test_an_abort_before_the_first_answer_is_raised(tmp_path: Path) -> None:
    objects(tmp_path / "in", 3)

    async def script(listener: ScriptedListener) -> None:
        peer = await storage(listener)
        await hear(peer, m.CStoreRQ)
        await peer.send(AAbort(0, 0))
        await peer.drain_until_close()

    with pytest.raises(AssociationAborted):
        await play(script, storing(tmp_path / "in"))


async def test_the_total_timeout_in_the_middle(tmp_path: Path) -> None:
    objects(tmp_path / "in", 5)

    async def script(listener: ScriptedListener) -> None:
        peer = await storage(listener)
        for _ in range(2):
            await reply(peer, await hear(peer, m.CStoreRQ), 0)
        await hear(peer, m.CStoreRQ)
        await peer.drain_until_close()

    timeouts = replace(STEADY, total=0.3, cancel=0.1, artim=0.1)
    report = await play(script, storing(tmp_path / "in"), timeouts=timeouts)
    assert isinstance(report.error, TotalTimeout)
    assert uids(report.stored) == ["0", "1"]
    assert sorted(uids(report.items)) == ["0", "1", "2", "3", "4"]
    by_uid = {item.sop_instance_uid: item.error or "" for item in report.failed}
    assert by_uid["1.2.3.2"].startswith("not answered")  # the peer may have it
    assert by_uid["1.2.3.3"].startswith("not sent")


async def test_answers_out_of_order_within_a_window(tmp_path: Path) -> None:
    objects(tmp_path / "in", 6)
    info = UserInformation(maximum_length=16384, async_operations=AsyncOperationsWindow(3, 1))

    async def script(listener: ScriptedListener) -> None:
        peer = await storage(listener, info=info)
        for _ in range(2):
            heard = [await hear(peer, m.CStoreRQ) for _ in range(3)]
            for one in reversed(heard):
                last = int(one.message.affected_sop_instance_uid.rsplit(".", 1)[1])
                await reply(peer, one, 0xC000 + last if last % 2 else 0)
        await peer.answer_release()

    report = await play(script, storing(tmp_path / "in"), async_operations=AsyncOperationsWindow(3, 1))
    assert [item.status for item in report.items] == [0, 0xC001, 0, 0xC003, 0, 0xC005]


async def test_an_answer_in_the_middle_of_the_data_set(tmp_path: Path) -> None:
    """A peer that refuses at once does not wait for the rest; the rest is sent all the same."""
    objects(tmp_path / "in", 2, size=3_000_000)

    async def script(listener: ScriptedListener) -> None:
        peer = await storage(listener)
        for message_id in (1, 2):
            await peer.receive_bytes(6)
            response = m.CStoreRSP(message_id_being_responded_to=message_id, status=0xA700)
            await say(peer, 1, response)
            rest = await _skip_message(peer)
            assert rest > 2_900_000
        await peer.answer_release()

    report = await play(script, storing(tmp_path / "in"))
    assert [item.status for item in report.items] == [0xA700, 0xA700]


async def _skip_message(peer: ScriptedPeer) -> int:
    """Read to the last fragment of a data set, the first PDU's header having been read; bytes read."""
    total = 0
    header = b""
    # the first PDU is the command set: its PDV length says how much is left of it
    pdv = await peer.receive_bytes(6)
    await peer.receive_bytes(int.from_bytes(pdv[:4], "big") - 2)
    while True:
        header = await peer.receive_bytes(12)
        body = await peer.receive_bytes(int.from_bytes(header[2:6], "big") - 6)
        total += len(body)
        if header[11] == 2:
            return total


@on_each_loop
async def test_storing_over_tls(tmp_path: Path, tls_pair: TLSPair) -> None:
    paths = objects(tmp_path / "in", 3, size=300_000)

    async def script(listener: ScriptedListener) -> None:
        peer = await storage(listener)
        for path in paths:
            heard = await hear(peer, m.CStoreRQ)
            assert path.read_bytes().endswith(heard.data or b"?")
            await reply(peer, heard, 0)
        await peer.answer_release()

    report = await play(
        script,
        storing(tmp_path / "in"),
        server_tls=tls_pair.server,
        client_tls=tls_pair.client,
        host="localhost",
    )
    assert report.ok


async def test_cancelled_in_the_middle_of_an_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing_module, "WHOLE_READ", 1000)
    objects(tmp_path / "in", 1, size=30_000_000)
    begun = asyncio.Event()

    async def script(listener: ScriptedListener) -> None:
        peer = await storage(listener)
        await peer.receive_bytes(100_000)
        begun.set()
        rest, _ = await peer.drain_until_close()
        assert rest.endswith(b"\x07\0\0\0\0\x04\0\0\0\0")

    async def user(client: Pacs) -> None:
        task = asyncio.create_task(storing(tmp_path / "in")(client))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    await play(script, user, timeouts=replace(STEADY, artim=0.1))


def test_a_report_says_what_it_is() -> None:
    report = StoreReport()
    assert not report.ok
    item = StoredItem(None, CT, "1.2.3", None, error="why")
    assert str(item) == "1.2.3: why"
    assert not item.stored


@pytest.mark.parametrize("sop_class", sorted(NON_PATIENT))
async def test_what_belongs_to_no_patient_is_refused_in_clear_words(tmp_path: Path, sop_class: str) -> None:
    """PS3.4 GG: the archive keeps a patient's objects; who takes storage of any class takes these."""
    dataset = Dataset()
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = "1.2.3.9"
    async with serve_archive(tmp_path, port=0) as server, connect("127.0.0.1", server.port) as pacs:
        report = await pacs.store(dataset)
    assert not report.ok
    assert "belong to no patient" in str(report.items[0].error)


def test_who_takes_every_storage_class_takes_what_belongs_to_no_patient() -> None:
    assert set(SUPPORTED_STORAGE.syntaxes) >= NON_PATIENT


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.1"])
async def test_a_data_set_that_contradicts_its_transfer_syntax_is_not_sent(syntax: str) -> None:
    """PS3.5 A.4, in memory as in a file."""
    dataset = labelled(ct(size=100), syntax, encapsulated=syntax.endswith(".1"))
    there = Plain()
    async with serve(there, port=0) as server, connect("127.0.0.1", server.port) as pacs:
        report = await pacs.store(dataset)
    assert not there.stored
    assert "the data set contradicts its own encoding" in str(report.items[0].error)


@pytest.mark.parametrize("how", ["half", "empty", "not deflated"])
async def test_a_deflated_file_that_is_not_whole_is_not_sent(tmp_path: Path, how: str) -> None:
    squeezed = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    data = squeezed.compress(encode_dataset(ct(size=5000), EXPLICIT)) + squeezed.flush()
    data = {"half": data[: len(data) // 2], "empty": b"", "not deflated": encode_dataset(ct(), EXPLICIT)}[how]
    meta = encode_file_meta(
        sop_class_uid=CT,
        sop_instance_uid="1.2.3.4",
        transfer_syntax_uid="1.2.840.10008.1.2.1.99",
        implementation_class_uid="1.2.3",
        implementation_version_name="TEST",
    )
    (tmp_path / "a.dcm").write_bytes(meta + data)
    there = Plain()
    async with serve(there, port=0) as server, connect("127.0.0.1", server.port) as pacs:
        report = await pacs.store(tmp_path / "a.dcm")
    assert not there.stored
    assert "deflated" in str(report.items[0].error)


# --- cancelled, or listed in part


async def test_a_store_that_is_cancelled_keeps_its_report(tmp_path: Path) -> None:
    objects(tmp_path / "in", 4)
    stores: list[Store] = []
    tasks: list[asyncio.Task[StoreReport]] = []

    async def script(listener: ScriptedListener) -> None:
        peer = await storage(listener)
        await reply(peer, await hear(peer, m.CStoreRQ), 0)
        await hear(peer, m.CStoreRQ)
        tasks[0].cancel()
        await peer.expect(AAbort)
        await peer.close()

    async def user(client: Pacs) -> None:
        async with client:
            store = client.store(tmp_path / "in")
            stores.append(store)
            tasks.append(asyncio.create_task(store))
            with pytest.raises(asyncio.CancelledError):
                await tasks[0]

    await play(script, user)
    [store] = stores
    assert (store.report.counted, store.report.stored_count) == (4, 1)
    assert not store.report.ok
    assert [one.status for one in store.report.items] == [0, None, None, None]
    assert all(one.error for one in store.report.failed)
    assert "1 of 4 stored" in repr(store)


async def test_a_report_lists_failures_alone_where_told_to(tmp_path: Path) -> None:
    objects(tmp_path / "in", 4)

    async def script(listener: ScriptedListener) -> None:
        peer = await storage(listener)
        for status in (0, 0xA700, 0xB000, 0):
            await reply(peer, await hear(peer, m.CStoreRQ), status)
        await peer.answer_release()

    told: list[Progress] = []
    report = await play(script, storing(tmp_path / "in", items="failed", progress=told.append))
    assert uids(report.items) == ["1", "2"]
    assert (report.counted, report.stored_count, report.warning_count) == (4, 3, 1)
    assert (told[-1].objects, told[-1].failed) == (3, 1)
