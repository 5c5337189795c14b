"""Our client with Orthanc, storescp and pynetdicom over mutual TLS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import aiodicom
import pytest
from interop.peers import HOST, Peer, Peers, dicom_files, require_peer
from interop.samples import Samples, bodies
from interop.site import OUR_AE, PROGRAMS, Site, connect

pytestmark = [pytest.mark.peers, pytest.mark.timeout(60)]


@pytest.fixture(params=["orthanc", "pynetdicom"])
def archive(request: pytest.FixtureRequest, site: Site) -> Peer:
    """An archive behind mutual TLS that holds the samples."""
    return site.archive(request.param, secure=True)


async def test_every_service(archive: Peer, site: Site, samples: Samples, tmp_path: Path) -> None:
    report = site.reports[f"{archive.name.lower()}-tls"]
    assert report.ok, [str(item) for item in report.items]
    async with connect(archive, tls=site.client_context()) as pacs:
        assert (await pacs.echo()) == 0
        info = pacs.info.tls
        assert info is not None
        assert info.version in ("TLSv1.2", "TLSv1.3")
        assert info.verified
        assert "CN=server" in str(info.peer_subject)
        found = [one.PatientID async for one in pacs.find("PATIENT", {}, root="PATIENT")]
        assert sorted(found) == ["P1", "P2"]
        result = await pacs.get("PATIENT", ["P1", "P2"], directory=tmp_path)
    assert result.ok, (result, archive.log[-3000:])
    got = bodies(result.files)
    kept = bodies(archive.stored_files())
    assert got == kept
    changed = {one.uid for one in samples.all if kept[one.uid] != one.body}
    if archive.name == "Orthanc":  # it writes explicit lengths: see test_client_archives
        assert changed == {one.uid for one in samples.all if one.undefined_lengths}
    else:
        assert changed == set()


async def test_orthanc_moves_to_us_over_tls(site: Site, samples: Samples, tmp_path: Path) -> None:
    """Both associations are TLS with client certificates: ours to Orthanc, and Orthanc's to our listener."""
    archive = site.archive("orthanc", secure=True)
    async with connect(archive, tls=site.client_context()) as pacs:
        result = await pacs.move(
            "PATIENT",
            ["P1", "P2"],
            directory=tmp_path / "self",
            listen_host=HOST,
            listen_port=site.ports[OUR_AE],
            listen_tls=site.server_context(),
        )
        assert result.ok, (result, archive.log[-3000:])
        async with aiodicom.serve_archive(
            tmp_path / "ours",
            host=HOST,
            port=site.ports["OURS"],
            ae_title="OURS",
            tls=site.server_context(),
            durability="rename",
        ):
            moved = await pacs.move("PATIENT", ["P1", "P2"], destination="OURS")
    assert moved.ok, (moved, archive.log[-3000:])
    assert bodies(result.files) == bodies(dicom_files(tmp_path / "ours")) == bodies(archive.stored_files())
    assert len(result.files) == len(samples.all)


async def test_storescp_stores_over_tls(site: Site, samples: Samples, peers: Peers) -> None:
    require_peer("storescp")
    peer = peers.storescp(tls=site.pki.server)
    async with connect(peer, tls=site.client_context()) as pacs:
        report = await pacs.store(samples.folder)
    assert report.ok, (report, peer.log)
    assert bodies(peer.stored_files()) == samples.bodies()


Context = Callable[[Site], object]


@pytest.mark.parametrize("server", ["orthanc", "storescp", "pynetdicom"])
@pytest.mark.parametrize(
    ("context", "words"),
    [
        (lambda site: aiodicom.client_context(trusted=site.pki.ca), "requires a client certificate"),
        (
            lambda site: aiodicom.client_context(
                site.pki.client.key, site.pki.client.cert, site.pki.foreign.trusted
            ),
            "not vouched for",
        ),
    ],
    ids=["no-certificate", "untrusted-server"],
)
async def test_certificates_are_demanded(
    server: str, context: Context, words: str, site: Site, peers: Peers
) -> None:
    require_peer(PROGRAMS[server])
    if server == "storescp":
        peer = peers.storescp(tls=site.pki.server)
    else:
        peer = site.archive(server, secure=True)
    with pytest.raises(aiodicom.TLSFailed, match=words):
        async with connect(peer, tls=context(site)) as pacs:
            await pacs.echo()
    assert peer.alive


@pytest.mark.parametrize("server", ["orthanc", "pynetdicom"])
async def test_tls_on_one_side_only(server: str, site: Site) -> None:
    with pytest.raises(aiodicom.TLSFailed, match="TLS on one side only"):
        async with connect(site.archive(server), tls=site.client_context()):
            pass
    with pytest.raises(aiodicom.ConnectionClosed, match="TLS on one side only"):
        async with connect(site.archive(server, secure=True)):
            pass
