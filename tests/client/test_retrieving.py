"""C-GET and C-MOVE as a user: objects into files or data sets, from peers that mean well or do not."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import struct
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiodicom.association.connect import Peer
from aiodicom.association.errors import (
    AssociationAborted,
    ContextNotAccepted,
    InactivityTimeout,
    OperationFailed,
    TotalTimeout,
)
from aiodicom.association.tasks import Job
from aiodicom.association.transport import READ_BUFFER
from aiodicom.client import intake, receiving
from aiodicom.client.connect import connect
from aiodicom.client.getting import add_final
from aiodicom.client.intake import DATASETS_AHEAD
from aiodicom.client.moving import Move
from aiodicom.client.pacs import Pacs
from aiodicom.client.receiving import ASIDE, FileSink
from aiodicom.client.retrieved import RetrieveResult
from aiodicom.dataset.encoding import encode_uids
from aiodicom.dataset.names import file_stem, instance_path
from aiodicom.dimse import messages as m
from aiodicom.dimse.levels import QueryError, Root, find_model, get_model
from aiodicom.pdu import (
    PDV,
    AAbort,
    AAssociateAC,
    AAssociateRQ,
    AReleaseRP,
    AReleaseRQ,
    ConnectionClosed,
    LocalProtocolError,
    PDataTF,
    encode,
)
from aiodicom.server.archive_service import serve_archive
from aiodicom.testing import ScriptedListener, ScriptedPeer, associate_request, message_pdvs
from archive_objects import EXPLICIT, files_below
from conftest import TLSPair
from pydicom import dcmread
from pydicom.dataset import Dataset
from wire import (
    CT,
    FIND,
    IMPLICIT,
    MR,
    PATIENCE,
    PATIENT,
    STEADY,
    VERIFICATION,
    Said,
    accepted,
    ct,
    free_port,
    hear,
    identifier,
    implicit,
    on_each_loop,
    play,
    reply,
    say,
    store_request,
)

QUIET = replace(STEADY, artim=0.1)


class Getter:
    """The peer of one C-GET: its association, the request, and the storage context to send on."""

    def __init__(self, peer: ScriptedPeer, heard: Said, context_id: int) -> None:
        self.peer = peer
        self.heard = heard
        self.context_id = context_id
        self.message_id = 0
        self.cancelled = 0

    async def heard_cancel(self) -> None:
        """The C-CANCEL of the C-GET, if it has not come yet."""
        if not self.cancelled:
            await hear(self.peer, m.CCancelRQ)
            self.cancelled += 1

    async def send(self, uid: str, data: bytes | None = None, *, sop_class: str = CT) -> None:
        """A C-STORE-RQ, not waiting for its answer."""
        self.message_id += 1
        request = store_request(self.message_id, uid, sop_class)
        await say(self.peer, self.context_id, request, implicit(ct(uid)) if data is None else data)

    async def store(self, uid: str, data: bytes | None = None, *, sop_class: str = CT) -> int:
        """A C-STORE and its status."""
        await self.send(uid, data, sop_class=sop_class)
        answer = await hear(self.peer)
        if isinstance(answer.message, m.CCancelRQ):
            assert answer.message.message_id_being_responded_to == self.heard.message.message_id
            self.cancelled += 1
            answer = await hear(self.peer)
        assert isinstance(answer.message, m.CStoreRSP)
        assert answer.message.message_id_being_responded_to == self.message_id
        return int(answer.message.status)

    async def final(self, status: int = 0, data: Dataset | None = None, **counters: int) -> None:
        await reply(self.peer, self.heard, status, data, **counters)


async def planning(peer: ScriptedPeer, uids: Sequence[str], *, sop_class: str = CT) -> None:
    """Answer the C-FIND by which the client finds out what will come."""
    heard = await hear(peer, m.CFindRQ)
    for uid in uids:
        found = identifier("IMAGE", SOPInstanceUID=uid, SOPClassUID=sop_class)
        for key in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID"):
            if heard.dataset.get(key):  # a key that was asked by is shown
                setattr(found, key, heard.dataset[key].value)
        await reply(peer, heard, 0xFF00, found)
    await reply(peer, heard, 0)


async def getting(listener: ScriptedListener, uids: Sequence[str] = ("1.2.3.1",)) -> Getter:
    """Play up to the C-GET request."""
    first, _ = await accepted(listener)
    await planning(first, uids)
    await first.answer_release()
    peer, request = await accepted(listener)
    assert any(r.sop_class_uid == CT and r.scp_role for r in request.user_information.roles)
    return await getter(peer, request)


async def getter(peer: ScriptedPeer, request: AAssociateRQ) -> Getter:
    """Hear the C-GET request; objects go by the context that takes CT in the default syntax."""
    [context_id] = [
        c.context_id
        for c in request.presentation_contexts
        if c.abstract_syntax == CT and c.transfer_syntaxes[0] == IMPLICIT
    ]
    return Getter(peer, await hear(peer, m.CGetRQ), context_id)


def getting_into(folder: Path, **how: Any) -> Callable[[Pacs], Awaitable[RetrieveResult]]:
    async def user(client: Pacs) -> RetrieveResult:
        async with client:
            return await client.get("SERIES", "1.2.3.1", directory=folder, **how)

    return user


# --- into files


DURABILITIES = pytest.mark.parametrize("durability", ["fsync", "rename", "none"])


@DURABILITIES
@on_each_loop
async def test_objects_into_files_as_they_were_sent(tmp_path: Path, durability: str) -> None:
    uids = ["1.2.3.1", "1.2.3.2"]
    data = {uid: implicit(ct(uid, size=40000)) for uid in uids}

    async def script(listener: ScriptedListener) -> None:
        get = await getting(listener, uids)
        assert get.heard.dataset.SeriesInstanceUID == "1.2.3.1"
        assert get.heard.dataset.QueryRetrieveLevel == "SERIES"
        for uid in uids:
            assert await get.store(uid, data[uid]) == 0
            await reply(get.peer, get.heard, 0xFF00, remaining=1, completed=1, failed=0, warning=0)
        await get.final(completed=2, failed=0, warning=0)
        await get.peer.answer_release()

    result = await play(script, getting_into(tmp_path, durability=durability))
    assert result.ok
    assert result.expected == uids
    assert [item.sop_instance_uid for item in result.items] == uids
    for uid, path in zip(uids, result.files, strict=True):
        assert path.read_bytes().endswith(data[uid])
        assert path.read_bytes()[:128] == bytes(128)
        assert path.name == f"{uid}.dcm"
        assert dcmread(path).PatientName == PATIENT
    assert len(files_below(tmp_path)) == 2


async def test_a_full_disk_answers_a700_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = os.write
    full = False

    def write(descriptor: int, data: Any) -> int:
        if full and len(data) > 1000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)

    async def script(listener: ScriptedListener) -> None:
        nonlocal full
        get = await getting(listener, ["1.2.3.1", "1.2.3.2", "1.2.3.3"])
        assert await get.store("1.2.3.1") == 0
        full = True
        assert await get.store("1.2.3.2", implicit(ct("1.2.3.2", size=100_000))) == 0xA700
        await get.heard_cancel()  # what is still to come could not be kept either
        full = False
        assert await get.store("1.2.3.3") == 0  # it was on its way
        assert get.cancelled == 1
        failed = Dataset()
        failed.FailedSOPInstanceUIDList = ["1.2.3.2"]
        await get.final(0xFE00, failed, completed=2, failed=1, warning=0)
        await get.peer.answer_release()

    result = await play(script, getting_into(tmp_path))
    assert not result.ok
    assert [item.status for item in result.items] == [0, 0xA700, 0]
    assert "No space left" in (result.items[1].comment or "")
    assert (result.completed, result.failed) == (2, 1)
    assert result.failed_uids == ["1.2.3.2"]
    assert result.missing == ["1.2.3.2"]
    assert sorted(path.name for path in result.files) == ["1.2.3.1.dcm", "1.2.3.3.dcm"]
    assert len(files_below(tmp_path)) == 2
    assert PATIENT not in caplog.text


def test_a_failed_list_too_long_for_explicit_vr() -> None:
    """PS3.5 6.2.2: over 64 KiB it comes as UN."""
    uids = [f"1.2.826.0.1.3680043.9.7433.{number:05}".replace(".0", ".9") for number in range(3000)]
    raw = "\\".join(uids).encode()
    raw += bytes(len(raw) % 2)
    data = struct.pack("<HH2sHL", 0x0008, 0x0058, b"UN", 0, len(raw)) + raw
    result = RetrieveResult("C-GET")
    add_final(result, m.CGetRSP(message_id_being_responded_to=1, status=0xA702), data, "1.2.840.10008.1.2.1")
    assert result.failed_uids == uids


@pytest.mark.parametrize("where", ["link", "replace", "mkdir", "open"])
async def test_a_disk_that_fails_elsewhere(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: Any, **how: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder = tmp_path / "out"

    async def script(listener: ScriptedListener) -> None:
        get = await getting(listener)
        with monkeypatch.context() as patch:
            patch.setattr(os, where, fails)
            if where in ("link", "replace"):  # each stands in for the other
                patch.setattr(os, "link", fails)
                patch.setattr(os, "replace", fails)
            assert await get.store("1.2.3.1") == 0xA700
        await get.heard_cancel()
        await get.final(0xA702, completed=0, failed=1, warning=0)
        await get.peer.answer_release()

    result = await play(script, getting_into(folder))
    assert not result.ok
    assert result.status == 0xA702
    assert [item.status for item in result.items] == [0xA700]
    assert files_below(folder) == []


@DURABILITIES
async def test_the_same_object_twice(tmp_path: Path, durability: str) -> None:
    """Kept once when it is the same, beside the other when it is not; nothing is overwritten."""
    first = implicit(ct("1.2.3.1", size=40000))
    other = implicit(ct("1.2.3.1", size=40000, PatientID="P1", StudyDescription="other"))

    async def script(listener: ScriptedListener) -> None:
        get = await getting(listener)
        for data in (first, first, other, other):
            assert await get.store("1.2.3.1", data) == 0
        await get.final(completed=4, failed=0, warning=0)
        await get.peer.answer_release()

    result = await play(script, getting_into(tmp_path, durability=durability))
    assert result.ok
    paths = [path.name for path in result.files]
    assert paths == ["1.2.3.1.dcm", "1.2.3.1.dcm", "1.2.3.1~2.dcm", "1.2.3.1~2.dcm"]
    assert len(files_below(tmp_path)) == 2
    assert result.files[2].read_bytes().endswith(other)
    assert result.files[0].read_bytes().endswith(first)


async def test_a_rename_waits_for_no_thread(tmp_path: Path) -> None:
    free = threading.Event()
    pool = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(pool)

    async def script(listener: ScriptedListener) -> None:
        get = await getting(listener)
        pool.submit(free.wait)
        data = implicit(ct("1.2.3.1", size=40000))
        assert await get.store("1.2.3.1", data) == 0
        await get.send("1.2.3.1", data)  # one that must be compared with it does
        free.set()
        assert (await hear(get.peer, m.CStoreRSP)).message.status == 0
        await get.final(completed=2, failed=0, warning=0)
        await get.peer.answer_release()

    try:
        result = await play(script, getting_into(tmp_path, durability="rename"))
    finally:
        free.set()
    assert result.ok
    assert len(files_below(tmp_path)) == 1


@pytest.mark.parametrize(
    "uid",
    [
        "1.2\\3",
        "1.2\x003",
        "1.2\n3",
        "../*",
        "1.2.3.\xe9",
    ],
    ids=lambda uid: ascii(uid)[:20],
)
async def test_a_uid_that_is_none_never_becomes_a_path(tmp_path: Path, uid: str) -> None:
    folder = tmp_path / "a" / "out"
    folder.mkdir(parents=True)
    raw = uid.encode("latin-1")

    async def script(listener: ScriptedListener) -> None:
        get = await getting(listener)
        command = m.encode_message(store_request(1, "9" * len(raw)))
        await get.peer.send_message(
            get.context_id, command.replace(b"9" * len(raw), raw), implicit(ct("1.2.3.1"))
        )
        assert (await hear(get.peer, m.CStoreRSP)).message.status == 0x0117
        get.message_id = 1
        assert await get.store("1.2.3.1") == 0  # the association goes on
        await get.final(0xB000, completed=1, failed=1, warning=0)
        await get.peer.answer_release()

    result = await play(script, getting_into(folder))
    assert [path.name for path in result.files] == ["1.2.3.1.dcm"]
    assert not result.ok
    assert [item.status for item in result.items] == [0x0117, 0]
    assert len(files_below(tmp_path)) == 1


async def test_an_object_in_doubt_is_kept_and_said(tmp_path: Path) -> None:
    """A delimiter that ends nothing: every element is there, and the archive has no better copy."""
    data = implicit(ct("1.2.3.1")) + b"\xfe\xff\x0d\xe0\0\0\0\0"

    async def script(listener: ScriptedListener) -> None:
        get = await getting(listener)
        await get.peer.send_message(get.context_id, m.encode_message(store_request(1, "1.2.3.1")), data)
        assert (await hear(get.peer, m.CStoreRSP)).message.status == 0
        await get.final(0, completed=1, failed=0, warning=0)
        await get.peer.answer_release()

    result = await play(script, getting_into(tmp_path))
    assert result.ok
    [item] = result.items
    assert item.comment.startswith("encoding in doubt: offset")
    [kept] = result.files
    assert kept.read_bytes().endswith(data)


@pytest.mark.filterwarnings("ignore:.* for VR UI:UserWarning")
@pytest.mark.parametrize(
    "uid",
    [
        *("LOCALIZER2.16.124.1", "CON", "1..2", "1" * 70, "1.2.abc"),
        *("a/../b", "../../../../tmp/x", "/etc/passwd", "..", ".", "1.2 3", "$(touch x)"),
    ],
)
async def test_an_object_of_an_odd_uid_is_kept_under_a_hash(tmp_path: Path, uid: str) -> None:
    """PS3.5 9.1 binds who makes UIDs; a retrieve that refused it would lose the object."""

    async def script(listener: ScriptedListener) -> None:
        get = await getting(listener)
        raw = uid.encode("ascii") + b"\0" * (len(uid) % 2)
        command = m.encode_message(store_request(1, "9" * len(raw)))
        data = implicit(ct(uid))
        await get.peer.send_message(get.context_id, command.replace(b"9" * len(raw), raw), data)
        assert (await hear(get.peer, m.CStoreRSP)).message.status == 0
        await get.final(0, completed=1, failed=0, warning=0)
        await get.peer.answer_release()

    result = await play(script, getting_into(tmp_path))
    assert [item.sop_instance_uid for item in result.items] == [uid]
    [kept] = result.files
    assert kept.stem == file_stem(uid)
    assert [item.to_dict()["hashed"] for item in result.items] == [True]
    assert files_below(tmp_path) == [kept.relative_to(tmp_path).as_posix()]


@pytest.mark.parametrize(
    "hostile",
    ["../../x", "/abs", "a\0b", "x" * 300, "..", "$(x)", "\u2603"],
    ids=lambda text: ascii(text)[:20],
)
async def test_hostile_values_stay_below_the_folder(tmp_path: Path, hostile: str) -> None:
    folder = tmp_path / "a" / "out"
    values = {0x00080016: CT.encode(), 0x00080018: b"1.2.3.1"}
    for tag in (0x00080020, 0x00080060, 0x0008103E, 0x00100020, 0x0020000D, 0x0020000E, 0x00200011):
        values[tag] = hostile.encode()
    data = b""
    for tag, raw in sorted(values.items()):
        raw += b"\0" * (len(raw) % 2)
        data += struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(raw)) + raw

    async def script(listener: ScriptedListener) -> None:
        get = await getting(listener)
        assert await get.store("1.2.3.1", data) == 0
        await get.final(completed=1, failed=0, warning=0)
        await get.peer.answer_release()

    result = await play(script, getting_into(folder))
    [path] = result.files
    assert path.resolve().is_relative_to(folder.resolve())
    assert len(files_below(tmp_path)) == 1
    assert all(part not in ("..", ".") and len(part) < 200 for part in path.relative_to(folder).parts)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (implicit(ct("1.2.9.9")), 0xA900),  # another UID than the command's
        (implicit(ct("1.2.3.1", size=1000))[:-100], 0xC000),  # cut
        (b"\xff" * 100, 0xC000),
        (implicit(ct("1.2.3.1")) + b"\x10", 0xC000),
        (b"", 0xC000),
    ],
    ids=["other uid", "cut", "garbage", "a byte more", "empty"],
)
async def test_a_data_set_that_will_not_do(tmp_path: Path, data: bytes, status: int) -> None:
    async def script(listener: ScriptedListener) -> None:
        get = await getting(listener)
        assert await get.store("1.2.3.1", data) == status
        await get.final(0xA702, completed=0, failed=1, warning=0)
        await get.peer.answer_release()

    result = await play(script, getting_into(tmp_path))
    assert not result.ok
    assert [item.status for item in result.items] == [status]
    assert files_below(tmp_path) == []


BROKEN = b"\x08\0\x32\x10\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff"
"""A sequence that never ends."""


async def test_deep_sequences_are_refused_and_do_no_harm(tmp_path: Path) -> None:
    nested = b"\x08\0\x40\x11\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff" * 20000

    async def script(listener: ScriptedListener) -> None:
        get = await getting(listener)
        assert await get.store("1.2.3.1", implicit(ct("1.2.3.1"))[:150] + nested) == 0xC000
        await get.final(0xA702, completed=0, failed=1, warning=0)
        await get.peer.answer_release()

    result = await play(script, getting_into(tmp_path))
    assert files_below(tmp_path) == []
    assert not result.ok


# --- the end comes early


@pytest.mark.parametrize("how", ["abort", "fin", "rst", "silence"])
@pytest.mark.parametrize("where", ["between objects", "in a command", "in a data set", "before the last"])
@on_each_loop
async def test_the_peer_goes_in_the_middle(tmp_path: Path, how: str, where: str) -> None:
    """What is whole stays; of what was not there is no trace."""
    large = implicit(ct("1.2.3.2", size=100_000))

    async def script(listener: ScriptedListener) -> None:
        get = await getting(listener, ["1.2.3.1", "1.2.3.2"])
        assert await get.store("1.2.3.1") == 0
        command = m.encode_message(store_request(2, "1.2.3.2"))
        pdvs = message_pdvs(get.context_id, command, large, fragment=10000)
        raw = b"".join(encode(PDataTF((pdv,))) for pdv in pdvs)
        sizes = {"between objects": 0, "in a command": 40, "in a data set": 60_001}
        await get.peer.send(raw[: sizes.get(where, len(raw) - 1)])
        match how:
            case "abort" if where in ("between objects",):
                await get.peer.send(AAbort(0, 0))
                await get.peer.drain_until_close()
            case "abort" | "fin":
                await get.peer.close()
            case "rst":
                await get.peer.reset()
            case "silence":
                await get.peer.drain_until_close()

    timeouts = replace(QUIET, inactivity=0.2 if how == "silence" else 20)
    result = await play(script, getting_into(tmp_path), timeouts=timeouts)
    kinds: tuple[type[Exception], ...] = (AssociationAborted, ConnectionClosed)
    assert isinstance(result.error, InactivityTimeout if how == "silence" else kinds)
    assert [path.name for path in result.files] == ["1.2.3.1.dcm"]
    assert len(files_below(tmp_path)) == 1
    assert result.missing == ["1.2.3.2"]
    assert not result.ok


@on_each_loop
async def test_the_peer_goes_right_behind_an_object(tmp_path: Path) -> None:
    """Whole and A-ABORT in one read: the task that commits it is cancelled before its first step."""

    async def script(listener: ScriptedListener) -> None:
        get = await getting(listener)
        command = m.encode_message(store_request(1, "1.2.3.1"))
        pdvs = message_pdvs(get.context_id, command, implicit(ct("1.2.3.1")), fragment=10000)
        await get.peer.send(*(PDataTF((pdv,)) for pdv in pdvs), AAbort(0, 0))
        await get.peer.drain_until_close()

    with pytest.raises(AssociationAborted):
        await play(script, getting_into(tmp_path))
    assert files_below(tmp_path) == []


async def test_a_commit_that_never_got_its_thread_leaves_nothing(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    free = threading.Event()
    queued = asyncio.Event()
    keys = {"study_date": "20240131", "modality": "CT", "patient_id": "P1"}
    taken = tmp_path / instance_path(
        study_uid="1.2.3", series_uid="1.2.3.1", sop_instance_uid="1.2.3.1", **keys
    )
    taken.parent.mkdir(parents=True)
    taken.write_bytes(b"another")  # which has to be compared with what comes: that takes a thread

    class Pool(ThreadPoolExecutor):
        """Has one thread, kept busy; tells when a commit waits for it."""

        def submit(self, work: Any, /, *args: Any, **kwargs: Any) -> Any:
            job = getattr(work, "__self__", None)
            if isinstance(job, Job) and isinstance(getattr(job._work, "__self__", None), FileSink):
                queued.set()
            return super().submit(work, *args, **kwargs)

    pool = Pool(1)
    loop.set_default_executor(pool)

    async def script(listener: ScriptedListener) -> None:
        get = await getting(listener)
        pool.submit(free.wait)
        await get.send("1.2.3.1")
        await queued.wait()
        assert len(files_below(tmp_path)) == 2
        await get.peer.send(AAbort(0, 0))
        await get.peer.drain_until_close()

    try:
        with pytest.raises(AssociationAborted):
            await play(script, getting_into(tmp_path))
        assert [tmp_path / name for name in files_below(tmp_path)] == [taken]
    finally:
        free.set()


@on_each_loop
async def test_the_total_timeout_cancels_and_keeps_what_came(tmp_path: Path) -> None:
    async def script(listener: ScriptedListener) -> None:
        get = await getting(listener, ["1.2.3.1", "1.2.3.2"])
        assert await get.store("1.2.3.1") == 0
        cancel = await hear(get.peer, m.CCancelRQ)
        assert cancel.message.message_id_being_responded_to == get.heard.message.message_id
        await get.final(0xFE00, remaining=1, completed=1, failed=0, warning=0)
        await get.peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            with pytest.raises(TotalTimeout):
                await client.get("SERIES", "1.2.3.1", directory=tmp_path)

    await play(script, user, timeouts=replace(STEADY, total=0.5))
    assert len(files_below(tmp_path)) == 1


async def test_cancelled_in_the_middle_of_an_object(tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def script(listener: ScriptedListener) -> None:
        get = await getting(listener)
        data = implicit(ct("1.2.3.1", size=50_000))
        command = m.encode_message(store_request(1, "1.2.3.1"))
        pdvs = message_pdvs(get.context_id, command, data, fragment=10000)
        await get.peer.send(*(PDataTF((pdv,)) for pdv in pdvs[:3]))
        begun.set()
        await hear(get.peer, m.CCancelRQ)
        await get.peer.send(*(PDataTF((pdv,)) for pdv in pdvs[3:]))
        await hear(get.peer, m.CStoreRSP)
        await get.final(0xFE00, remaining=3, completed=1, failed=0, warning=0)
        await get.peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            task = asyncio.ensure_future(_await(client.get("SERIES", "1.2.3.1", directory=tmp_path)))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    await play(script, user)
    assert not [name for name in files_below(tmp_path) if not name.endswith(".dcm")]


async def _await(something: Awaitable[Any]) -> Any:
    return await something


# --- what the peer sends that was not asked for


async def test_an_object_after_the_end_of_the_get_is_not_kept(tmp_path: Path) -> None:
    """The get's association is released at its end; what comes before the answer is let pass."""

    async def script(listener: ScriptedListener) -> None:
        get = await getting(listener)
        assert await get.store("1.2.3.1") == 0
        await get.final(completed=1, failed=0, warning=0)
        await get.peer.expect(AReleaseRQ)
        await get.send("1.2.3.2")
        await get.peer.send(AReleaseRP())
        await get.peer.expect_close()

    async def user(client: Pacs) -> None:
        async with client:
            result = await client.get("SERIES", "1.2.3.1", directory=tmp_path)
            assert result.ok
            assert len(result.items) == 1

    await play(script, user)
    assert [Path(name).name for name in files_below(tmp_path)] == ["1.2.3.1.dcm"]


