"""Any bytes as an identifier, in any of the four uncompressed transfer syntaxes.

Input: the first byte chooses the transfer syntax, the rest is the data set.

May be raised: DatasetDecodeError by `decode_dataset`, after which every value is at hand; LocalProtocolError
by `encode_dataset` for what was read but does not fit its VR. Nothing else, and no warning.
"""

from __future__ import annotations

import warnings

from aiodicom.dataset.coding import DatasetDecodeError, decode_dataset, encode_dataset
from aiodicom.pdu import LocalProtocolError
from aiodicom.pdu.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)

_SYNTAXES = (
    IMPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
)


def one_input(data: bytes) -> None:
    """Decode one data set, look at all of it, write it again."""
    if not data:
        return
    syntax = _SYNTAXES[data[0] % len(_SYNTAXES)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            dataset = decode_dataset(data[1:], syntax)
        except DatasetDecodeError:
            return
        values = [(int(element.tag), element.VR, element.value) for element in dataset.iterall()]
    assert len(values) >= len(dataset)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            raw = encode_dataset(dataset, syntax)
        except LocalProtocolError:
            return
    assert isinstance(raw, bytes)
