"""What all associations of a server share, so that all of them together cost it no more than it has."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

from ..association.budget import Budgets
from ..association.decompressing import Decompressor
from .destinations import Destinations
from .shares import Shares

DECODED_PER_ADDRESS = 1
"""Data sets of one peer address decoded or encoded at a time: it can never have all `DECODERS`."""
DECODERS = 2
"""Threads of one server that decode identifiers and encode answers, apart from those of files and queries:
neither waits for the other. Addresses beyond as many that send long ones wait for each other."""
CONVERTED_PER_ADDRESS = 2
"""Objects that the retrieves of one peer address hold in another transfer syntax than they lie in, until
they are taken: each may be all of the object, in memory or in a temporary file."""


@dataclass(frozen=True, slots=True)
class Resources:
    """Budgets, threads and turns of one server."""

    read_ahead: Budgets
    decoding: Shares
    decoders: Executor
    converting: Shares
    decompressor: Decompressor | None
    destinations: Destinations