async def test_an_object_on_an_association_that_asked_for_none() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        heard = await hear(peer, m.CEchoRQ)
        await say(peer, 1, store_request(1, sop_class=VERIFICATION), implicit(ct()))
        assert (await hear(peer, m.CStoreRSP)).message.status == 0x0122
        await reply(peer, heard, 0)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            await client.echo()

    await play(script, user)


async def test_an_object_of_another_class_than_its_context(tmp_path: Path) -> None:
    async def script(listener: ScriptedListener) -> None:
        get = await getting(listener)
        assert await get.store("1.2.3.1", sop_class=MR) == 0x0122
        await get.final(0xA702, completed=0, failed=1, warning=0)
        await get.peer.answer_release()

    result = await play(script, getting_into(tmp_path))
    assert not result.ok
    assert files_below(tmp_path) == []


async def test_an_object_on_a_context_that_was_not_accepted(tmp_path: Path) -> None:
    async def script(listener: ScriptedListener) -> None:
        get = await getting(listener)
        get.context_id = 201
        await get.send("1.2.3.1")
        assert await get.peer.expect(AAbort) == AAbort(2, 6)
        await get.peer.close()

    with pytest.raises(AssociationAborted, match="context 201"):
        await play(script, getting_into(tmp_path))
    assert files_below(tmp_path) == []


