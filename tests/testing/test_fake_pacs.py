"""The fake PACS and its fixture: the example of its page, each named fault, plain and TLS, sync and async."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import aiodicom
import pytest
from aiodicom.archive.archive import Archive
from aiodicom.conformance import wire
from aiodicom.testing import CATALOGUE, FakePacs, ct, fake_pacs, on
from conftest import TLSPair
from pydicom.dataset import Dataset

Make = Callable[..., FakePacs]


async def store(pacs: FakePacs, *objects: object, **more: object) -> aiodicom.StoreReport:
    async with aiodicom.connect(pacs.host, pacs.port, **more) as peer:  # type: ignore[arg-type]
        return await peer.store(list(objects))  # type: ignore[arg-type]


async def everything(pacs: FakePacs) -> None:
    """One of each operation."""
    async with aiodicom.connect(
        pacs.host, pacs.port, timeouts=aiodicom.Timeouts(inactivity=3.0, cancel=0.5)
    ) as peer:
        await peer.echo()
        await peer.find("IMAGE", {"StudyInstanceUID": "2.25.20002", "SeriesInstanceUID": "2.25.20003"})
        report = await peer.store([ct(11), ct(12)])
        assert all(item.status is not None and int(item.status) in (0, 0xB000) for item in report.items)
        if report.error is not None:
            raise report.error
        result = await peer.get("STUDY", "2.25.20002")
        assert len(result.datasets) == 4
        await peer.move("STUDY", "2.25.20002", destination="NOWHERE")


FAULTS = (
    on("C-STORE", nth=2).status(0xA700),
    on("associate", nth=3).reject(2, 3, 2),
    on("C-FIND").after(pending=1).abort(),
    on("C-GET").cut(bytes=1000, how="rst"),
)


async def application(pacs: FakePacs, tls: ssl.SSLContext | None) -> list[object]:
    """What is under test: three objects one after the other, and a second try for what was not taken."""
    told: list[object] = []
    for objects in ([ct(3), ct(4), ct(5)], [ct(4)], [ct(6)], [ct(6)]):
        try:
            report = await store(pacs, *objects, tls=tls)
            told += [int(item.status or 0) for item in report.items]
        except aiodicom.AssociationRejected as error:
            told.append(error)
    return told


def judged(pacs: FakePacs, told: list[object]) -> None:
    statuses = [one for one in told if isinstance(one, int)]
    assert statuses[:4] == [0, 0xA700, 0, 0]
    assert set(statuses[4:]) == {0}
    assert pacs.requests("associate") >= 4  # the third was rejected, and asked again
    assert pacs.requests("C-STORE") == len(statuses)
    assert pacs.released
    assert not pacs.deviations


@pytest.mark.parametrize("tls", [False, True])
def test_a_synchronous_application(dicom_pacs: Make, tls: bool, tls_pair: TLSPair) -> None:
    served, trusting = (tls_pair.server, tls_pair.client) if tls else (None, None)
    pacs = dicom_pacs(objects=[ct(1), ct(2)], faults=FAULTS, tls=served)
    judged(pacs, asyncio.run(application(pacs, trusting)))


@pytest.mark.parametrize("tls", [False, True])
async def test_an_asynchronous_application(dicom_pacs: Make, tls: bool, tls_pair: TLSPair) -> None:
    served, trusting = (tls_pair.server, tls_pair.client) if tls else (None, None)
    pacs = dicom_pacs(objects=[ct(1), ct(2)], faults=FAULTS, tls=served)
    judged(pacs, await application(pacs, trusting))


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize("name", ["a/../b", "ser/1", "1.2 3", "..", "LOCALIZER 1", "$(x)"])
async def test_what_is_no_uid_is_a_key_all_the_way(dicom_pacs: Make, tmp_path: Path, name: str) -> None:
    """Stored, found, retrieved and kept: PS3.5 9.1 binds who makes a UID, a name is no path."""
    pacs = dicom_pacs(objects=[ct(1)])
    odd = ct(2)
    odd.StudyInstanceUID, odd.SeriesInstanceUID, odd.SOPInstanceUID = name + "1", name + "2", name
    assert (await store(pacs, odd)).ok
    async with aiodicom.connect(pacs.host, pacs.port) as peer:
        found = await peer.find("STUDY", {})
        assert name + "1" in [answer.StudyInstanceUID for answer in found]
        for level, uid in (("STUDY", name + "1"), ("SERIES", name + "2"), ("IMAGE", f" {name} ")):
            result = await peer.get(level, uid, directory=tmp_path / "here" / level)
            assert result.ok
            assert [item.sop_instance_uid for item in result.items] == [name]
            [kept] = result.files
            assert kept.is_relative_to(tmp_path / "here" / level)


async def test_a_patient_id_with_a_wildcard_in_it_is_that_patient(dicom_pacs: Make, tmp_path: Path) -> None:
    """PS3.4 C.4.3.1.3.1: in a retrieve a unique key is a single value, whatever a query makes of it."""
    one, other = ct(1), ct(2)
    one.PatientID, other.PatientID = "P*1", "PX1"
    other.StudyInstanceUID, other.SeriesInstanceUID = "2.25.7", "2.25.8"
    pacs = dicom_pacs(objects=[one, other])
    async with aiodicom.connect(pacs.host, pacs.port) as peer:
        result = await peer.get("PATIENT", "P*1", directory=tmp_path)
    assert result.ok
    assert result.expected == [one.SOPInstanceUID]
    assert [item.sop_instance_uid for item in result.items] == [one.SOPInstanceUID]


async def test_a_query_that_is_aborted_in_the_middle_over_tls(dicom_pacs: Make, tls_pair: TLSPair) -> None:
    served, trusting = tls_pair.server, tls_pair.client
    pacs = dicom_pacs(objects=[ct(1)], faults=[on("C-FIND").after(pending=1).abort()], tls=served)
    async with aiodicom.connect(pacs.host, pacs.port, tls=trusting) as peer:
        with pytest.raises(aiodicom.AssociationAborted):
            await peer.find("STUDY", {"PatientID": "FAKE-1"})
        await peer.echo()
    assert pacs.requests("C-FIND") >= 1
    assert not pacs.deviations


def test_a_subprocess(dicom_pacs: Make) -> None:
    pacs = dicom_pacs()
    done = subprocess.run([sys.executable, "-m", "aiodicom", "echo", pacs.host, str(pacs.port)], check=False)
    assert done.returncode == 0
    assert pacs.requests("C-ECHO") == 1


async def test_rejected_once_and_then_taken(dicom_pacs: Make) -> None:
    pacs = dicom_pacs(faults=[on("associate", nth=1).reject(1, 1, 7)])
    with pytest.raises(aiodicom.AssociationRejected):
        await store(pacs, ct(1))
    assert (await store(pacs, ct(1))).items[0].status == 0


async def test_a_reset_in_the_middle_of_a_retrieve(dicom_pacs: Make) -> None:
    pacs = dicom_pacs(
        objects=[ct(n, rows=64) for n in range(4)], faults=[on("C-GET").cut(bytes=1000, how="rst")]
    )
    async with aiodicom.connect(pacs.host, pacs.port) as peer:
        with pytest.raises(aiodicom.AiodicomError):
            result = await peer.get("STUDY", "2.25.20002")
            if result.error is not None:
                raise result.error
    assert not pacs.released


async def test_the_connection_that_asks_is_cut_not_the_newest(dicom_pacs: Make) -> None:
    pacs = dicom_pacs(faults=[on("C-ECHO").cut(bytes=0, how="rst")])
    asking, idle = [await asyncio.open_connection(pacs.host, pacs.port) for _ in range(2)]
    for reader, writer in (asking, idle):
        context = wire.context_rq(1, wire.VERIFICATION, wire.IMPLICIT)
        writer.write(wire.Associate(contexts=(context,)).encode())
        head = await reader.readexactly(6)
        await reader.readexactly(int.from_bytes(head[2:], "big"))
    asking[1].write(wire.echo_rq())
    with pytest.raises(ConnectionResetError):
        await asking[0].read()
    idle[1].write(wire.release_rq())
    assert (await idle[0].readexactly(10))[0] == wire.RELEASE_RP
    for _, writer in (asking, idle):
        writer.close()


async def test_without_faults_everything_works_but_an_unknown_destination(dicom_pacs: Make) -> None:
    pacs = dicom_pacs(objects=[ct(1), ct(2)])
    await everything(pacs)
    assert pacs.requests("C-MOVE") == 1
    assert not pacs.deviations


@pytest.mark.parametrize("name", sorted(CATALOGUE))
async def test_each_named_fault_is_met(name: str, dicom_pacs: Make) -> None:
    fault = CATALOGUE[name]
    pacs = dicom_pacs(objects=[ct(1), ct(2)], faults=[fault])
    failed = True
    try:
        await everything(pacs)
        failed = False
    except (aiodicom.AiodicomError, AssertionError):
        pass
    # our client asks again after a rejection that may pass, and reports a move's failure in its result
    assert failed != (name in ("rejected-once", "move-unknown-destination"))
    assert pacs.requests(fault.what) >= max(1, fault.nth)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: on("C-FROB"),
        lambda: on("C-STORE", nth=-1),
        lambda: on("C-STORE").reject(1, 1, 1),
        lambda: on("associate").status(0xA700),
        lambda: on("C-STORE").status(0),
        lambda: on("C-GET").after(pending=1),
        lambda: on("associate").cut(bytes=1),
        lambda: on("associate").abort(),
        lambda: on("associate").hang(),
    ],
)
def test_a_fault_that_cannot_be(wrong: Callable[[], object]) -> None:
    with pytest.raises(ValueError):
        wrong()


def test_an_object_that_cannot_be_held_is_said() -> None:
    with pytest.raises(ValueError, match="that the fake PACS cannot hold"), FakePacs([Dataset()]):
        pass


@pytest.mark.parametrize("early", [False, True])
def test_what_fails_in_its_thread_later_is_raised_at_its_end(
    early: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(archive: Archive) -> None:
        close(archive)
        raise OSError("no space left")

    close = Archive.close
    monkeypatch.setattr(Archive, "close", full)
    pacs = FakePacs()
    with pytest.raises(OSError, match="no space left"), pacs:
        if early:  # the thread is gone before the test is through
            assert pacs._loop is not None
            assert pacs._stop is not None
            pacs._loop.call_soon_threadsafe(pacs._stop.set)
            pacs._thread.join(30)


def test_a_thread_that_does_not_end_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()

    def held(archive: Archive) -> None:
        assert go.wait(30)
        close(archive)

    close = Archive.close
    monkeypatch.setattr(Archive, "close", held)
    monkeypatch.setattr(fake_pacs, "ENDING", 0.05)
    pacs = FakePacs()
    try:
        with pytest.raises(TimeoutError, match="did not end"), pacs:
            pass
    finally:
        go.set()
        pacs._thread.join(30)
    assert not pacs._thread.is_alive()


@pytest.mark.parametrize(
    ("sent", "released"),
    [
        ((), False),
        ((wire.release_rq(),), True),
        ((wire.echo_rq(), wire.release_rq()), True),
        ((wire.release_rp(),), False),
        ((wire.release_rp(), wire.release_rq()), False),  # that was aborted
        ((wire.abort(),), False),
    ],
)
def test_released_is_what_the_application_asked_for_and_was_answered(
    dicom_pacs: Make, sent: tuple[bytes, ...], released: bool
) -> None:
    pacs = dicom_pacs()
    assert not pacs.released
    request = wire.Associate(contexts=(wire.context_rq(1, wire.VERIFICATION, wire.IMPLICIT),))
    with socket.create_connection((pacs.host, pacs.port), 30) as peer:
        peer.sendall(request.encode())
        assert peer.recv(1) == b"\2"
        for data in sent:
            peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        while peer.recv(65536):
            pass
    assert pacs.released is released


@pytest.mark.parametrize(
    ("said", "released"),
    [
        ([(">", 5), ("<", 6)], True),
        ([("<", 5), (">", 6)], False),  # the other side's
        ([("<", 5), (">", 5), ("<", 6), (">", 6)], True),  # a collision
        ([(">", 5), ("<", 7)], False),
        ([("<", 6), (">", 5)], False),
        ([(">", 5)], False),
    ],
)
def test_whose_release_it_was(said: list[tuple[str, int]], released: bool) -> None:
    assert fake_pacs._released(said) is released


def test_the_plugin_loads_nothing_heavy() -> None:
    """Entry points are imported in everybody's pytest: what takes longer waits for its use."""
    code = "import sys, pytest, aiodicom_pytest; print([m for m in sys.modules if m.startswith('aiodicom.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_example_of_the_page_runs(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "testing.md").read_text("utf-8")
    code = page.split("```python")[1].split("```")[0]
    (tmp_path / "test_example.py").write_text(code, "utf-8")
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto", str(tmp_path)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
