"""The limits of the upper layer: each has a name, a default and a test."""

from __future__ import annotations

from dataclasses import dataclass

ASSOCIATE_ITEMS = 8192
"""Items of an A-ASSOCIATE-RQ or -AC on both levels: 128 contexts of 55 transfer syntaxes are 7,296."""
RELATED_CLASSES = 1024
"""Related general SOP classes of one common extended negotiation (PS3.7 D.3.3.6)."""


@dataclass(frozen=True, slots=True)
class PduLimits:
    """What a peer may make us hold, in bytes.

    `associate_length`: largest A-ASSOCIATE-RQ or -AC; the default takes 128 contexts of 25 transfer
    syntaxes with UIDs of 64 characters (227 KB).
    `maximum_length`: what we announce (PS3.8 D.1); a P-DATA-TF over it is a protocol error. 0: no limit
    announced, and none in force: fragments are handed on as they arrive, so nothing is held either way.

    >>> aiodicom.PduLimits(maximum_length=16384).maximum_length
    16384
    """

    associate_length: int = 262144
    maximum_length: int = 131072