async def test_two_objects_interleaved(tmp_path: Path) -> None:
    """A second command set in the middle of a data set is no way to send two at once."""

    async def script(listener: ScriptedListener) -> None:
        get = await getting(listener)
        first = message_pdvs(
            get.context_id,
            m.encode_message(store_request(1, "1.2.3.1")),
            implicit(ct(size=999)),
            fragment=200,
        )
        await get.peer.send(PDataTF(tuple(first[:2])))
        await get.peer.send(
            PDataTF((PDV(get.context_id, True, True, m.encode_message(store_request(2, "1.2.3.2"))),))
        )
        assert await get.peer.expect(AAbort) == AAbort(2, 6)
        await get.peer.close()

    with pytest.raises(AssociationAborted, match="command"):
        await play(script, getting_into(tmp_path))
    assert files_below(tmp_path) == []


# --- statuses


@pytest.mark.parametrize(
    ("status", "counters"),
    [
        (0xA701, {}),
        (0xA702, {"failed": 1}),
        (0xA900, {}),
        (0xC000, {}),
        (0x0122, {}),
        (0xFE00, {"remaining": 1}),
        (0xB000, {"failed": 1, "completed": 0}),
        (0xB000, {"warning": 1, "completed": 0}),
        (0x0000, {}),  # success, and nothing came of what was expected
    ],
    ids=str,
)
async def test_a_get_that_is_no_success(tmp_path: Path, status: int, counters: dict[str, int]) -> None:
    async def script(listener: ScriptedListener) -> None:
        get = await getting(listener)
        await get.final(status, error_comment="why", **counters)  # type: ignore[arg-type]
        await get.peer.answer_release()

    result = await play(script, getting_into(tmp_path))
    assert result.status == status
    assert result.comment == "why"
    assert not result.ok
    assert result.missing == ["1.2.3.1"]


