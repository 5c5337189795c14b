"""Our C-STORE with storescp and pynetdicom: transfer syntaxes, PDU sizes, refusals, statuses, faults."""

from __future__ import annotations

from pathlib import Path

import aiodicom
import pytest
from interop.peers import Peers, require_peer
from interop.samples import SECONDARY_CAPTURE, Samples, bodies, make_object, syntaxes
from interop.site import Site, connect
from pydicom import dcmread
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

pytestmark = [pytest.mark.peers, pytest.mark.timeout(60)]

SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "big": ExplicitVRBigEndian,
    "rle": RLELossless,
}


async def test_storescp_keeps_every_byte_of_every_syntax(site: Site, tmp_path: Path) -> None:
    peer = site.storescp()
    made = [
        make_object(tmp_path / f"{name}.dcm", syntax=syntax, undefined_lengths=name != "implicit")
        for name, syntax in SYNTAXES.items()
    ]
    async with connect(peer) as pacs:
        report = await pacs.store(tmp_path)
        assert report.ok, (report, peer.log)
    assert bodies(peer.stored_files()) == {one.uid: one.body for one in made}
    assert syntaxes(peer.stored_files()) == {one.uid: one.syntax for one in made}


async def test_an_object_of_odd_length_does_not_end_the_association(
    peers: Peers, samples: Samples, tmp_path: Path
) -> None:
    """storescp aborts for an odd fragment: "DIMSE: Odd Fragment Length"."""
    require_peer("storescp")
    peer = peers.storescp()
    odd = make_object(tmp_path / "odd.dcm")
    with odd.path.open("ab") as file:
        file.write(b"\xe1\x7f\x10\x00LO\x0a\x00any owner \xe1\x7f\x00\x10OB\0\0\3\0\0\0abc")
    async with connect(peer) as pacs:
        report = await pacs.store([odd.path, *(one.path for one in samples.all)])
    assert report.ok, (report, peer.log)
    assert set(bodies(peer.stored_files())) == {odd.uid, *samples.bodies()}


@pytest.mark.parametrize("size", [4096, 16384, 131072])
async def test_the_peers_maximum_is_kept(size: int, peers: Peers, samples: Samples) -> None:
    require_peer("storescp")
    peer = peers.storescp(extra=["-pdu", str(size)])
    async with connect(peer) as pacs:
        assert pacs.info.peer_maximum_length == size
        report = await pacs.store(samples.folder)
    assert report.ok, (report, peer.log)
    assert bodies(peer.stored_files()) == samples.bodies()


@pytest.mark.parametrize("size", [0, 256])
async def test_pynetdicoms_odd_maximum_lengths(size: int, peers: Peers, samples: Samples) -> None:
    """0 is no limit (PS3.8 D.1.1); the other is smaller than most implementations take."""
    require_peer("pynetdicom")
    peer = peers.pynetdicom(max_pdu=size)
    async with connect(peer) as pacs:
        report = await pacs.store([one.path for one in samples.all[3:]])
    assert report.ok, (report, peer.log)
    assert bodies(peer.stored_files()) == {one.uid: one.body for one in samples.all[3:]}


async def test_data_sets_go_without_files(site: Site, samples: Samples) -> None:
    peer = site.storescp()
    datasets = [dcmread(one.path) for one in samples.all]
    async with connect(peer) as pacs:
        report = await pacs.store(datasets)
    assert report.ok, (report, peer.log)
    assert bodies(peer.stored_files()) == samples.bodies()


async def test_a_syntax_that_is_refused_is_named_and_the_rest_goes_on(peers: Peers, samples: Samples) -> None:
    require_peer("storescp")
    peer = peers.storescp(accept="+xi")
    async with connect(peer) as pacs:
        report = await pacs.store(samples.folder, convert=False)
    implicit = {one.uid for one in samples.all if one.syntax == ImplicitVRLittleEndian}
    assert not report.ok
    assert {item.sop_instance_uid for item in report.stored} == implicit
    assert len(report.failed) == len(samples.all) - len(implicit)
    assert all("transfer syntaxes not supported" in str(item.error) for item in report.failed)
    assert set(bodies(peer.stored_files())) == implicit


async def test_a_peer_that_takes_the_default_alone_gets_everything(peers: Peers, samples: Samples) -> None:
    require_peer("storescp")
    peer = peers.storescp(accept="+xi")
    async with connect(peer) as pacs:
        report = await pacs.store(samples.folder)
    assert report.ok, report
    converted = {item.sop_instance_uid for item in report.items if item.converted_to}
    assert converted == {one.uid for one in samples.all if one.syntax != ImplicitVRLittleEndian}
    stored = {str(one.SOPInstanceUID): one for one in map(dcmread, peer.stored_files())}
    for one in samples.all:
        assert stored[one.uid].pixel_array.tolist() == dcmread(one.path).pixel_array.tolist()


@pytest.mark.parametrize(
    ("status", "category"),
    [(0xB000, "warning"), (0xB007, "warning"), (0xA700, "failure"), (0xC123, "failure")],
)
async def test_statuses_are_told_for_each_object(
    status: int, category: str, peers: Peers, samples: Samples
) -> None:
    require_peer("pynetdicom")
    peer = peers.pynetdicom(store_status=status)
    paths = [one.path for one in samples.all[:2]]
    async with connect(peer) as pacs:
        report = await pacs.store(paths)
        assert (await pacs.echo()) == 0
    assert [item.status for item in report.items] == [status, status]
    assert not report.ok
    assert len(report.warnings if category == "warning" else report.failed) == 2
    assert len(peer.stored_files()) == (2 if category == "warning" else 0)


@pytest.mark.parametrize("fault", ["--abort-after", "--abort-during"])
async def test_a_peer_that_aborts_in_the_middle(fault: str, peers: Peers, samples: Samples) -> None:
    require_peer("storescp")
    peer = peers.storescp(extra=[fault])
    with pytest.raises(aiodicom.AssociationAborted) as caught:
        async with connect(peer) as pacs:
            await pacs.store(samples.folder)
    assert caught.value.by_peer
    assert peer.alive


async def test_a_peer_that_rejects(peers: Peers) -> None:
    require_peer("storescp")
    peer = peers.storescp(extra=["--refuse"])
    with pytest.raises(aiodicom.AssociationRejected) as caught:
        async with connect(peer):
            pass
    assert (caught.value.result, caught.value.source, caught.value.reason) == (1, 1, 1)


async def test_a_wrong_called_title(site: Site) -> None:
    peer = site.archive("orthanc")
    with pytest.raises(aiodicom.AssociationRejected, match="called AE title") as caught:
        async with connect(peer, called_ae="NOBODY"):
            pass
    assert (caught.value.result, caught.value.source, caught.value.reason) == (1, 1, 7)


async def test_private_classes(peers: Peers, tmp_path: Path) -> None:
    """A class nobody knows: storescp refuses the context, and takes it with --promiscuous."""
    require_peer("storescp")
    private = make_object(tmp_path / "private.dcm", sop_class="1.3.46.670589.99.1")
    known = make_object(tmp_path / "known.dcm", sop_class=SECONDARY_CAPTURE)
    peer = peers.storescp()
    async with connect(peer) as pacs:
        report = await pacs.store(tmp_path)
    assert [item.sop_instance_uid for item in report.stored] == [known.uid]
    assert "abstract syntax not supported" in str(report.failed[0].error)
    willing = peers.storescp(extra=["--promiscuous"])
    async with connect(willing) as pacs:
        assert (await pacs.store(tmp_path)).ok
    assert bodies(willing.stored_files()) == {one.uid: one.body for one in (private, known)}
