"""The storage SOP classes and transfer syntaxes to propose, out of pydicom's dictionary (PS3.6 Annex A)."""

from __future__ import annotations

from functools import cache

from ..dimse.contexts import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN

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


@cache
def storage_sop_classes() -> tuple[str, ...]:
    """Every standard storage SOP class that is not retired, the everyday ones first."""
    from pydicom._uid_dict import UID_dictionary

    found = [
        uid
        for uid, (name, kind, _, retired, _) in UID_dictionary.items()
        if kind == "SOP Class"
        and not retired
        and uid.startswith("1.2.840.10008.5.1.4.1.1.")
        and "Storage" in name
    ]
    return tuple(dict.fromkeys((*_COMMON, *found)))


def maybe_storage(uid: str) -> tuple[str, ...] | None:
    """Any transfer syntax for an abstract syntax that may be a storage class: not one of another service.

    Under DICOM's own root the storage classes are known; anything else is private and taken.
    """
    if uid.startswith("1.2.840.10008.") and not uid.startswith("1.2.840.10008.5.1.4.1.1."):
        return None
    return ()


# Storage as it is met: what to offer when the stored syntax is not known, the likelier first. Big endian and
# deflated objects are rare and come last.
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
    "1.2.840.10008.1.2.4.100",  # MPEG2
    "1.2.840.10008.1.2.4.102",  # MPEG-4
    "1.2.840.10008.1.2.2",  # explicit big endian
    "1.2.840.10008.1.2.1.99",  # deflated
)
