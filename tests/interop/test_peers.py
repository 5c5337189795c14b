"""The peers themselves: what the interoperability tests lean on works between the peers alone."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from interop.peers import (
    PKI,
    Peer,
    Peers,
    dicom_files,
    echoscu,
    findscu,
    getscu,
    has_peer,
    movescu,
    pynetdicom_scu,
    require_peer,
    storescu,
)
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from wire import free_port

pytestmark = pytest.mark.peers

SERVERS = ["dcmqrscp", "orthanc", "pynetdicom"]
PROGRAMS = {"dcmqrscp": "dcmqrscp", "orthanc": "Orthanc", "pynetdicom": "pynetdicom", "storescp": "storescp"}
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def write_object(path: Path, **values: str) -> Dataset:
    """A small secondary capture."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = SECONDARY_CAPTURE
    dataset.SOPInstanceUID = generate_uid()
    dataset.PatientName = "Doe^Jane"
    dataset.PatientID = "P1"
    dataset.StudyDate = "20200102"
    dataset.Modality = "OT"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 4, 4, 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = bytes(range(16))
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path, enforce_file_format=True)
    return dataset


@pytest.fixture
def objects(tmp_path: Path) -> list[Path]:
    """Two files of one series."""
    common = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
    paths = [tmp_path / "one.dcm", tmp_path / "two.dcm"]
    for path in paths:
        write_object(path, **common)
    return paths


def stored(peer: Peer) -> set[str]:
    """The SOP instances a peer keeps."""
    return {str(pydicom.dcmread(path).SOPInstanceUID) for path in peer.stored_files()}


def uids(paths: list[Path]) -> set[str]:
    return {str(pydicom.dcmread(path).SOPInstanceUID) for path in paths}


