"""The ladder at Orthanc that does not let us C-GET: refused there, brought by C-MOVE to ourselves."""

from __future__ import annotations

from pathlib import Path

import aiodicom
import pytest
from interop.peers import HOST, Peers, dicom_files
from interop.samples import Samples, bodies
from wire import ct, free_port, study

pytestmark = [pytest.mark.peers, pytest.mark.timeout(90)]


async def test_orthanc_without_c_get_is_retrieved_from(peers: Peers, tmp_path: Path) -> None:
    port = free_port()
    known = {"AET": "AIODICOM", "Host": HOST, "Port": port, "AllowGet": False}
    settings = {"DicomAlwaysAllowGet": False, "DicomModalities": {"AIODICOM": known}}
    archive = peers.orthanc(settings=settings)
    objects = study(size=1000)
    how = {"called_ae": archive.ae_title}
    async with aiodicom.connect(HOST, archive.port, **how) as pacs:  # type: ignore[arg-type]
        assert (await pacs.store(objects)).ok
        with pytest.raises(aiodicom.AssociationAborted):  # that is how it refuses
            await pacs.get("STUDY", "1.2.3", directory=tmp_path / "plain")
        listening = aiodicom.Listening(host=HOST, port=port)
        retrieve = pacs.get("STUDY", "1.2.3", directory=tmp_path / "out", via="auto", listening=listening)
        result = await retrieve
        assert result.ok, (result, [rung.to_dict() for rung in result.rungs])
        assert result.service == "C-MOVE"
        assert result.advice == "C-GET is refused here, C-MOVE was accepted"
        assert len(dicom_files(tmp_path / "out")) == 6
        assert (await pacs.get("STUDY", "1.2.3", directory=tmp_path / "out", via="auto")).present == 6


async def test_nobody_connects_where_orthanc_has_another_port(peers: Peers, tmp_path: Path) -> None:
    archive = peers.orthanc(modalities={"AIODICOM": free_port()})
    async with aiodicom.connect(HOST, archive.port, called_ae=archive.ae_title) as pacs:
        assert (await pacs.store([ct("1.2.3.1.1")])).ok
        here = aiodicom.Listening(host=HOST, port=free_port(), quiet=0.5)
        how = {"directory": tmp_path / "out", "via": ("move",), "listening": here}
        result = await pacs.get("STUDY", "1.2.3", **how)  # type: ignore[call-overload]
    assert not result.ok
    assert "nobody connected to port" in str(result.advice)


@pytest.mark.parametrize("name", ["orthanc", "dcmqrscp"])
async def test_what_is_missing_is_fetched_alone(
    peers: Peers, samples: Samples, tmp_path: Path, name: str
) -> None:
    """Real archives take what `again` and a second run ask for: lists of instances below their series."""
    archive = getattr(peers, name)()
    out = tmp_path / "out"
    async with aiodicom.connect(HOST, archive.port, called_ae=archive.ae_title) as pacs:
        assert (await pacs.store(Path(samples.all[0].path).parent)).ok
        study = samples.all[0].key("STUDY")
        first = await pacs.get("STUDY", study, directory=out, root="STUDY")
        assert first.ok
        before = bodies(first.files)
        for path in first.files[::2]:
            path.unlink()
        again = await pacs.get("STUDY", study, directory=out, root="STUDY")
        assert again.ok, again.to_dict()
        assert again.present == len(first.files) // 2
        assert again.received == len(first.files) - again.present
        assert bodies(dicom_files(out)) == before
        shared = await pacs.get("STUDY", study, directory=tmp_path / "two", root="STUDY", associations=2)
        assert shared.ok
