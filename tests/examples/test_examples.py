"""The examples do what they say: against an archive of ours, a fake PACS, a local S3, and pynetdicom."""

from __future__ import annotations

import asyncio
import csv
import importlib.util
import json
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiodicom
import pytest
from aiodicom.testing import FakePacs, ct, on

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LONGEST = 80


def example(name: str) -> Any:
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", sorted(EXAMPLES.iterdir()), ids=lambda path: str(path.name))
def test_an_example_is_short_and_is_tested(path: Path) -> None:
    if path.name == "__pycache__":
        return
    assert len(path.read_text("utf-8").splitlines()) < LONGEST
    assert path.stem in Path(__file__).read_text("utf-8")


# --- web_api


@pytest.fixture
def pacs() -> Iterator[FakePacs]:
    with FakePacs(objects=[ct(n) for n in range(1, 4)]) as made:
        yield made


@pytest.fixture
async def web(pacs: FakePacs, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """The application, begun."""
    monkeypatch.setenv("PACS_HOST", pacs.host)
    monkeypatch.setenv("PACS_PORT", str(pacs.port))
    app = example("web_api").app
    async with app.router.lifespan_context(app):
        yield app


async def test_the_web_api_answers(web: Any, pacs: FakePacs) -> None:
    import httpx

    async with httpx.AsyncClient(transport=httpx.ASGITransport(web), base_url="http://web") as client:
        assert (await client.get("/health")).json() == {"ok": True}
        answers = await asyncio.gather(*(client.get("/studies?patient_id=FAKE-1") for _ in range(20)))
        for answer in answers:
            [study] = map(json.loads, answer.text.splitlines())
            assert study["StudyInstanceUID"] == ct(1).StudyInstanceUID
        assert pacs.requests("associate") <= 1 + 4
        assert (await client.get("/studies")).status_code == 400
        assert (await client.get("/studies?date=tomorrow")).status_code == 400
        assert (await client.post("/instances", content=b"no DICOM")).status_code == 422
        path = Path(pacs_file())
        stored = await client.post("/instances", content=path.read_bytes())
        assert (stored.status_code, stored.json()) == (201, {"SOPInstanceUID": ct(9).SOPInstanceUID})
        path.unlink()


def pacs_file() -> str:
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".dcm", delete=False) as file:
        ct(9).save_as(file, enforce_file_format=True)
    return file.name


async def test_a_web_request_that_is_left_cancels_its_query(monkeypatch: pytest.MonkeyPatch) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    class Endless(aiodicom.Service):
        def supported(self) -> aiodicom.Supported:
            return aiodicom.Supported({"1.2.840.10008.5.1.4.1.2.2.1": ("1.2.840.10008.1.2",)})

        async def find(self, request: Any, root: Any, level: Any, identifier: Any) -> AsyncIterator[Any]:
            try:
                while True:
                    identifier.StudyInstanceUID = "1.2"
                    yield aiodicom.Match(identifier)
                    await asyncio.sleep(0.001)
            finally:
                assert request.cancelled
                ended.set()

    async with aiodicom.serve(Endless(), port=0) as server:
        monkeypatch.setenv("PACS_HOST", "127.0.0.1")
        monkeypatch.setenv("PACS_PORT", str(server.port))
        app = example("web_api").app

        async def receive() -> dict[str, Any]:
            if not began.is_set():
                await began.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.body" and message.get("body"):
                began.set()

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
            "scheme": "http", "path": "/studies", "raw_path": b"/studies",
            "query_string": b"patient_id=1", "headers": [],
            "server": ("web", 80), "client": ("me", 1), "root_path": "",
        }  # fmt: skip
        async with app.router.lifespan_context(app):
            await app(scope, receive, send)
            await asyncio.wait_for(ended.wait(), 20)
            await app.state.pacs.find("STUDY", {"PatientID": "1"}, limit=1)


async def test_a_pacs_that_fails_is_a_bad_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx

    with FakePacs(faults=[on("C-ECHO", nth=1).status(0x0122)]) as pacs:
        monkeypatch.setenv("PACS_HOST", pacs.host)
        monkeypatch.setenv("PACS_PORT", str(pacs.port))
        app = example("web_api").app
        async with app.router.lifespan_context(app):
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://web") as client:
                answer = await client.get("/health")
    assert answer.status_code == 502
    assert answer.json()["error"] == "OperationFailed"


# --- to_object_store


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    import boto3  # type: ignore[import-untyped]
    from moto.server import ThreadedMotoServer

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
        client.create_bucket(Bucket="images")
        yield client
        client.close()
    finally:
        server.stop()


async def test_objects_go_to_an_object_store_as_they_come(s3: Any, tmp_path: Path) -> None:
    from pydicom import dcmread

    module = example("to_object_store")
    big, small = ct(1, rows=2900), ct(2)
    async with aiodicom.serve(module.ToObjectStore(s3, "images"), port=0) as server:
        async with aiodicom.connect("127.0.0.1", server.port) as peer:
            report = await peer.store([big, small])
    assert report.ok, [str(one) for one in report.items]
    for one in (big, small):
        s3.download_file("images", f"{one.SOPInstanceUID}.dcm", str(tmp_path / "back.dcm"))
        assert dcmread(tmp_path / "back.dcm").PixelData == one.PixelData
    assert "Uploads" not in s3.list_multipart_uploads(Bucket="images")


