"""The index of a large archive: its size, and how fast it is made, asked, changed, compared with its files.

    python benchmarks/scale.py [--instances 1000000] [--files 0] [--folder DIR]

Rows are made up (two series of 50 instances a study) and go through the archive's own writer. Every query is
read to its last answer; the least of several runs counts. For `--files` objects there are files too, empty
ones of the right length, which an archive opened as after a power failure compares with its index.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from statistics import median

from aiodicom.archive.archive import Archive
from aiodicom.archive.entry import Entry
from aiodicom.archive.files import INDEX
from aiodicom.archive.find import Matches
from aiodicom.archive.index import Index
from aiodicom.archive.query import compile_query
from aiodicom.archive.search import Search
from aiodicom.dimse.levels import Root
from aiodicom.server.archive_service import FETCH, FETCH_BYTES
from pydicom.dataset import Dataset

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
ROOT = "1.2.826.0.1.3680043.9.7433"
IN_SERIES, IN_STUDY = 50, 100
FILE_SIZE = 512
ROUNDS = 5
_SYLLABLES = ("ba", "ker", "li", "mon", "ne", "ro", "sa", "ti", "vo", "wes")
_EXAMS = ("CT HEAD", "CT CHEST", "MR KNEE", "MR BRAIN", "US ABDOMEN", "CR THORAX", "PET WHOLE BODY")


def surname(number: int) -> str:
    """One of ten thousand."""
    digits = int(hashlib.sha256(str(number).encode()).hexdigest()[:8], 16)
    return "".join(_SYLLABLES[digits // 10**power % 10] for power in range(4)).capitalize()


def born(number: int) -> str:
    """A patient's birthday."""
    return f"19{number % 90 + 10}{number % 12 + 1:02}{number % 28 + 1:02}"


