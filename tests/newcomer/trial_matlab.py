"""The first hour of somebody with MATLAB's example in hand: line by line, as docs/matlab.md has it."""

import asyncio
import tempfile
from pathlib import Path

import aiodicom
from aiodicom.imaging.phantom import write_series


async def main() -> None:
    folder = Path(tempfile.mkdtemp())
    write_series(folder / "series", slices=5, rows=16, columns=24)
    async with aiodicom.serve_archive(folder / "archive", port=0) as server:
        peer, port = "127.0.0.1", server.port
        # conn = dicomConnection(peer, port); testConnection(conn)
        assert await aiodicom.test_connection(peer, port)
        assert not await aiodicom.test_connection(peer, 1)
        async with aiodicom.connect(peer, port) as pacs:
            # dicomstore(conn, folder)
            report = await pacs.store(folder / "series")
            assert report.ok, report.items
            # matches = dicomquery(conn, "study", keysToReturn)
            studies = await pacs.find("STUDY", {}, ["StudyDate", "PatientName"])
            assert len(studies) == 1
            # matches = dicomquery(conn, "series", keysToMatch, keysToReturn)
            wanted = {"StudyInstanceUID": studies[0].StudyInstanceUID}
            [series] = await pacs.find("SERIES", wanted, ["Modality"])
            # dicomget(conn, "series", uniqueID, StorageDirectory=d)
            result = await pacs.get("SERIES", series.SeriesInstanceUID, directory=folder / "out")
            assert result.ok, result
            # vol = medicalVolume(folder); size(vol.Voxels)
            volume = aiodicom.Volume.from_files(folder / "out")
            assert volume.voxels.shape == (5, 16, 24)
            assert volume.matlab_voxels.shape == (24, 16, 5)
            # intrinsicToWorld(vol.VolumeGeometry, ...)
            assert volume.geometry.voxel_to_patient([[0, 0, 0], [4, 15, 23]]).shape == (2, 3)
            assert (await pacs.volume(series.SeriesInstanceUID)).voxels.shape == (5, 16, 24)
            # dicomCollection(folder)
            assert len(list(aiodicom.Volume.volumes(folder / "out"))) == 1
    print("matlab: done")


asyncio.run(main())