async def test_what_waits_for_the_store_holds_the_peer_and_what_breaks_off_leaves_nothing() -> None:
    """A store that takes its time: what is in memory is two parts, whatever the peer has sent."""
    module = example("to_object_store")
    module.PART = 256 * 1024
    calls: list[str] = []

    class Slow:
        def create_multipart_upload(self, **how: Any) -> dict[str, str]:
            return {"UploadId": "one"}

        def upload_part(self, **how: Any) -> dict[str, str]:
            calls.append("part")
            go.result()
            return {"ETag": "tag"}

        def complete_multipart_upload(self, **how: Any) -> None:
            calls.append("complete")

        def abort_multipart_upload(self, **how: Any) -> None:
            calls.append("abort")

    from concurrent.futures import Future

    go: Future[None] = Future()
    async with aiodicom.serve(module.ToObjectStore(Slow(), "images"), port=0) as server:
        peer = await aiodicom.connect("127.0.0.1", server.port)
        tracemalloc.start()
        storing = asyncio.create_task(peer.store(ct(1, rows=4000)))  # 32 MB
        while not calls:
            await asyncio.sleep(0.01)
        received = -1
        while received != (received := server.stats().bytes_received):
            await asyncio.sleep(0.1)
        assert received < 16 * 1024 * 1024
        assert calls == ["part"]
        tracemalloc.stop()
        storing.cancel()
        await asyncio.gather(storing, return_exceptions=True)
        go.set_result(None)
        await peer.close()
        while "abort" not in calls:
            await asyncio.sleep(0.01)
    assert "complete" not in calls


# --- cohort


async def test_a_cohort_is_retrieved_with_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = []
    for number in range(1, 4):
        for study in ("A", "B"):
            one = ct(number + 10 * (study == "B"))
            one.StudyInstanceUID, one.SeriesInstanceUID = f"2.25.{ord(study)}", f"2.25.{ord(study)}.1"
            one.AccessionNumber = f"ACC-{study}"
            objects.append(one)
    (tmp_path / "list.txt").write_text("ACC-A\nACC-B\nACC-C\n")
    module = example("cohort")
    with FakePacs(objects=objects) as pacs:
        arguments = (pacs.host, str(pacs.port), str(tmp_path / "list.txt"), str(tmp_path / "images"))
        assert await module.main(*arguments, str(tmp_path / "report.csv")) == 1  # nothing is known of ACC-C
        (tmp_path / "list.txt").write_text("ACC-B\nACC-A\n")
        assert await module.main(*arguments, str(tmp_path / "again.csv")) == 0
        assert pacs.requests("C-GET") == 2  # all of it was there
    rows = list(csv.DictReader((tmp_path / "report.csv").read_text("utf-8").splitlines()))
    assert [(one["AccessionNumber"], one["here"], one["outcome"]) for one in rows] == [
        ("ACC-A", "3", "complete"),
        ("ACC-B", "3", "complete"),
        ("ACC-C", "", "nothing"),
    ]
    assert len(list((tmp_path / "images").rglob("*.dcm"))) == 6
    assert "2 of 3 studies complete" in capsys.readouterr().out


# --- worklist


async def test_a_modality_asks_for_its_worklist_and_tells_how_it_goes() -> None:
    module = example("worklist")
    department = module.Department()
    async with aiodicom.serve(department, port=0) as server:
        said = await asyncio.to_thread(modality, server.port, module)
    assert said["names"] == ["Doe^Jane", "Roe^Richard"]
    assert said["modalities"] == ["MR", "MR"]
    assert said["statuses"] == [0x0000, 0x0111, 0x0000, 0x0110, 0x0112]
    [step] = department.steps.values()
    assert step.PerformedProcedureStepStatus == "COMPLETED"


def modality(port: int, module: Any) -> dict[str, Any]:
    """What pynetdicom has as a modality."""
    from pydicom.dataset import Dataset
    from pynetdicom import AE

    ae = AE("MR1")
    ae.add_requested_context(module.WORKLIST)
    ae.add_requested_context(module.MPPS)
    association = ae.associate("127.0.0.1", port)
    assert association.is_established
    step = Dataset()
    step.Modality = "MR"
    query = Dataset()
    query.PatientName, query.ScheduledProcedureStepSequence = "", [step]
    found = [entry for _, entry in association.send_c_find(query, module.WORKLIST) if entry is not None]
    begun, ended = Dataset(), Dataset()
    begun.PerformedProcedureStepStatus, ended.PerformedProcedureStepStatus = "IN PROGRESS", "COMPLETED"
    statuses = [
        association.send_n_create(begun, module.MPPS, "2.25.1")[0].Status,
        association.send_n_create(begun, module.MPPS, "2.25.1")[0].Status,
        association.send_n_set(ended, module.MPPS, "2.25.1")[0].Status,
        association.send_n_set(ended, module.MPPS, "2.25.1")[0].Status,
        association.send_n_set(ended, module.MPPS, "2.25.2")[0].Status,
    ]
    association.release()
    return {
        "names": [str(one.PatientName) for one in found],
        "modalities": [one.ScheduledProcedureStepSequence[0].Modality for one in found],
        "statuses": statuses,
    }


# --- volume, matlab (notebooks)


@pytest.mark.parametrize(
    ("name", "shown"), [("volume", ["(24, 64, 64)"]), ("matlab", ["24 of 24 here", "(64, 64, 24)"])]
)
def test_a_notebook_runs_to_its_end(
    name: str, shown: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "import sys, nbformat; from nbclient import NotebookClient\n"
        "notebook = nbformat.read(sys.argv[1], as_version=4)\n"
        "NotebookClient(notebook, timeout=60, kernel_name='python3').execute()\n"
        "print([o for c in notebook.cells for o in c.get('outputs', [])])\n"
    )
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path))
    command = [sys.executable, "-c", script, str(EXAMPLES / f"{name}.ipynb")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    for text in [*shown, "image/png"]:
        assert text in done.stdout


# --- test_with_a_fake_pacs


def test_the_test_suite_passes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        [*command, str(EXAMPLES / "test_with_a_fake_pacs.py")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
