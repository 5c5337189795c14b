"""`StorageService` and `WorklistService` as DCMTK's tools see them."""

from __future__ import annotations

from pathlib import Path

import aiodicom
import pytest
from interop.peers import HOST, findscu, storescu
from interop.samples import Samples, bodies
from pydicom.dataset import Dataset


def scheduled(number: int, modality: str) -> Dataset:
    step, item = Dataset(), Dataset()
    step.Modality = modality
    item.PatientName, item.PatientID = f"Patient^{number}", f"P{number}"
    item.ScheduledProcedureStepSequence = [step]
    return item


async def listed(identifier: Dataset) -> list[Dataset]:
    return [scheduled(1, "CT"), scheduled(2, "MR"), scheduled(3, "CT")]


pytestmark = [pytest.mark.peers, pytest.mark.timeout(90)]


async def test_storescu_stores_by_a_coroutine(samples: Samples, tmp_path: Path) -> None:
    paths = [Path(one.path) for one in samples.all]

    async def keep(incoming: aiodicom.Incoming) -> None:
        with (tmp_path / f"{len(list(tmp_path.iterdir()))}.dcm").open("xb") as file:
            async for part in incoming.file():
                file.write(part)

    async with aiodicom.serve(aiodicom.StorageService(keep), port=0) as server:
        outcome = await storescu(server.port, [paths[0]]).start()
    assert outcome.code == 0, outcome.text
    assert bodies(list(tmp_path.glob("*.dcm"))) == bodies([paths[0]])


async def test_findscu_asks_for_a_worklist() -> None:
    async with aiodicom.serve(aiodicom.WorklistService(listed), host=HOST, port=0) as server:
        keys = {
            "PatientID": "",
            "PatientName": "patient*",
            "ScheduledProcedureStepSequence[0].Modality": "CT",
        }
        outcome = await findscu(server.port, keys, root="WORKLIST").start()
    assert outcome.code == 0, outcome.text
    assert outcome.text.count("Patient^") == 2