async def test_a_peer_without_c_get(tmp_path: Path) -> None:
    async def script(listener: ScriptedListener) -> None:
        from wire import GET, accept_as

        answer = accept_as(IMPLICIT, refuse=[GET, get_model(Root.STUDY)])
        first, _ = await accepted(listener, answer=answer)
        await planning(first, ["1.2.3.1"])
        await first.answer_release()
        peer, _ = await accepted(listener, answer=answer)
        await peer.answer_release()

    with pytest.raises(ContextNotAccepted, match=r"GET.*abstract syntax not supported"):
        await play(script, getting_into(tmp_path))


async def test_a_peer_without_c_find_is_asked_all_the_same(tmp_path: Path) -> None:
    async def script(listener: ScriptedListener) -> None:
        from wire import accept_as

        answer = accept_as(IMPLICIT, refuse=[FIND, find_model(Root.STUDY)])
        first, _ = await accepted(listener, answer=answer)
        await first.answer_release()
        peer, request = await accepted(listener, answer=answer)
        assert len(request.presentation_contexts) == 128
        get = await getter(peer, request)
        assert await get.store("1.2.3.1") == 0
        await get.final(completed=1, failed=0, warning=0)
        await peer.answer_release()

    result = await play(script, getting_into(tmp_path))
    assert result.ok
    assert result.expected is None


