"""The only place where names that came over the wire become file names.

Everything here is an allow-list: what is not known to be harmless on every common file system is replaced,
and what was replaced is told apart by a hash of the original.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath

from ..pdu.uids import is_uid

_UNSAFE = re.compile(r"[^A-Za-z0-9.+-]+")
_RESERVED = frozenset(
    ["con", "prn", "aux", "nul", "clock$"] + [f"{port}{n}" for port in ("com", "lpt") for n in range(10)]
)
_HASH_DIGITS = 12


def file_stem(uid: str) -> str:
    """The name of an object's file without ".dcm": its UID, or a hash of what stands in the place of one.

    No UID has a letter, so the two never meet. A hash stands also for what differs from another in case
    alone, which some file systems do not tell apart.
    """
    if is_uid(uid):
        return uid
    return "x" + hashlib.sha256(uid.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def safe_name(text: str, limit: int = 40) -> str:
    """Return a readable name for a file or folder made of `text`: 1 to `limit` of `A-Z a-z 0-9 . _ + -`.

    Different texts may give one name. The name is no device of Windows, and does not begin or end with a
    dot, a dash or an underscore; it is "unknown" when nothing is left.
    """
    name = _UNSAFE.sub("_", text[: 4 * limit]).strip("._-")[:limit].rstrip("._-")
    if not name:
        return "unknown"[:limit]
    if name.split(".")[0].lower() in _RESERVED:
        return ("x" + name)[:limit]
    return name


def short_hash(text: str) -> str:
    """Return 12 hexadecimal digits that stand for a UID or another text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]


def instance_path(
    *,
    study_uid: str,
    series_uid: str,
    sop_instance_uid: str,
    patient_id: str = "",
    study_date: str = "",
    modality: str = "",
    series_number: str | int | None = None,
    series_description: str = "",
) -> PurePosixPath:
    """Return the relative path of an instance:
    `patient/date_study/modality_number_description_series/uid.dcm`.

    Study and series are told apart by hashes of their UIDs, so that files of two never meet; the path has
    at most about 220 characters. The last is the SOP Instance UID, or `file_stem` of what is none.
    """
    patient = safe_name(patient_id, 32)
    if patient != patient_id:
        patient = f"{patient}_{short_hash(patient_id)}" if patient_id else "unknown"
    date = study_date if study_date.isascii() and study_date.isdigit() and len(study_date) == 8 else "undated"
    parts = [safe_name(modality, 16) if modality else "OT"]
    if series_number not in (None, ""):
        parts.append(safe_name(str(series_number).strip(), 12))
    if series_description:
        parts.append(safe_name(series_description, 40))
    parts.append(short_hash(series_uid))
    return PurePosixPath(
        patient, f"{date}_{short_hash(study_uid)}", "_".join(parts), f"{file_stem(sop_instance_uid)}.dcm"
    )