@pytest.mark.parametrize("server", [*SERVERS, "storescp"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_echo_and_store(server: str, secure: bool, peers: Peers, pki: PKI, objects: list[Path]) -> None:
    require_peer(PROGRAMS[server], "echoscu", "storescu")
    if secure and server == "dcmqrscp":
        with pytest.raises(ValueError, match="no TLS"):
            peers.dcmqrscp(tls=pki.server)
        return
    peer = getattr(peers, server)(tls=pki.server if secure else None)
    client = pki.client if secure else None
    echo = echoscu(peer.port, called=peer.ae_title, tls=client).run()
    assert echo.code == 0, echo.text + peer.log
    store = storescu(peer.port, objects, called=peer.ae_title, tls=client).run()
    assert store.code == 0, store.text + peer.log
    assert stored(peer) == uids(objects)
    assert peer.alive


@pytest.mark.parametrize("server", SERVERS)
def test_find_and_get(server: str, peers: Peers, objects: list[Path], tmp_path: Path) -> None:
    require_peer(PROGRAMS[server], "storescu", "findscu", "getscu")
    peer = getattr(peers, server)()
    assert storescu(peer.port, objects, called=peer.ae_title).run().code == 0
    series = str(pydicom.dcmread(objects[0]).SeriesInstanceUID)
    study = str(pydicom.dcmread(objects[0]).StudyInstanceUID)
    keys = {"QueryRetrieveLevel": "STUDY", "PatientName": "Doe*", "StudyInstanceUID": "", "StudyDate": ""}
    found = findscu(peer.port, keys, called=peer.ae_title, extra=["-X", "-od", str(tmp_path)]).run()
    assert found.code == 0, found.text + peer.log
    assert [str(pydicom.dcmread(p, force=True).StudyInstanceUID) for p in tmp_path.glob("rsp*")] == [study]
    keys = {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": study, "SeriesInstanceUID": series}
    got = getscu(peer.port, keys, tmp_path / "got", called=peer.ae_title).run()
    assert got.code == 0, got.text + peer.log
    assert uids(dicom_files(tmp_path / "got")) == uids(objects)


@pytest.mark.parametrize("server", SERVERS)
def test_move(server: str, peers: Peers, objects: list[Path], tmp_path: Path) -> None:
    require_peer(PROGRAMS[server], "storescu", "movescu", "storescp")
    destination = peers.storescp(ae_title="DESTINATION")
    listening = free_port()
    targets = {"DESTINATION": destination.port, "MOVESCU": listening}
    peer = getattr(peers, server)(**{"modalities" if server == "orthanc" else "destinations": targets})
    assert storescu(peer.port, objects, called=peer.ae_title).run().code == 0
    keys = {
        "QueryRetrieveLevel": "STUDY",
        "StudyInstanceUID": str(pydicom.dcmread(objects[0]).StudyInstanceUID),
    }
    moved = movescu(peer.port, keys, "DESTINATION", called=peer.ae_title).run()
    assert moved.code == 0, moved.text + peer.log
    assert stored(destination) == uids(objects)
    itself = movescu(
        peer.port, keys, "MOVESCU", called=peer.ae_title, receive=(listening, tmp_path / "self")
    ).run()
    assert itself.code == 0, itself.text + peer.log
    assert uids(dicom_files(tmp_path / "self")) == uids(objects)


@pytest.mark.parametrize("server", ["orthanc", "pynetdicom"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_pynetdicom_as_client(
    server: str, secure: bool, peers: Peers, pki: PKI, objects: list[Path], tmp_path: Path
) -> None:
    require_peer(PROGRAMS[server], "pynetdicom")
    listening = free_port()
    targets = {"SELF": listening}
    peer = getattr(peers, server)(
        tls=pki.server if secure else None,
        **{"modalities" if server == "orthanc" else "destinations": targets},
    )
    client = pki.client if secure else None
    echo = await pynetdicom_scu("echo", peer.port, called=peer.ae_title, tls=client).start()
    assert (echo.code, echo.json()["statuses"]) == (0, [0]), echo.text + peer.log
    store = await pynetdicom_scu("store", peer.port, called=peer.ae_title, tls=client, paths=objects).start()
    assert (store.code, store.json()["statuses"]) == (0, [0, 0]), store.text + peer.log
    keys = {"QueryRetrieveLevel": "IMAGE", "SOPInstanceUID": ""}
    for level in ("StudyInstanceUID", "SeriesInstanceUID"):
        keys[level] = str(pydicom.dcmread(objects[0])[level].value)
    find = await pynetdicom_scu("find", peer.port, called=peer.ae_title, tls=client, keys=keys).start()
    assert {match["SOPInstanceUID"] for match in find.json()["matches"]} == uids(objects), find.text
    keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": keys["StudyInstanceUID"]}
    get = await pynetdicom_scu(
        "get", peer.port, called=peer.ae_title, tls=client, keys=keys, directory=tmp_path / "got"
    ).start()
    assert uids([Path(path) for path in get.json()["files"]]) == uids(objects), get.text
    assert get.json()["counters"]["completed"] == 2
    if not secure:  # its listener for what is moved has no TLS
        move = await pynetdicom_scu(
            "move",
            peer.port,
            called=peer.ae_title,
            keys=keys,
            directory=tmp_path / "moved",
            destination="SELF",
            receive=listening,
        ).start()
        assert uids([Path(path) for path in move.json()["files"]]) == uids(objects), move.text + peer.log


@pytest.mark.parametrize("server", ["orthanc", "pynetdicom", "storescp"])
def test_tls_peers_want_a_client_certificate_they_trust(server: str, peers: Peers, pki: PKI) -> None:
    require_peer(PROGRAMS[server], "echoscu")
    peer = getattr(peers, server)(tls=pki.server)
    assert echoscu(peer.port, called=peer.ae_title, tls=pki.client).run().code == 0
    assert echoscu(peer.port, called=peer.ae_title, tls=pki.foreign, extra=["-ic"]).run().code != 0
    assert echoscu(peer.port, called=peer.ae_title).run().code != 0
    assert peer.alive


def test_a_missing_peer_skips_or_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not has_peer("no-such-peer")
    monkeypatch.delenv("AIODICOM_REQUIRE_PEERS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-peer"):
        require_peer("no-such-peer")
    monkeypatch.setenv("AIODICOM_REQUIRE_PEERS", "1")
    with pytest.raises(pytest.fail.Exception, match="no-such-peer"):
        require_peer("no-such-peer")
