"""The storage SOP classes and transfer syntaxes to propose (PS3.6 Annex A)."""

from __future__ import annotations

from functools import cache

from ..pdu.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, UNCOMPRESSED, is_uid
from .contexts import VERIFICATION, Supported

_STORAGE_ROOT = "1.2.840.10008.5.1.4.1.1."
_ELSEWHERE = ("1.2.840.10008.5.1.4.34.7", "1.2.840.10008.5.1.4.34.10")
"""Storage classes of a patient's objects under another root: RT delivery instructions."""
NON_PATIENT = frozenset(
    {
        "1.2.840.10008.5.1.4.38.1",  # Hanging Protocol
        "1.2.840.10008.5.1.4.39.1",  # Color Palette
        "1.2.840.10008.5.1.4.43.1",  # Generic Implant Template
        "1.2.840.10008.5.1.4.44.1",  # Implant Assembly Template
        "1.2.840.10008.5.1.4.45.1",  # Implant Template Group
        "1.2.840.10008.5.1.4.1.1.200.1",  # CT Defined Procedure Protocol
        "1.2.840.10008.5.1.4.1.1.200.3",  # Protocol Approval
        "1.2.840.10008.5.1.4.1.1.200.7",  # XA Defined Procedure Protocol
        "1.2.840.10008.5.1.4.1.1.201.1",  # Inventory
    }
)
"""Storage classes of objects that belong to no patient (PS3.4 GG): neither query root has them."""
MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"

# The everyday classes come first: a retrieve whose classes are not known proposes as many as fit.
_COMMON = (
    "1.2.840.10008.5.1.4.1.1.2",  # CT
    "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT
    "1.2.840.10008.5.1.4.1.1.4",  # MR
    "1.2.840.10008.5.1.4.1.1.4.1",  # Enhanced MR
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture
    "1.2.840.10008.5.1.4.1.1.1",  # CR
    "1.2.840.10008.5.1.4.1.1.1.1",  # DX for presentation
    "1.2.840.10008.5.1.4.1.1.1.2",  # MG for presentation
    "1.2.840.10008.5.1.4.1.1.6.1",  # US
    "1.2.840.10008.5.1.4.1.1.3.1",  # US multi-frame
    "1.2.840.10008.5.1.4.1.1.128",  # PET
    "1.2.840.10008.5.1.4.1.1.20",  # NM
    "1.2.840.10008.5.1.4.1.1.12.1",  # XA
    "1.2.840.10008.5.1.4.1.1.481.2",  # RT Dose
    "1.2.840.10008.5.1.4.1.1.481.3",  # RT Structure Set
    "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
)


# The others, likewise without their common root. A table of our own: pydicom's dictionary has them too,
# and takes long to load.
_OTHERS = """
    1.1.1 1.2.1 1.3 1.3.1 2.2 4.2 4.3 4.4 6.2 6.3 7.1 7.2 7.3 7.4 9.1.1 9.1.2 9.1.3 9.1.4 9.2.1
    9.3.1 9.4.1 9.4.2 9.5.1 9.6.1 9.6.2 9.7.1 9.7.2 9.7.3 9.7.4 9.8.1 11.1 11.2 11.3 11.4 11.5 11.6
    11.7 11.8 11.9 11.10 11.11 11.12 12.1.1 12.2 12.2.1 13.1.1 13.1.2 13.1.3 13.1.4 13.1.5 14.1 14.2
    30 66 66.1 66.2 66.3 66.5 66.6 67 68.1 68.2 77.1.1 77.1.1.1 77.1.2 77.1.2.1 77.1.3 77.1.4
    77.1.4.1 77.1.5.1 77.1.5.2 77.1.5.3 77.1.5.4 77.1.5.5 77.1.5.6 77.1.5.7 77.1.5.8 77.1.6 77.1.7
    77.1.8 77.1.9 78.1 78.2 78.3 78.4 78.5 78.6 78.7 78.8 79.1 80.1 81.1 82.1 88.11 88.22 88.33
    88.34 88.35 88.40 88.50 88.59 88.65 88.67 88.68 88.69 88.70 88.71 88.72 88.73 88.74 88.75 88.76
    88.77 90.1 91.1 104.1 104.2 104.3 104.4 104.5 128.1 130 131 200.1 200.2 200.3 200.7 200.8 201.1
    481.1 481.4 481.5 481.6 481.7 481.8 481.9 481.10 481.11 481.12 481.13 481.14 481.15 481.16
    481.17 481.18 481.19 481.20 481.21 481.22 481.23 481.24 481.25 501.1 501.2.1 501.2.2 501.3 501.4
    501.5 501.6 601.1 601.2
"""


