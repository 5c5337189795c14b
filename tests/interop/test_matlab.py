"""MATLAB's example of its DICOM networking functions, line by line, against Orthanc over mutual TLS."""

from __future__ import annotations

from pathlib import Path

import aiodicom
import imaging_series
import numpy as np
import pytest
from interop.peers import HOST, PKI, Peers

pytestmark = [pytest.mark.peers, pytest.mark.timeout(90)]


async def test_the_example(peers: Peers, pki: PKI, tmp_path: Path) -> None:
    server = peers.orthanc(tls=pki.server)
    made = imaging_series.series(4, PatientID="P1", StudyInstanceUID="1.2")
    folder = tmp_path / "files"
    folder.mkdir()
    imaging_series.save(folder, made)
    uid = str(made[0].SeriesInstanceUID)

    # conn = dicomConnection(peer, port, key, cert, trusted);
    tls = aiodicom.client_context(pki.client.key, pki.client.cert, pki.client.trusted)
    how = {"tls": tls, "called_ae": server.ae_title}
    # testConnection(conn)
    assert await aiodicom.test_connection(HOST, server.port, **how)
    async with aiodicom.connect(HOST, server.port, **how) as conn:  # type: ignore[arg-type]
        # conn.ResponseMessage
        assert conn.info.tls is not None
        assert conn.info.implementation_version_name is not None
        # dicomstore(conn, folder);
        report = await conn.store(folder)
        assert (report.ok, len(report.items)) == (True, 4), [str(item) for item in report.items]
        # patients = dicomquery(conn, "patient", ["PatientName" "PatientID"])
        patients = await conn.find("PATIENT", {}, ["PatientName", "PatientID"], root="PATIENT")
        assert [one.PatientID for one in patients] == [made[0].PatientID]
        # studies = dicomquery(conn, "study", struct(PatientID=...), "StudyInstanceUID", Root="study")
        studies = await conn.find(
            "STUDY", {"PatientID": made[0].PatientID}, ["StudyInstanceUID"], root="study"
        )
        assert [one.StudyInstanceUID for one in studies] == [made[0].StudyInstanceUID]
        # series = dicomquery(conn, "series", struct(StudyInstanceUID=..., Modality=...), "SeriesInstanceUID")
        match = {"StudyInstanceUID": studies[0].StudyInstanceUID, "Modality": made[0].Modality}
        series = await conn.find("SERIES", match, ["SeriesInstanceUID"])
        assert [one.SeriesInstanceUID for one in series] == [uid]
        # files = dicomget(conn, "series", series.SeriesInstanceUID, StorageDirectory="out");
        result = await conn.get(
            "series", series[0].SeriesInstanceUID, directory=tmp_path / "out", root="study"
        )
        assert (result.ok, len(result.files)) == (True, 4)
        # the same a second time, without files
        straight = await conn.volume(uid)
    # vol = medicalVolume("out");
    volume = aiodicom.Volume.from_files(tmp_path / "out")
    here = aiodicom.Volume.from_files(folder)
    assert np.array_equal(volume.voxels, here.voxels)
    assert np.array_equal(straight.voxels, here.voxels)
    # vol.Voxels, vol.VoxelSpacing, extractSlice(vol, 1, "transverse")
    assert volume.matlab_voxels.shape == tuple(reversed(volume.voxels.shape))
    assert len(volume.voxel_spacing) == 3
    assert volume.extract_slice(0, "transverse").pixels.size


async def test_a_connection_without_the_certificate_is_none(peers: Peers, pki: PKI) -> None:
    server = peers.orthanc(tls=pki.server)
    tls = aiodicom.client_context(trusted=pki.client.trusted)
    assert not await aiodicom.test_connection(HOST, server.port, tls=tls, called_ae=server.ae_title)
