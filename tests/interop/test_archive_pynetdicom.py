"""pynetdicom's clients, and Orthanc as a client, with our archive."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aiodicom
import pytest
from aiodicom.server import archive_service
from interop.peers import HOST, Command, Peer, Peers, dicom_files, pynetdicom_scu, pynetdicom_scus
from interop.samples import LEVEL_KEYS, ROOTS_AND_LEVELS, Samples, bodies, identifier, make_object
from interop.site import Site, reserved_port
from pydicom.uid import ExplicitVRLittleEndian

pytestmark = [pytest.mark.peers, pytest.mark.timeout(60)]

COUNT = 400
"""Objects of the archive whose operations are cancelled."""
PLAIN_AND_TLS = pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])


async def run(command: Command) -> Any:
    """What a command reports; it must have ended its association in order."""
    outcome = await command.start(timeout=40)
    assert outcome.code == 0, outcome.text
    return outcome.json()


async def run_all(commands: Iterable[Command]) -> Any:
    """What several report, run one after the other in one process."""
    return await run(pynetdicom_scus(commands))


@PLAIN_AND_TLS
async def test_echo_and_store(
    secure: bool, serving: Any, site: Site, samples: Samples, tmp_path: Path
) -> None:
    server = await serving(tmp_path, tls=site.server_context() if secure else None)
    tls = site.pki.client if secure else None
    paths = [one.path for one in samples.all]
    echo, store = await run_all(
        [
            pynetdicom_scu("echo", server.port, called="OURS", tls=tls),
            pynetdicom_scu("store", server.port, called="OURS", tls=tls, paths=paths),
        ]
    )
    assert echo["statuses"] == [0]
    assert store["statuses"] == [0] * len(paths)
    assert bodies(dicom_files(tmp_path)) == samples.bodies()


async def test_find_at_every_level(serving: Any, filled: Path, samples: Samples) -> None:
    server = await serving(filled)
    asked = [
        (root, level, identifier(samples.all[0], root, level) | {LEVEL_KEYS[level]: ""})
        for root, level in ROOTS_AND_LEVELS
    ]
    answers = await run_all(
        pynetdicom_scu("find", server.port, called="OURS", keys=keys, root=root) for root, _, keys in asked
    )
    for (_, level, keys), found in zip(asked, answers, strict=True):
        above = {name: value for name, value in keys.items() if value and name in LEVEL_KEYS.values()}
        wanted = samples.keys(level, above)
        assert sorted(match[LEVEL_KEYS[level]] for match in found["matches"]) == sorted(wanted)
        assert found["statuses"] == [0xFF00] * len(wanted) + [0]


async def test_find_over_tls_and_wrong_levels(serving: Any, site: Site, filled: Path) -> None:
    server = await serving(filled, tls=site.server_context())
    asked = [
        ("PATIENT", {"QueryRetrieveLevel": "PATIENT", "PatientID": "", "PatientName": "M*"}),
        ("STUDY", {"QueryRetrieveLevel": "PATIENT", "PatientID": ""}),
        ("PATIENT", {"PatientID": ""}),
    ]
    found, below_root, no_level = await run_all(
        pynetdicom_scu("find", server.port, called="OURS", keys=keys, root=root, tls=site.pki.client)
        for root, keys in asked
    )
    assert [(one["PatientID"], one["PatientName"]) for one in found["matches"]] == [("P1", "Müller^Jürgen")]
    assert below_root["statuses"] == no_level["statuses"] == [0xA900]


@PLAIN_AND_TLS
async def test_get_at_every_level(
    secure: bool, serving: Any, site: Site, filled: Path, samples: Samples, tmp_path: Path
) -> None:
    server = await serving(filled, tls=site.server_context() if secure else None)
    asked = [
        (root, level, samples.all[0] if level in ("SERIES", "IMAGE") else samples.all[-1])
        for root, level in ROOTS_AND_LEVELS
    ]
    answers = await run_all(
        pynetdicom_scu(
            "get",
            server.port,
            called="OURS",
            tls=site.pki.client if secure else None,
            keys=identifier(sample, root, level),
            root=root,
            directory=tmp_path / f"{root}-{level}",
        )
        for root, level, sample in asked
    )
    for (root, level, sample), got in zip(asked, answers, strict=True):
        wanted = samples.bodies(level, sample.key(level))
        assert bodies(dicom_files(tmp_path / f"{root}-{level}")) == wanted
        assert got["statuses"][-1] == 0
        assert got["counters"] == {"remaining": None, "completed": len(wanted), "failed": 0, "warning": 0}


async def test_get_of_what_is_stored_in_implicit_vr(
    serving: Any, filled: Path, samples: Samples, tmp_path: Path
) -> None:
    server = await serving(filled)
    keys = identifier(samples.all[3], "STUDY", "SERIES")
    got = await run(pynetdicom_scu("get", server.port, called="OURS", keys=keys, directory=tmp_path))
    assert got["statuses"][-1] == 0
    assert got["counters"]["completed"] == 2


async def test_move_to_pynetdicom_itself_at_every_level(
    serving: Any, filled: Path, samples: Samples, tmp_path: Path
) -> None:
    port = reserved_port()
    server = await serving(filled, destinations={"SELF": (HOST, port)})
    sample = samples.all[0]
    answers = await run_all(
        pynetdicom_scu(
            "move",
            server.port,
            called="OURS",
            keys=identifier(sample, root, level),
            root=root,
            destination="SELF",
            receive=port,
            directory=tmp_path / f"{root}-{level}",
        )
        for root, level in ROOTS_AND_LEVELS
    )
    for (root, level), moved in zip(ROOTS_AND_LEVELS, answers, strict=True):
        wanted = samples.bodies(level, sample.key(level))
        assert bodies(dicom_files(tmp_path / f"{root}-{level}")) == wanted
        assert moved["statuses"][-1] == 0
        assert moved["counters"] == {"remaining": None, "completed": len(wanted), "failed": 0, "warning": 0}


async def test_move_to_third_parties(
    serving: Any, filled: Path, site: Site, samples: Samples, peers: Peers, tmp_path: Path
) -> None:
    """pynetdicom has our archive send to storescp, to a pynetdicom server, to an archive of ours, and to
    one it does not know."""
    one, two = site.storescp(), peers.pynetdicom()
    three = await serving(tmp_path / "three", ae_title="THREE")
    ports = {"STORESCP": one.port, "PYNETDICOM": two.port, "THREE": three.port}
    server = await serving(filled, destinations={name: (HOST, port) for name, port in ports.items()})
    keys = {"QueryRetrieveLevel": "PATIENT", "PatientID": "P1"}
    *answers, stranger = await run_all(
        pynetdicom_scu("move", server.port, called="OURS", keys=keys, root="PATIENT", destination=name)
        for name in (*ports, "STRANGER")
    )
    for moved in answers:
        assert moved["statuses"][-1] == 0
        assert moved["counters"] == {"remaining": None, "completed": 6, "failed": 0, "warning": 0}
    for folder in (one.directory, two.directory, tmp_path / "three"):
        assert bodies(dicom_files(folder)) == samples.bodies("PATIENT", "P1")
    assert stranger["statuses"] == [0xA801]


@pytest.mark.parametrize(
    ("answer", "status", "counters"),
    [
        (0xA700, 0xA702, (0, 5, 0)),
        (0xC000, 0xA702, (0, 5, 0)),
        (0xB000, 0xB000, (0, 0, 5)),
        (0x0000, 0x0000, (5, 0, 0)),
    ],
    ids=["resources", "failure", "warning", "success"],
)
async def test_a_move_tells_what_its_destination_answered(
    answer: int,
    status: int,
    counters: tuple[int, int, int],
    serving: Any,
    filled: Path,
    samples: Samples,
    peers: Peers,
) -> None:
    destination = peers.pynetdicom(store_status=answer)
    server = await serving(filled, destinations={"THERE": (HOST, destination.port)})
    keys = identifier(samples.all[0], "STUDY", "STUDY")
    moved = await run(pynetdicom_scu("move", server.port, called="OURS", keys=keys, destination="THERE"))
    assert moved["statuses"][-1] == status
    told = moved["counters"]
    assert (told["completed"], told["failed"], told["warning"]) == counters


async def test_cancels(
    serving: Any, samples: Samples, peers: Peers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Enough objects that the cancel comes before the end; pynetdicom sends it at the first response.

    Matches are fetched one by one: by hundreds all would be on the wire before it has read one.
    Those of the move would be through before it has read one: their destination takes its time.
    """
    monkeypatch.setattr(archive_service, "FIRST_FETCH", 1)
    monkeypatch.setattr(archive_service, "FETCH", 1)
    (tmp_path / "in").mkdir()
    raw = samples.all[0].path.read_bytes()
    uid = samples.all[0].uid.encode()
    for number in range(COUNT):
        changed = raw.replace(uid, uid[:-4] + f"{number + 1000}".encode())
        (tmp_path / "in" / f"{number}.dcm").write_bytes(changed)
    destination = peers.storescp(extra=["--sleep-during", "1"])
    server = await serving(tmp_path / "archive", destinations={"STORESCP": (HOST, destination.port)})
    async with aiodicom.connect(HOST, server.port) as pacs:
        assert (await pacs.store(tmp_path / "in")).ok
    study = identifier(samples.all[0], "STUDY", "STUDY")
    images = identifier(samples.all[0], "STUDY", "SERIES") | {
        "QueryRetrieveLevel": "IMAGE",
        "SOPInstanceUID": "",
    }
    options = {"called": "OURS", "cancel_after": 1}
    find, get, move = await run_all(
        [
            pynetdicom_scu("find", server.port, keys=images, **options),
            pynetdicom_scu("get", server.port, keys=study, directory=tmp_path / "got", **options),
            pynetdicom_scu("move", server.port, keys=study, destination="STORESCP", **options),
        ]
    )
    assert find["statuses"][-1] == 0xFE00
    for done in (get, move):
        assert done["statuses"][-1] == 0xFE00
        assert done["counters"]["remaining"] > 0
        assert sum(done["counters"].values()) == COUNT


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_orthanc_as_a_client(secure: bool, serving: Any, site: Site, tmp_path: Path) -> None:
    """Orthanc echoes, stores, queries and moves back, told so by its REST interface."""
    peer = site.archive("orthanc", secure=secure)
    await serving(
        tmp_path / "archive",
        port=site.ports["OURS"],
        tls=site.server_context() if secure else None,
        destinations={
            "ORTHANC": aiodicom.Destination(HOST, peer.port, site.client_context() if secure else None)
        },
    )
    made = make_object(tmp_path / "one.dcm", PatientID="PX", syntax=ExplicitVRLittleEndian)
    instance = (await rest(peer, "POST", "/instances", made.path.read_bytes()))["ID"]
    await rest(peer, "POST", "/modalities/OURS/echo", b"{}")
    sent = await rest(peer, "POST", "/modalities/OURS/store", json.dumps(instance).encode())
    assert sent["FailedInstancesCount"] == 0, sent
    assert bodies(dicom_files(tmp_path / "archive")) == {made.uid: made.body}
    await rest(peer, "DELETE", f"/instances/{instance}")
    query = {"Level": "Study", "Query": {"PatientID": "PX"}}
    answer = await rest(peer, "POST", "/modalities/OURS/query", json.dumps(query).encode())
    found = await rest(peer, "GET", f"/queries/{answer['ID']}/answers?expand&simplify")
    assert [one["StudyInstanceUID"] for one in found] == [made.key("STUDY")]
    order = json.dumps({"TargetAet": "ORTHANC", "Synchronous": True}).encode()
    await rest(peer, "POST", f"/queries/{answer['ID']}/retrieve", order)
    back = await rest(peer, "GET", f"/instances/{instance}/simplified-tags")
    assert back["SOPInstanceUID"] == made.uid
    await rest(peer, "DELETE", f"/instances/{instance}")


async def rest(peer: Peer, method: str, path: str, body: bytes | None = None) -> Any:
    """A request to Orthanc's REST interface; anything but success raises."""
    request = urllib.request.Request(f"http://{HOST}:{peer.http_port}{path}", body, method=method)

    def ask() -> Any:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")

    return await asyncio.to_thread(ask)