@cache
def storage_sop_classes() -> tuple[str, ...]:
    """Every standard storage SOP class that is not retired, the everyday ones first (PS3.6 Table A-1).

    >>> "1.2.840.10008.5.1.4.1.1.2" in aiodicom.storage_sop_classes()  # CT Image Storage
    True
    """
    known = (*_COMMON, *(_STORAGE_ROOT + tail for tail in _OTHERS.split()), *_ELSEWHERE)
    return (*known, *sorted(NON_PATIENT.difference(known)))


@cache
def patient_sop_classes() -> tuple[str, ...]:
    """Those of a patient's objects: what can be found by patient and study (PS3.4 C.6)."""
    return tuple(uid for uid in storage_sop_classes() if uid not in NON_PATIENT)


def maybe_storage(uid: str) -> tuple[str, ...] | None:
    """Any transfer syntax for an abstract syntax that may be a storage class: not one of another service.

    Under DICOM's own root the storage classes are known; any other UID is private and taken.
    """
    if not is_uid(uid) or uid in NON_PATIENT:
        return None
    if uid.startswith("1.2.840.10008.") and not uid.startswith((_STORAGE_ROOT, *_ELSEWHERE)):
        return None
    return ()


_TRANSFER_ROOT = "1.2.840.10008.1.2."
# JPEG 2000 part 2; the other videos, each whole and fragmentable; HEVC; JPEG XL; encapsulated uncompressed
# and the deflated image frame; JPIP; the retired processes of JPEG. Not those that no object is stored in.
_RARE = """
    4.92 4.93 4.101 4.103 4.104 4.105 4.106 4.107 4.108
    4.100.1 4.101.1 4.102.1 4.103.1 4.104.1 4.105.1 4.106.1
    4.110 4.111 4.112 1.98 8.1 4.94 4.95 4.204 4.205
    4.58 4.52 4.53 4.54 4.55 4.56 4.59 4.60 4.61 4.62 4.63 4.64 4.65 4.66
"""

# Storage as it is met: what to offer when the stored syntax is not known, the likelier first. Retired ones,
# and those whose pixels are elsewhere, come last.
TRANSFER_SYNTAXES = (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    "1.2.840.10008.1.2.4.70",  # JPEG lossless, first-order prediction
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.50",  # JPEG baseline
    "1.2.840.10008.1.2.5",  # RLE
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.81",  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.51",  # JPEG extended
    "1.2.840.10008.1.2.4.57",  # JPEG lossless
    "1.2.840.10008.1.2.4.201",  # HTJ2K lossless
    "1.2.840.10008.1.2.4.202",  # HTJ2K lossless RPCL
    "1.2.840.10008.1.2.4.203",  # HTJ2K
    "1.2.840.10008.1.2.2",  # explicit big endian
    "1.2.840.10008.1.2.1.99",  # deflated
    "1.2.840.10008.1.2.4.102",  # MPEG-4 AVC/H.264
    "1.2.840.10008.1.2.4.100",  # MPEG2
    *(_TRANSFER_ROOT + tail for tail in _RARE.split()),
)


SUPPORTED_VERIFICATION = Supported({VERIFICATION: UNCOMPRESSED})
"""What a server that answers C-ECHO alone accepts."""
SUPPORTED_STORAGE = Supported(
    {VERIFICATION: UNCOMPRESSED, **dict.fromkeys(storage_sop_classes(), ())}, accept_unknown=maybe_storage
)
"""What a server that takes every object in any transfer syntax accepts, private classes included."""