# --- as data sets


@on_each_loop
async def test_data_sets_one_by_one() -> None:
    uids = [f"1.2.3.{number}" for number in range(20)]

    async def script(listener: ScriptedListener) -> None:
        get = await getting(listener, uids)
        for uid in uids:
            assert await get.store(uid) == 0
        await get.final(completed=20, failed=0, warning=0)
        await get.peer.answer_release()

    async def user(client: Pacs) -> list[str]:
        async with client:
            found = [one async for one in client.get("SERIES", "1.2.3.1")]
            assert all(one.file_meta.TransferSyntaxUID == IMPLICIT for one in found)
            return [str(one.SOPInstanceUID) for one in found]

    assert await play(script, user) == uids


@pytest.mark.parametrize("taken", [1, DATASETS_AHEAD - 1, DATASETS_AHEAD + 3])
@pytest.mark.parametrize("ahead", [0, DATASETS_AHEAD, 3 * DATASETS_AHEAD])
@on_each_loop
async def test_leaving_early_cancels_and_leaves_the_client_usable(taken: int, ahead: int) -> None:
    """However many objects wait to be taken, and however many still come."""
    left = asyncio.Event()
    echoed: list[int] = []

    async def script(listener: ScriptedListener) -> None:
        get = await getting(listener, ["1.2.3.1"])
        for number in range(taken + ahead):
            await get.send(f"1.2.3.{number}")
        await left.wait()
        answers = 0
        while True:
            heard = await hear(get.peer)
            if isinstance(heard.message, m.CCancelRQ):
                break
            answers += 1
        for number in range(3):  # they were on their way
            await get.send(f"1.2.4.{number}")
        for _ in range(taken + ahead + 3 - answers):
            await hear(get.peer, m.CStoreRSP)
        await get.final(0xFE00, remaining=5, completed=taken + ahead + 3, failed=0, warning=0)
        await get.peer.answer_release()
        peer, _ = await accepted(listener)
        await reply(peer, await hear(peer, m.CEchoRQ), 0)
        echoed.append(answers)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            async with aclosing(aiter(client.get("SERIES", "1.2.3.1"))) as found:  # type: ignore[type-var]
                for _ in range(taken):
                    await anext(found)
                left.set()
            await client.echo()

    await play(script, user, timeouts=replace(STEADY, cancel=8))
    assert len(echoed) == 1
    assert echoed[0] >= taken


@on_each_loop
async def test_a_slow_taker_holds_the_peer() -> None:
    async def script(listener: ScriptedListener) -> None:
        get = await getting(listener)
        for number in range(DATASETS_AHEAD + 1):
            assert await get.store(f"1.2.3.{number}") == 0
        await get.send("1.2.4.1")  # not read until something has been taken
        go.set()
        assert (await hear(get.peer, m.CStoreRSP)).message.status == 0
        await get.final(completed=DATASETS_AHEAD + 2, failed=0, warning=0)
        await get.peer.answer_release()

    go = asyncio.Event()

    async def user(client: Pacs) -> int:
        async with client:
            count = 0
            async for _ in client.get("SERIES", "1.2.3.1"):
                count += 1
                if count == 1:
                    await go.wait()
                    assert client._associations.all[0].connection.reading.held
            return count

    assert await play(script, user) == DATASETS_AHEAD + 2


@pytest.mark.parametrize("status", [0xA702, 0xC000, 0xB000])
async def test_iterating_raises_a_failure_after_what_came(status: int) -> None:
    async def script(listener: ScriptedListener) -> None:
        get = await getting(listener, ["1.2.3.1", "1.2.3.2"])
        assert await get.store("1.2.3.1") == 0
        assert await get.store("1.2.3.2", BROKEN) == 0xC000
        await get.final(status, completed=1, failed=1, warning=0)
        await get.peer.answer_release()

    async def user(client: Pacs) -> None:
        got = []
        async with client:
            with pytest.raises(OperationFailed, match=f"{status:04X}H"):
                async for one in client.get("SERIES", "1.2.3.1"):
                    got.append(one)
        assert len(got) == 1

    await play(script, user)


async def test_iterating_raises_what_ended_the_association() -> None:
    async def script(listener: ScriptedListener) -> None:
        get = await getting(listener)
        assert await get.store("1.2.3.1") == 0
        await get.peer.send(AAbort(0, 0))
        await get.peer.drain_until_close()

    async def user(client: Pacs) -> None:
        got = []
        with pytest.raises(AssociationAborted):
            async with client:
                async for one in client.get("SERIES", "1.2.3.1"):
                    got.append(one)
        assert len(got) == 1

    await play(script, user)


# --- C-MOVE


async def moving_script(
    listener: ScriptedListener, finish: Callable[[ScriptedPeer, Said], Awaitable[None]]
) -> None:
    peer, _ = await accepted(listener)
    await planning(peer, ["1.2.3.1"])
    heard = await hear(peer, m.CMoveRQ)
    assert heard.message.move_destination == "ELSEWHERE"
    await finish(peer, heard)
    await peer.answer_release()


