"""What can be wrong with one DICOM object, as a file, a data set or pixels.

Messages name files, offsets and positions, never what an element says about the patient.
"""

from __future__ import annotations

from ..pdu.errors import AiodicomError


class ImagingError(AiodicomError):
    """An object, or several, that cannot be used for what was asked: the base of all below."""


class NotDicom(ImagingError):
    """The bytes are neither a Part 10 file nor a bare data set."""


class TruncatedFile(ImagingError):
    """The file ends before its own lengths say it should."""


class MalformedDataSet(ImagingError):
    """The bytes are DICOM but break its encoding rules."""


class NestingTooDeep(MalformedDataSet):
    """Sequences are nested deeper than the limit: no scanner writes this, so it is taken for an attack."""


class UnsafeName(ImagingError, ValueError):
    """A name that came with the data cannot be used for a file."""
