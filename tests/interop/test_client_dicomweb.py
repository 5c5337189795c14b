"""DICOMweb as the last rung of the ladder, and alone, at Orthanc with its plugin."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import aiodicom
import pytest
from interop.peers import HOST, Command, Peer, Peers, dicom_files
from interop.samples import Samples, bodies
from wire import ct, free_port, study

pytestmark = [pytest.mark.peers, pytest.mark.timeout(90)]


def address(archive: Peer, **more: Any) -> aiodicom.DicomWeb:
    return aiodicom.DicomWeb(url=f"http://{HOST}:{archive.http_port}/dicom-web", **more)


def client(archive: Peer, **more: Any) -> aiodicom.Pacs:
    how: dict[str, Any] = {"called_ae": archive.ae_title, "dicomweb": address(archive)} | more
    return aiodicom.connect(HOST, archive.port, **how)


async def test_the_last_rung_where_neither_get_nor_move_is_to_be_had(peers: Peers, tmp_path: Path) -> None:
    known = {"AET": "AIODICOM", "Host": HOST, "Port": 1, "AllowGet": False, "AllowMove": False}
    settings = {
        "DicomAlwaysAllowGet": False,
        "DicomAlwaysAllowMove": False,
        "DicomModalities": {"AIODICOM": known},
    }
    archive = peers.orthanc(dicomweb=True, settings=settings)
    async with client(archive) as pacs:
        assert (await pacs.store(study(size=1000))).ok
        here = aiodicom.Listening(host=HOST, port=free_port(), quiet=0.2)
        how: dict[str, Any] = {"via": "auto", "listening": here, "digest": True}
        result = await pacs.get("STUDY", "1.2.3", directory=tmp_path / "out", **how)
    assert result.ok, result.to_dict()
    assert (result.service, result.stands_on, result.missing) == ("WADO-RS", "list", [])
    assert [rung.service for rung in result.rungs][-1] == "WADO-RS"
    assert all(rung.reason for rung in result.rungs[:-1])
    assert result.advice == "C-GET is refused here, WADO-RS was accepted"
    assert all(item.sha256 for item in result.items)
    assert len(dicom_files(tmp_path / "out")) == 6


@pytest.mark.parametrize("level", ["PATIENT", "STUDY", "SERIES", "IMAGE"])
async def test_it_brings_what_c_get_brings(
    peers: Peers, samples: Samples, tmp_path: Path, level: str
) -> None:
    """Byte for byte, in every transfer syntax there is, at every level: nothing is converted."""
    archive = peers.orthanc(dicomweb=True)
    first = samples.all[0]
    async with client(archive) as pacs:
        assert (await pacs.store(Path(first.path).parent)).ok
        for one in samples.all:
            uid = one.key(level)
            if not uid:
                continue
            how: dict[str, Any] = {"directory": tmp_path / "get" / one.key("IMAGE")}
            got = await pacs.get(level, uid, **how)
            how = {"directory": tmp_path / "web" / one.key("IMAGE"), "via": ("web",), "digest": True}
            web = await pacs.get(level, uid, **how)
            assert (web.ok, web.outcome, web.received) == (got.ok, got.outcome, got.received), web.to_dict()
            assert bodies(web.files) == bodies(got.files)
            assert {item.transfer_syntax_uid for item in web.items} == {
                item.transfer_syntax_uid for item in got.items
            }


@pytest.mark.parametrize("level", ["STUDY", "SERIES", "IMAGE"])
async def test_the_dicom_port_may_be_closed(peers: Peers, tmp_path: Path, level: str) -> None:
    """What there is, and what lies above a series or an instance, is found out by QIDO-RS."""
    archive = peers.orthanc(dicomweb=True)
    async with client(archive) as pacs:
        assert (await pacs.store(study(size=1000))).ok
    uid, count = {"STUDY": ("1.2.3", 6), "SERIES": ("1.2.3.1", 3), "IMAGE": ("1.2.3.1.1", 1)}[level]
    here = aiodicom.Listening(host=HOST, port=free_port(), quiet=0.2)
    how: dict[str, Any] = {"dicomweb": address(archive), "lazy": True}
    async with aiodicom.connect(HOST, free_port(), **how) as pacs:
        result = await pacs.get(level, uid, directory=tmp_path, via="auto", listening=here)
    assert result.ok, result.to_dict()
    assert (result.received, result.expected_count, result.stands_on) == (count, count, "list")
    assert [rung.service for rung in result.rungs] == ["C-GET", "C-MOVE", "WADO-RS"]
    assert "ConnectionRefused" in result.rungs[0].reason


async def test_a_patient_by_its_studies(peers: Peers, tmp_path: Path) -> None:
    archive = peers.orthanc(dicomweb=True)
    async with client(archive) as pacs:
        assert (await pacs.store([ct(f"1.2.{n}.1", StudyInstanceUID=f"1.2.{n}") for n in range(3)])).ok
        patient = str(ct("1.2.0.1").PatientID)
    async with aiodicom.connect(HOST, free_port(), lazy=True, dicomweb=address(archive)) as pacs:
        result = await pacs.get("PATIENT", patient, directory=tmp_path, via=["web"])
    assert (result.ok, result.received, result.stands_on) == (True, 3, "list"), result.to_dict()


@pytest.mark.parametrize("level", ["PATIENT", "STUDY", "SERIES", "IMAGE"])
async def test_nothing_of_that_key(peers: Peers, tmp_path: Path, level: str) -> None:
    archive = peers.orthanc(dicomweb=True)
    async with client(archive) as pacs:
        result = await pacs.get(level, "1.2.99", directory=tmp_path, via="web")
    assert (result.ok, result.outcome, result.not_found) == (False, "nothing", ["1.2.99"]), result.to_dict()


async def test_only_what_is_missing_is_asked_for(peers: Peers, tmp_path: Path) -> None:
    archive = peers.orthanc(dicomweb=True)
    async with client(archive) as pacs:
        assert (await pacs.store(study(size=1000))).ok
        first = await pacs.get("STUDY", "1.2.3", directory=tmp_path, via="web")
        assert first.ok
        for path in first.files[::2]:
            path.unlink()
        again = await pacs.get("STUDY", "1.2.3", directory=tmp_path, via="web", associations=2)
    assert (again.ok, again.present, again.received) == (True, 3, 3)


async def test_data_sets_streams_and_a_slow_reader(peers: Peers) -> None:
    archive = peers.orthanc(dicomweb=True)
    async with client(archive) as pacs:
        assert (await pacs.store(study(size=300_000))).ok
        seen = [one.SOPInstanceUID async for one in pacs.get("STUDY", "1.2.3", via="web")]
        assert len(set(seen)) == 6
        read = 0
        async for coming in pacs.stream("STUDY", "1.2.3", via="web"):
            read += sum([len(part) async for part in coming])
        assert read > 6 * 300_000


async def test_who_has_no_right_is_told(peers: Peers, tmp_path: Path) -> None:
    settings = {"AuthenticationEnabled": True, "RegisteredUsers": {"reader": "secret"}}
    archive = peers.orthanc(dicomweb=True, settings=settings)
    async with client(archive) as pacs:
        assert (await pacs.store(study(size=1000))).ok
        with pytest.raises(aiodicom.WebFailed, match=r"HTTP 401.*wants an authorization") as caught:
            await pacs.get("STUDY", "1.2.3", directory=tmp_path, via="web")
        assert caught.value.status == 401
    web = address(archive, authorization="Basic cmVhZGVyOnNlY3JldA==")
    assert "cmVhZ" not in repr(web)
    async with client(archive, dicomweb=web) as pacs:
        assert (await pacs.get("STUDY", "1.2.3", directory=tmp_path, via="web")).ok


async def test_the_command_line_by_a_node(peers: Peers, tmp_path: Path) -> None:
    settings = {"AuthenticationEnabled": True, "RegisteredUsers": {"reader": "secret"}}
    archive = peers.orthanc(dicomweb=True, settings=settings)
    async with client(archive) as pacs:
        assert (await pacs.store(study(size=1000))).ok
    nodes = tmp_path / "nodes.toml"
    nodes.write_text(
        f'[nodes.site]\nhost = "{HOST}"\nport = {free_port()}\n'
        f'dicomweb = "{address(archive).url}"\ndicomweb_authorization = "SITE"\n'
    )
    words = ["get", "@site", "--level", "STUDY", "1.2.3", "--out", str(tmp_path / "out"), "--via", "web,get"]
    argv = (sys.executable, "-m", "aiodicom", *words)
    environment = {"AIODICOM_CONFIG": str(nodes), "SITE": "Basic cmVhZGVyOnNlY3JldA=="}
    done = await Command(argv, environment).start()
    assert done.code == 0, done.text
    assert "by WADO-RS at STUDY level: 6 objects" in done.stdout
    assert len(dicom_files(tmp_path / "out")) == 6
    without = await Command((*argv, "--no-skip-present"), environment | {"SITE": ""}).start()
    assert without.code != 0
    assert "the environment has no SITE" in without.text