def moving_user(**how: Any) -> Callable[[Pacs], Awaitable[RetrieveResult]]:
    async def user(client: Pacs) -> RetrieveResult:
        async with client:
            return await client.move("STUDY", "1.2.3", destination="ELSEWHERE", **how)

    return user


async def test_a_move_reports_what_the_peer_reported() -> None:
    told = []

    async def finish(peer: ScriptedPeer, heard: Said) -> None:
        await reply(peer, heard, 0xFF00, remaining=2, completed=1, failed=0, warning=0)
        failed = Dataset()
        failed.FailedSOPInstanceUIDList = ["1.2.3.8", "1.2.3.9"]
        await reply(peer, heard, 0xB000, failed, completed=1, failed=2, warning=0)

    result = await play(
        lambda listener: moving_script(listener, finish), moving_user(progress=lambda one: told.append(one))
    )
    assert (result.status, result.completed, result.failed) == (0xB000, 1, 2)
    assert result.failed_uids == ["1.2.3.8", "1.2.3.9"]
    assert not result.ok
    assert (told[0].objects, told[0].objects_total) == (1, 3)


def strayed_list(uids: list[str]) -> bytes:
    """What Orthanc sends in the command set of a response: (0008,0058), with no data set behind."""
    value = "\\".join(uids).encode()
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHL", 0x0008, 0x0058, len(value)) + value


@pytest.mark.parametrize(
    "lists", [[["1.2.3.8", "1.2.3.9"]], [["1.2.3.8"], ["1.2.3.9"]], [["1.2.3.8"], [], ["1.2.3.9"]]]
)
async def test_a_failed_list_inside_the_command_set_is_taken_and_what_follows_is_read(
    lists: list[list[str]],
) -> None:
    """However often it stands there."""

    async def finish(peer: ScriptedPeer, heard: Said) -> None:
        for status, counters in ((0xFF00, {"remaining": 1}), (0xB000, {})):
            fields = {"completed": 1, "failed": 2, "warning": 0, **counters}
            response = m.make_response(heard.message, status, **fields)
            raw = m.encode_message(response) + b"".join(map(strayed_list, lists))
            await peer.send_message(heard.context_id, raw, None)

    result = await play(lambda listener: moving_script(listener, finish), moving_user())
    assert (result.status, result.completed, result.failed) == (0xB000, 1, 2)
    assert result.failed_uids == ["1.2.3.8", "1.2.3.9"]
    assert result.error is None


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
@pytest.mark.parametrize("count", [0, 1, 2, 10_000])
def test_a_failed_list_of_any_length_is_read(syntax: str, count: int) -> None:
    """In explicit VR one of 64 kB comes as UN."""
    uids = [f"1.2.840.{number}" for number in range(count)]
    result = RetrieveResult()
    response = m.CGetRSP(message_id_being_responded_to=1, status=0xB000, failed=count)
    add_final(result, response, encode_uids(0x00080058, uids, syntax), syntax)
    assert result.failed_uids == uids


@pytest.mark.parametrize("status", [0xA801, 0xA702, 0xA900, 0xFE00, 0x0000])
async def test_the_final_status_of_a_move(status: int) -> None:
    async def finish(peer: ScriptedPeer, heard: Said) -> None:
        await reply(peer, heard, status, **({"completed": 1, "failed": 0} if not status else {}))

    result = await play(lambda listener: moving_script(listener, finish), moving_user())
    assert result.status == status
    assert result.ok == (status == 0)


async def test_a_failed_list_that_cannot_be_read() -> None:
    async def finish(peer: ScriptedPeer, heard: Said) -> None:
        await reply(peer, heard, 0xB000, BROKEN, completed=0, failed=2)

    result = await play(lambda listener: moving_script(listener, finish), moving_user())
    assert result.failed_uids == []
    assert result.failed == 2


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # a value that must not be, on purpose
async def test_a_move_to_this_process_takes_only_what_belongs_to_it(tmp_path: Path) -> None:
    """What is not of the plan and nobody's is refused and named, what says that it is ours is judged by its
    keys; what comes after the final response is awaited.
    """
    port: list[int] = []

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await planning(peer, ["1.2.3.1", "1.2.3.2"])
        heard = await hear(peer, m.CMoveRQ)
        assert heard.message.move_destination == "AIODICOM"
        async with await ScriptedPeer.connect("127.0.0.1", port[0]) as sender:
            await sender.associate([CT], called_ae="AIODICOM", calling_ae="THEM")

            async def store(
                number: int, uid: str, ae: str | None, message_id: int | None, study: str = "1.2.3"
            ) -> int:
                request = store_request(
                    number, uid, move_originator_ae=ae, move_originator_message_id=message_id
                )
                await say(sender, 1, request, implicit(ct(uid, StudyInstanceUID=study)))
                return int((await hear(sender, m.CStoreRSP)).message.status)

            mine = heard.message.message_id
            assert await store(1, "1.2.3.9", "AIODICOM", mine + 1) == 0x0124  # of another move
            assert await store(2, "1.2.3.9", None, None) == 0x0124
            assert await store(3, "../../1.2.*", None, None) == 0x0124
            assert await store(6, "1.2.4.1", "AIODICOM", mine, "1.2.4") == 0  # of another study
            assert await store(7, "1.2.3.3", "AIODICOM", mine) == 0  # the list did not name it
            assert await store(4, "1.2.3.1", "SOMEBODY", mine + 7) == 0  # it is of the plan, whatever it says
            await reply(peer, heard, 0, completed=4, failed=0, warning=0)
            assert await store(5, "1.2.3.2", None, None) == 0
            await sender.release()
        await peer.answer_release()

    async def user(client: Pacs) -> RetrieveResult:
        port.append(free_port())
        async with Pacs(client.peer) as pacs:
            return await pacs.move(
                "STUDY", "1.2.3", directory=tmp_path, listen_host="127.0.0.1", listen_port=port[0], quiet=10
            )

    result = await play(script, user)
    assert all(item.ok for item in result.items)
    assert result.turned_away == ["1.2.3.9", "../../1.2.*"]
    assert result.to_dict()["turned_away"] == result.turned_away
    assert result.ok
    assert not result.missing
    assert sorted(path.name for path in result.files) == ["1.2.3.1.dcm", "1.2.3.2.dcm", "1.2.3.3.dcm"]
    assert [item.sop_instance_uid for item in result.unasked] == ["1.2.4.1"]
    assert len(files_below(tmp_path)) == 4


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # a value that must not be, on purpose
async def test_a_move_without_a_plan_is_told_by_its_originator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is nobody's is refused, named up to a number and counted beyond; a stranger's is set aside."""
    monkeypatch.setattr("aiodicom.client.retrieved.MAX_TURNED_AWAY", 1)
    port: list[int] = []

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        query = await hear(peer, m.CFindRQ)
        await reply(peer, query, 0xA900)
        heard = await hear(peer, m.CMoveRQ)
        async with await ScriptedPeer.connect("127.0.0.1", port[0]) as sender:
            await sender.associate([CT], called_ae="AIODICOM", calling_ae="THEM")

            async def store(number: int, uid: str, ae: str | None, message_id: int | None) -> int:
                request = store_request(
                    number, uid, move_originator_ae=ae, move_originator_message_id=message_id
                )
                series = "6.6" if uid.startswith("6.6") else "1.2.3"
                await say(sender, 1, request, implicit(ct(uid, SeriesInstanceUID=series)))
                return int((await hear(sender, m.CStoreRSP)).message.status)

            mine = heard.message.message_id
            assert await store(1, "1.2.3.9", "SOMEBODY", mine) == 0x0124
            assert await store(2, "1.2.3.9", "AIODICOM", mine + 1) == 0x0124
            assert await store(3, "../../1.2.*", "AIODICOM", mine) == 0x0117
            assert await store(4, "1.2.3.1", "AIODICOM", mine) == 0
            assert await store(5, "1.2.3.8", "SOMEBODY", mine) == 0x0124
            assert await store(6, "6.6.1", None, None) == 0
            await sender.release()
        await reply(peer, heard, 0, completed=1, failed=0, warning=0)
        await peer.answer_release()

    result = await play(script, moving_here(tmp_path, port, level="SERIES"))
    assert [item.status for item in result.items if not item.ok] == [0x0117]
    assert result.turned_away == ["1.2.3.9"]
    assert result.turned_away_unnamed == result.to_dict()["turned_away_unnamed"] == 1
    assert [path.name for path in result.files] == ["1.2.3.1.dcm"]
    assert [item.path.relative_to(tmp_path).parts[0] for item in result.unasked if item.path] == [ASIDE]


@pytest.mark.parametrize("allowed", [(), ("127.0.0.1",), ("0.0.0.0/0",)])
async def test_who_may_send_to_a_move_to_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: tuple[str, ...]
) -> None:
    """The peer's own address, and what is allowed beside it."""
    monkeypatch.setattr("aiodicom.client.moving.Move._senders", nobodys)
    port: list[int] = []

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await planning(peer, ["1.2.3.1"])
        heard = await hear(peer, m.CMoveRQ)
        async with await ScriptedPeer.connect("127.0.0.1", port[0]) as sender:
            await sender.send(associate_request(called_ae="AIODICOM"))
            answer = await sender.receive()
            assert isinstance(answer, AAssociateAC) is bool(allowed)
        await reply(peer, heard, 0xA702, completed=0, failed=1, warning=0)
        await peer.answer_release()

    result = await play(script, moving_here(tmp_path, port, accept_from=allowed))
    assert not result.ok


