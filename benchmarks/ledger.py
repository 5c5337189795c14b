"""A ledger of what was sent, answered and retrieved, and how it is held against an archive's disk."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiodicom
from aiodicom.archive.archive import Archive
from aiodicom.dataset.errors import ImagingError
from aiodicom.dataset.part10 import read_header
from pydicom import Dataset

SUCCESS, KEPT_ASIDE = 0x0000, 0x0111


def digest_of(path: Path) -> str:
    """What identifies a version of an object: its transfer syntax and its data set, byte for byte."""
    header = read_header(path)
    with path.open("rb") as file:
        file.seek(header.data_offset)
        return f"{header.transfer_syntax_uid} {hashlib.file_digest(file, 'sha256').hexdigest()}"


@dataclass(slots=True)
class Entry:
    """One SOP Instance UID: the versions sent, and those answered with success and with 0111H."""

    sent: set[str] = field(default_factory=set)
    stored: set[str] = field(default_factory=set)
    aside: set[str] = field(default_factory=set)
    retrieved: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Disk:
    """What an archive holds.

    `objects` are the versions of each object (there should be one), `conflicts` those set aside, `indexed`
    the objects the index knows, `stray` files that should not be there.
    """

    objects: dict[str, list[str]] = field(default_factory=dict)
    conflicts: set[tuple[str, str]] = field(default_factory=set)
    indexed: set[str] = field(default_factory=set)
    stray: list[str] = field(default_factory=list)


class Ledger:
    """What was sent, what was answered, what was retrieved; `compare` holds it against the disk."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.counts: Counter[str] = Counter()
        self.trouble: list[str] = []
        """Differences noticed on the way."""

    def sent(self, uid: str, version: str) -> None:
        """To be called before the first byte goes out."""
        self.entries.setdefault(uid, Entry()).sent.add(version)
        self.counts["sent"] += 1

    def answered(self, uid: str, version: str, status: int | None) -> None:
        """The outcome of one C-STORE; None when no answer came."""
        entry = self.entries[uid]
        if status is None:
            self.counts["not answered"] += 1
        elif status == SUCCESS:
            entry.stored.add(version)
            self.counts["answered 0000H"] += 1
        elif status == KEPT_ASIDE:
            entry.aside.add(version)
            self.counts["answered 0111H"] += 1
        else:
            self.counts[f"answered {status:04X}H"] += 1
            self.trouble.append(f"{uid}: a whole object was answered {status:04X}H")

    def retrieved(self, uid: str, version: str) -> None:
        """An object that a client reports as safe on its disk."""
        self.counts["retrieved"] += 1
        if uid in self.entries:
            self.entries[uid].retrieved.add(version)
        else:
            self.trouble.append(f"{uid}: retrieved, and was never sent")

    def compare(self, disk: Disk) -> list[str]:
        """Every difference, in words."""
        found = list(self.trouble)
        found += [f"{name}: does not belong there" for name in disk.stray]
        for uid, entry in self.entries.items():
            found += [f"{uid}: {what}" for what in _differences(uid, entry, disk)]
        for uid in disk.objects.keys() - self.entries.keys():
            found.append(f"{uid}: on disk, and was never sent")
        for uid in disk.indexed ^ disk.objects.keys():
            found.append(f"{uid}: {'in the index' if uid in disk.indexed else 'on disk'} alone")
        for uid, version in disk.conflicts:
            if uid not in self.entries or version not in self.entries[uid].sent:
                found.append(f"{uid}: set aside is what was never sent, or half of it")
            elif version in disk.objects.get(uid, ()):
                found.append(f"{uid}: set aside is the object itself")
        return found


def _differences(uid: str, entry: Entry, disk: Disk) -> Iterator[str]:
    here = disk.objects.get(uid, [])
    if len(here) > 1:
        yield f"on disk {len(here)} times"
    if any(version not in entry.sent for version in here):
        yield "on disk is what was never sent, or half of it"
    if len(entry.stored) > 1:
        yield "two versions were both answered with success"
    if entry.stored and not here:
        yield "answered with success, and not on disk"
    elif not entry.stored <= set(here):
        yield "answered with success, and another version is on disk"
    if entry.aside and not here:
        yield "answered 0111H, and nothing is on disk"
    if entry.aside & set(here):
        yield "answered 0111H, and is the one kept"
    if any((uid, version) not in disk.conflicts for version in entry.aside):
        yield "answered 0111H, and not set aside"
    if not entry.retrieved <= set(here):
        yield "retrieved as the archive does not have it"


def read_disk(directory: Path, patient: str) -> Disk:
    """Open an archive that was closed or killed, and read every byte of what it has of its one patient."""
    disk = Disk()
    with Archive(directory) as archive:
        archive.wait_until_compared()
        for path in directory.glob("objects/*/*/*"):
            try:
                disk.objects.setdefault(path.stem, []).append(digest_of(path))
            except (OSError, ImagingError) as error:
                disk.stray.append(f"{path.name} ({error})")
        for path in (directory / "conflicts").iterdir():
            disk.conflicts.add((path.name.rsplit(".", 2)[0], digest_of(path)))
        disk.stray += [p.name for p in (directory / "incoming").iterdir() if p.name != "journal"]
        identifier = Dataset()
        identifier.QueryRetrieveLevel, identifier.PatientID = "PATIENT", patient
        found = archive.select(aiodicom.Root.PATIENT, None, identifier)
        disk.indexed = {one.sop_instance_uid for one in found}
        if archive.counts().instances != len(found):
            disk.stray.append(f"the index: {archive.counts().instances} objects, {len(found)} of the patient")
    return disk
