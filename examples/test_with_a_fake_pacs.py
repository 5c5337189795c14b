"""A test suite for an application that talks to a PACS: pytest, and a PACS that does wrong what you say.

    pip install aiodicom pytest
    pytest test_with_a_fake_pacs.py

`dicom_pacs` is there when aiodicom is installed. It serves on a thread: the application may be synchronous,
asynchronous, or another process.
"""

import asyncio
import subprocess
import sys

import aiodicom
import pytest
from aiodicom.testing import ct, on


def send(pacs, *objects):
    """The application under test: stores, and tries what failed once more."""

    async def work():
        async with aiodicom.connect(pacs.host, pacs.port, called_ae="FAKE") as peer:
            report = await peer.store(list(objects))
            failed = {item.sop_instance_uid for item in report.failed}
            again = [one for one in objects if one.SOPInstanceUID in failed]
            return await peer.store(again) if again else report

    return asyncio.run(work())


def test_what_is_stored_is_there(dicom_pacs):
    pacs = dicom_pacs()
    assert send(pacs, ct(1), ct(2)).ok
    assert pacs.requests("C-STORE") == 2
    assert pacs.released
    assert not pacs.deviations  # what the application said is judged against the standard


def test_one_that_is_refused_is_sent_again(dicom_pacs):
    pacs = dicom_pacs(faults=[on("C-STORE", nth=2).status(0xA700)])
    assert send(pacs, ct(1), ct(2), ct(3)).ok
    assert pacs.requests("C-STORE") == 4


def test_a_pacs_that_breaks_off_is_an_error(dicom_pacs):
    pacs = dicom_pacs(faults=[on("C-STORE", nth=1).abort()])
    with pytest.raises(aiodicom.AssociationAborted):
        send(pacs, ct(1))


def test_the_command_line_is_an_application_too(dicom_pacs, tmp_path):
    pacs = dicom_pacs(objects=[ct(1), ct(2)])
    command = [sys.executable, "-m", "aiodicom", "get", pacs.host, str(pacs.port)]
    done = subprocess.run([*command, "--level", "STUDY", "--out", str(tmp_path), ct(1).StudyInstanceUID])
    assert done.returncode == 0
    assert len(list(tmp_path.rglob("*.dcm"))) == 2