async def nobodys(_: object) -> list[str]:
    return ["192.0.2.1"]


async def test_a_peer_by_name_may_send_from_its_addresses() -> None:
    peer = Peer(host="localhost", port=104, called_ae="X")
    move = Move(SimpleNamespace(peer=peer), None, "US")  # type: ignore[arg-type]
    assert "127.0.0.1" in await move._senders()
    nowhere = SimpleNamespace(peer=Peer(host="no.such.host.invalid", port=104, called_ae="X"))
    move = Move(nowhere, None, "US")  # type: ignore[arg-type]
    assert await move._senders() == []


@pytest.mark.parametrize(
    ("host", "here"), [("127.0.0.1", True), ("192.0.2.1", False), ("[2001:db8::1]", False)]
)
async def test_this_machine_may_send_where_the_peer_is_on_it(host: str, here: bool) -> None:
    move = Move(SimpleNamespace(peer=Peer(host=host, port=104, called_ae="X")), None, "US")  # type: ignore[arg-type]
    senders = await move._senders()
    assert senders[-1] == host.strip("[]")
    assert ("127.0.0.0/8" in senders) is here


def moving_here(
    tmp_path: Path, port: list[int], level: str = "STUDY", **how: Any
) -> Callable[[Pacs], Awaitable[RetrieveResult]]:
    """A user who moves to this process, on a free port that is told in `port`."""

    async def user(client: Pacs) -> RetrieveResult:
        port.append(free_port())
        async with Pacs(client.peer) as pacs:
            where = {"listen_host": "127.0.0.1", "listen_port": port[0], "quiet": 0.2}
            return await pacs.move(level, "1.2.3", directory=tmp_path, **where, **how)

    return user


# --- before anything is sent


@pytest.mark.parametrize(
    ("level", "uid", "root", "words"),
    [
        ("SERIES", "not\na uid", "PATIENT", "is no UID"),
        ("SERIES", "1.2\\1.3", "PATIENT", "is no UID"),
        ("STUDY", "1.2.*", "PATIENT", "is no UID"),
        ("STUDY", "", "PATIENT", "is no UID"),
        ("STUDY", "1." * 80 + "1", "PATIENT", "is no UID"),
        ("IMAGE", ["1.2", "x?y"], "PATIENT", r"'x\?y' is no UID"),
        ("IMAGE", [], "PATIENT", "no unique key"),
        ("PATIENT", "*", "PATIENT", "no single Patient ID"),
        ("PATIENT", "P1\\P2", "PATIENT", "no single Patient ID"),
        ("PATIENT", "P1", "STUDY", "not in the STUDY root"),
        ("FRAME", "1.2", "PATIENT", "no such level"),
        ("STUDY", "1.2", "FOREST", "no such root"),
    ],
)
async def test_retrieves_refused_before_anything_is_sent(
    level: str, uid: Any, root: str, words: str, tmp_path: Path
) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            with pytest.raises(QueryError, match=words):
                await client.get(level, uid, root=root, directory=tmp_path)
            with pytest.raises(QueryError, match=words):
                await client.move(level, uid, root=root, destination="X")

    await play(script, user)


async def test_a_move_to_a_title_that_is_none_is_refused_before_anything_is_sent() -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            with pytest.raises(LocalProtocolError, match="is no AE title"):
                await client.move("STUDY", "1.2.3", destination="N" * 17)

    await play(script, user)


async def test_nothing_of_a_patient_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def script(listener: ScriptedListener) -> None:
        get = await getting(listener)
        await get.store("1.2.3.1")
        await get.store("1.2.3.2", implicit(ct("1.2.9.9")))
        await get.store("1.2.3.3", implicit(ct("1.2.3.3", size=100))[:-10])
        await get.send("1.2.3.4", implicit(ct("1.2.3.4")))
        await get.peer.reset()

    with caplog.at_level(logging.DEBUG):
        await play(script, getting_into(tmp_path), timeouts=QUIET)
    assert PATIENT not in caplog.text
    assert "Zebedee" not in caplog.text