def entries(count: int) -> Iterator[Entry]:
    """The rows of so many instances, as those of a hospital."""
    for study in range((count + IN_STUDY - 1) // IN_STUDY):
        study_uid = f"{ROOT}.{study}"
        day = f"20{study % 24:02}{study % 12 + 1:02}{study % 28 + 1:02}"
        patient = {
            "PatientName": f"{surname(study)}^Given{study % 97}",
            "PatientID": f"P{study:08}",
            "PatientBirthDate": born(study),
            "PatientSex": "FM"[study % 2],
        }
        exam = {
            "StudyInstanceUID": study_uid,
            "StudyDate": day,
            "StudyTime": "101500",
            "AccessionNumber": f"A{study:08}",
            "StudyID": str(study),
            "StudyDescription": f"{_EXAMS[study % 7]} {study % 1000}",
            "ReferringPhysicianName": f"{surname(study % 500)}^Dr",
        }
        patient_text, exam_text = json.dumps(patient), json.dumps(exam)
        for first in range(study * IN_STUDY, min((study + 1) * IN_STUDY, count), IN_SERIES):
            series_uid = f"{study_uid}.{first // IN_SERIES % 2 + 1}"
            series = {
                "SeriesInstanceUID": series_uid,
                "Modality": "CT",
                "SeriesNumber": str(first // IN_SERIES % 2 + 1),
                "SeriesDescription": f"axial {first % 700} mm",
                "BodyPartExamined": "HEAD",
                "StationName": f"CT{study % 20}",
                "Manufacturer": "ACME",
                "ManufacturerModelName": "Scan 64",
                "InstitutionName": "General Hospital",
            }
            digest = hashlib.sha256(series_uid.encode()).hexdigest()
            series_text, folder = json.dumps(series), f"objects/{digest[:2]}/{digest[2:4]}"
            for number in range(first, min(first + IN_SERIES, count)):
                uid = f"{series_uid}.{number}"
                picture = (
                    f'{{"SOPInstanceUID":"{uid}","SOPClassUID":"{CT}","InstanceNumber":"{number % 50}",'
                    f'"ContentDate":"{day}","Rows":"512","Columns":"512","SliceLocation":"{number % 50}.5"}}'
                )
                yield Entry(
                    CT, uid, EXPLICIT, study_uid, series_uid, patient["PatientID"], day,
                    exam["AccessionNumber"], "CT", "", patient_text, exam_text, series_text, picture,
                    f"{folder}/{uid}.dcm", 300, FILE_SIZE, number,
                )  # fmt: skip


def write_files(folder: Path, count: int) -> None:
    """A file of the right name and length for the first so many instances."""
    known: set[str] = set()
    for entry in entries(count):
        parent = os.path.dirname(entry.path)
        if parent not in known:
            (folder / parent).mkdir(parents=True, exist_ok=True)
            known.add(parent)
        descriptor = os.open(folder / entry.path, os.O_CREAT | os.O_WRONLY, 0o640)
        os.ftruncate(descriptor, FILE_SIZE)
        os.close(descriptor)


def times_of(work: Callable[[], object], rounds: int) -> list[float]:
    """What each of several runs took, in milliseconds, sorted."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append((time.perf_counter() - started) * 1000)
    return sorted(times)


def least(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """The least of several runs, in milliseconds."""
    return times_of(work, rounds)[0]


def say(what: str, figure: str) -> None:
    print(f"{what:<58} {figure}", flush=True)


def build(folder: Path, count: int) -> None:
    index = Index(folder / INDEX)
    started = time.perf_counter()
    try:
        index.add(entries(count), replace_all=True)
    finally:
        index.close()
    seconds = time.perf_counter() - started
    size = os.path.getsize(folder / INDEX)
    say("index made", f"{count / seconds:,.0f} instances/s, {size / 1e9:.2f} GB, {size / count:.0f} B each")


def identifier(level: str, **keys: str) -> Dataset:
    """Keys, and what a user wants to see."""
    asked = Dataset()
    asked.QueryRetrieveLevel = level
    asked.StudyInstanceUID = ""
    asked.PatientName = asked.PatientID = asked.StudyDescription = ""
    for keyword, value in keys.items():
        setattr(asked, keyword, value)
    return asked


def answered(index: Index, asked: Dataset) -> int:
    """Ask as the archive's service does, in bytes for the wire and so many at a time; gives how many."""
    matches = Matches(index, compile_query(asked, Root.STUDY), None, Search())
    count, ended = 0, False
    while not ended:
        taken, ended = matches.take(EXPLICIT, FETCH, FETCH_BYTES, print)
        count += len(taken)
    return count


def ask(index: Index, count: int) -> None:
    """Every kind of key."""
    study = count // IN_STUDY // 2
    uid = f"{ROOT}.{study}"
    name = surname(study)
    queries = {
        "one study by its UID": identifier("STUDY", StudyInstanceUID=uid),
        "one patient by ID": identifier("STUDY", PatientID=f"P{study:08}"),
        "one accession number": identifier("STUDY", AccessionNumber=f"A{study:08}"),
        "one instance by its UID": identifier("IMAGE", SOPInstanceUID=f"{uid}.1.{study * IN_STUDY}"),
        "the series of a study, counted": identifier(
            "SERIES", StudyInstanceUID=uid, SeriesInstanceUID="", NumberOfSeriesRelatedInstances=""
        ),
        "the instances of a series": identifier("IMAGE", SeriesInstanceUID=f"{uid}.1", SOPInstanceUID=""),
        "a whole name in capitals": identifier("STUDY", PatientName=f"{name.upper()}^GIVEN{study % 97}"),
        "the beginning of a name": identifier("STUDY", PatientName=f"{name[:-1].lower()}*"),
        "a family name and any given one": identifier("STUDY", PatientName=f"{name}^*"),
        "the beginning of a study description": identifier(
            "STUDY", StudyDescription=f"{_EXAMS[study % 7]} {study % 1000}*"
        ),
        "a series description": identifier("SERIES", SeriesDescription="axial 50 mm", SeriesInstanceUID=""),
        "a day of birth, among studies of 25 years": identifier(
            "STUDY", PatientBirthDate=born(study), StudyDate="20000101-20241231"
        ),
        "the middle of a name": identifier("STUDY", PatientName=f"*{name[3:]}x*"),
    }
    for what, asked in queries.items():
        answers = answered(index, asked)
        best = least(lambda asked=asked: answered(index, asked))  # type: ignore[misc]
        say(what, f"{best:,.2f} ms for {answers:,} answers")


def change(index: Index, count: int) -> None:
    """Take out single objects: of a series that stays, and a whole series."""
    uids = [f"{ROOT}.{study}.1.{study * IN_STUDY}" for study in range(1, min(count // IN_STUDY, 100))]
    times = sorted(least(lambda uid=uid: index.remove([uid]), 1) for uid in uids)  # type: ignore[misc]
    say(f"one object taken out, of {len(uids)}", f"{median(times):.2f} ms, {times[-1]:.2f} ms at most")
    whole = [f"{ROOT}.0.1.{number}" for number in range(IN_SERIES)]
    say("a series of 50 taken out", f"{least(lambda: index.remove(whole), 1):.2f} ms")


def migrate(folder: Path) -> None:
    """Open it as one of the version that had no words."""
    with closing(sqlite3.connect(folder / INDEX)) as connection:
        connection.executescript("DROP TABLE study_words; DROP TABLE series_words; PRAGMA user_version = 3;")
    say(
        "opened as one of version 3, without words",
        f"{least(lambda: Index(folder / INDEX).close(), 1):,.0f} ms",
    )


def compare(folder: Path, count: int) -> None:
    """Open an archive of so many objects as after a power failure that took ten files."""
    build(folder, count)
    write_files(folder, count)
    lost = [entry for entry in entries(count) if entry.sop_instance_uid.endswith("0")][:20]
    for entry in lost[:10]:
        (folder / entry.path).unlink()
    (folder / "lock").write_text("another run of the machine")
    started, cpu = time.perf_counter(), time.process_time()
    with Archive(folder) as archive:
        opened = time.perf_counter() - started
        asked = identifier("STUDY", StudyInstanceUID=f"{ROOT}.{count // IN_STUDY // 2}")
        answers = len(list(archive.find(Root.STUDY, None, asked)))
        first = time.perf_counter() - started
        during = times_of(lambda: list(archive.find(Root.STUDY, None, asked)), 50)
        whole = archive.wait_until_compared()
        compared, used = time.perf_counter() - started, time.process_time() - cpu
        left = archive.counts().instances
    say("opened after a power failure", f"{opened * 1000:,.0f} ms")
    say("its first answer", f"{first * 1000:,.0f} ms, {answers} found")
    say("a study by its UID meanwhile, 50 times", f"{median(during):.2f} ms, {during[-1]:.2f} ms at most")
    say("index and files compared", f"{compared:,.1f} s, {used:,.1f} s of CPU")
    say("taken out, their files being lost", f"{count - left}{'' if whole else ', not to the end'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--instances", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to put it; by default a temporary one")
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        say("instances", f"{options.instances:,}")
        build(Path(temporary), options.instances)
        index = Index(Path(temporary) / INDEX)
        try:
            say("opened", f"{least(lambda: Index(Path(temporary) / INDEX).close()):.1f} ms")
            say("counted", f"{least(index.counts):,.0f} ms")
            ask(index, options.instances)
            change(index, options.instances)
        finally:
            index.close()
        migrate(Path(temporary))
    if options.files:
        with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
            say("objects with files", f"{options.files:,}")
            compare(Path(temporary), options.files)


if __name__ == "__main__":
    main()
