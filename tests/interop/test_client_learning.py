"""``diagnose --learn`` at real archives, and what the next command does with it."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import aiodicom
import pytest
from interop.peers import HOST, Command, Outcome, Peer, Peers, dicom_files
from wire import ct, free_port

pytestmark = [pytest.mark.peers, pytest.mark.timeout(90)]


def node(tmp_path: Path, archive: Peer) -> Path:
    path = tmp_path / "nodes.toml"
    lines = f'host = "{HOST}"\nport = {archive.port}\ncalled_ae = "{archive.ae_title}"  # as installed\n'
    path.write_text("# ours\n[nodes.site]\n" + lines)
    return path


async def run(path: Path, *words: str) -> Outcome:
    argv = (sys.executable, "-m", "aiodicom", *words)
    return await Command(argv, {"AIODICOM_CONFIG": str(path)}).start()


async def filled(archive: Peer, count: int = 30) -> None:
    objects = [
        ct(f"1.2.{n}.1", StudyInstanceUID=f"1.2.{n}", SeriesInstanceUID=f"1.2.{n}.9") for n in range(count)
    ]
    async with aiodicom.connect(HOST, archive.port, called_ae=archive.ae_title) as pacs:
        assert (await pacs.store(objects)).ok


async def test_orthanc_that_gives_no_c_get(peers: Peers, tmp_path: Path) -> None:
    port = free_port()
    known = {"AET": "AIODICOM", "Host": HOST, "Port": port, "AllowGet": False}
    settings = {"DicomAlwaysAllowGet": False, "DicomModalities": {"AIODICOM": known}}
    archive = peers.orthanc(settings=settings)
    await filled(archive)
    path = node(tmp_path, archive)
    done = await run(path, "diagnose", "@site", "--learn")
    assert done.code == 0, done.text
    learned = tomllib.loads(path.read_text())["nodes"]["site"]["quirks"]
    assert learned["methods"] == ["move"], done.text
    assert learned["roots"] == ["STUDY", "PATIENT"]
    assert path.read_text().startswith("# ours\n[nodes.site]\n")
    assert "# as installed" in path.read_text()
    out = ("--out", str(tmp_path / "out"), "--listen-port", str(port), "--json")
    got = await run(path, "get", "@site", "--level", "STUDY", "1.2.3", "--via", "auto", *out)
    assert got.code == 0, got.text
    assert [rung["service"] for rung in json.loads(got.stdout)["rungs"]] == ["C-MOVE"]
    assert len(dicom_files(tmp_path / "out")) == 1


@pytest.mark.parametrize("name", ["orthanc", "dcmqrscp"])
async def test_what_is_learned_of_archives(peers: Peers, tmp_path: Path, name: str) -> None:
    archive = getattr(peers, name)()
    await filled(archive)
    path = node(tmp_path, archive)
    done = await run(path, "diagnose", "@site", "--learn", "--json")
    assert done.code == 0, done.text
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["learned"]["node"] == "site"
    learned = told["learned"]["quirks"]
    assert tomllib.loads(path.read_text())["nodes"]["site"]["quirks"] == learned
    assert learned["roots"] == ["STUDY", "PATIENT"]
    assert learned["methods"] == ["get", "move"]
    assert learned["roles"] is True
    assert learned.get("cancel") is not False
    assert "cap" not in learned
    shown = await run(path, "nodes", "--json")
    assert json.loads(shown.stdout)["nodes"][0]["quirks"]["methods"] == ["get", "move"]
    found = await run(path, "find", "@site", "--level", "STUDY", "--limit", "3", "--json")
    assert (found.code, len(found.stdout.splitlines())) == (0, 3), found.text