@on_each_loop
async def test_getting_over_tls(tmp_path: Path, tls_pair: TLSPair) -> None:
    data = implicit(ct("1.2.3.1", size=3_000_000))

    async def script(listener: ScriptedListener) -> None:
        get = await getting(listener)
        assert await get.store("1.2.3.1", data) == 0
        await get.final(completed=1, failed=0, warning=0)
        await get.peer.answer_release()

    result = await play(
        script,
        getting_into(tmp_path),
        server_tls=tls_pair.server,
        client_tls=tls_pair.client,
        host="localhost",
    )
    assert result.ok
    assert result.files[0].read_bytes().endswith(data)


# --- one object, however it is asked


async def test_a_retrieve_runs_once_and_its_result_is_there_at_any_moment(tmp_path: Path) -> None:
    async def script(listener: ScriptedListener) -> None:
        get = await getting(listener, ["1.2.3.1", "1.2.3.2"])
        assert await get.store("1.2.3.1") == 0
        assert await get.store("1.2.3.2") == 0
        await get.final(completed=2, failed=0, warning=0)
        await get.peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client:
            retrieve = client.get("SERIES", "1.2.3.1", directory=tmp_path)
            result = retrieve.result
            assert result.status is None
            first, second = await asyncio.gather(retrieve._once(), retrieve)
            assert first is second is await retrieve is result
            assert result.ok
            assert len(result.items) == 2
            assert "2 of 2 here" in repr(retrieve)
            with pytest.raises(RuntimeError, match="once"):
                aiter(retrieve)

    await play(script, user)


async def test_files_are_iterated_as_they_come(tmp_path: Path) -> None:
    async def script(listener: ScriptedListener) -> None:
        get = await getting(listener, ["1.2.3.1", "1.2.3.2"])
        assert await get.store("1.2.3.1") == 0
        assert await get.store("1.2.3.2", b"broken") == 0xC000
        await get.final(0xB000, completed=1, failed=1, warning=0)
        await get.peer.answer_release()

    async def user(client: Pacs) -> None:
        async with client, client.get("SERIES", "1.2.3.1", directory=tmp_path) as retrieve:
            seen = []
            with pytest.raises(OperationFailed):
                async for item in retrieve:
                    seen.append((item.sop_instance_uid, item.ok))
            assert seen == [("1.2.3.1", True), ("1.2.3.2", False)]
            assert await retrieve is retrieve.result
            assert retrieve.result.missing == ["1.2.3.2"]

    await play(script, user)


async def test_a_key_of_two_that_the_peer_has_nothing_of(tmp_path: Path) -> None:
    async def script(listener: ScriptedListener) -> None:
        first, _ = await accepted(listener)
        await planning(first, ["1.2.3.1"])
        await planning(first, [])
        await first.answer_release()
        peer, request = await accepted(listener)
        [context_id, *_] = [
            c.context_id
            for c in request.presentation_contexts
            if c.abstract_syntax == CT and c.transfer_syntaxes[0] == IMPLICIT
        ]
        get = Getter(peer, await hear(peer, m.CGetRQ), context_id)
        assert await get.store("1.2.3.1") == 0
        await get.final(completed=1, failed=0, warning=0)
        get.heard = await hear(peer, m.CGetRQ)
        await get.final(completed=0, failed=0, warning=0)
        await peer.answer_release()

    async def user(client: Pacs) -> RetrieveResult:
        async with client:
            return await client.get("SERIES", ["1.2.3", "1.2.4"], directory=tmp_path)

    result = await play(script, user)
    assert result.status == 0
    assert result.not_found == ["1.2.4"]
    assert result.outcome == "partial"
    assert not result.ok


async def test_behind_a_full_disk_no_other_key_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: Any, **how: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def script(listener: ScriptedListener) -> None:
        first, _ = await accepted(listener)
        await planning(first, ["1.2.3.1"])
        await planning(first, ["1.2.3.2"])
        await first.answer_release()
        peer, request = await accepted(listener)
        get = await getter(peer, request)
        with monkeypatch.context() as patch:
            patch.setattr(os, "mkdir", fails)
            assert await get.store("1.2.3.1") == 0xA700
        await get.heard_cancel()
        await get.final(0xFE00, completed=0, failed=1, warning=0)
        await peer.answer_release()

    async def user(client: Pacs) -> RetrieveResult:
        async with client:
            return await client.get("SERIES", ["1.2.3", "1.2.4"], directory=tmp_path)

    result = await play(script, user)
    assert result.outcome == "failed"
    assert result.missing == ["1.2.3.1", "1.2.3.2"]


async def test_data_sets_that_are_decoded_hold_the_peer_by_their_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window lets sixteen come before one is answered, of any size."""
    go = threading.Event()
    real = receiving.decode_object

    def slow(*what: Any) -> Any:
        assert go.wait(PATIENCE)
        return real(*what)

    monkeypatch.setattr(intake, "BYTES_AHEAD", 100_000)
    monkeypatch.setattr(receiving, "decode_object", slow)
    async with serve_archive(tmp_path, port=0) as server, connect("127.0.0.1", server.port) as pacs:
        assert (await pacs.store([ct(f"1.2.3.{n}", size=60_000) for n in range(30)])).ok
        retrieve = pacs.get("STUDY", "1.2.3")
        task = asyncio.ensure_future(retrieve)  # type: ignore[arg-type]
        async with asyncio.timeout(PATIENCE):
            while not any(reading.held for reading in retrieve._intake._readings):
                await asyncio.sleep(0)
        assert retrieve._intake.begun <= 1 + (100_000 + READ_BUFFER) // 60_000
        go.set()
        assert len((await task).datasets) == 30
        assert retrieve._intake._undecoded == 0


async def test_data_sets_that_wait_hold_the_peer_by_their_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by their number alone: eight of any size could be as large as the memory.

    Nor is what is being decoded left out, of which the window has sixteen. What is in one read comes still.
    """
    monkeypatch.setattr(intake, "BYTES_AHEAD", 100_000)
    async with serve_archive(tmp_path, port=0) as server, connect("127.0.0.1", server.port) as pacs:
        assert (await pacs.store([ct(f"1.2.3.{n}", size=60_000) for n in range(30)])).ok
        retrieve = pacs.get("STUDY", "1.2.3")
        seen = 0
        async for _ in retrieve:
            seen += 1
            for _ in range(200):
                await asyncio.sleep(0)
            held = retrieve._intake._ahead + retrieve._intake._undecoded
            assert held <= 100_000 + READ_BUFFER + 2 * 70_000
        assert seen == 30
        assert retrieve._intake._ahead == 0
        assert retrieve.result.bytes > 30 * 60_000
