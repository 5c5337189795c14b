"""What a server lets its peers take: every limit with its name, default and meaning.

The command line makes a flag of each field; `help` is its text.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from ..dimse.limits import SessionLimits
from ..pdu.limits import PduLimits
from .origin import IPV6_PREFIX


def _limit(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """Times in seconds, sizes in bytes; None switches a limit off.

    >>> limits = aiodicom.ServerLimits(max_associations=50, idle_timeout=60)
    >>> server = aiodicom.serve_archive(OUT, port=0, limits=limits)
    """

    artim_timeout: float = _limit(
        10.0,
        "from the TCP accept, TLS handshake included, to the whole A-ASSOCIATE-RQ, however slowly bytes come;"
        " and how long a peer may keep the connection after the association has ended",
    )
    idle_timeout: float | None = _limit(
        300.0, "how long an association may stay open with nothing arriving and nothing running"
    )
    inactivity_timeout: float | None = _limit(
        60.0,
        "how long a peer may take to answer a C-GET sub-operation, to take 1 MiB of its object, or to read"
        " anything of what is sent, whatever else it sends",
    )
    pdu_timeout: float | None = _limit(60.0, "how long one PDU may take from its first byte to its last")
    message_timeout: float | None = _limit(
        300.0,
        "how long a message may take from its first byte to its last; a data set has that for each MiB",
    )
    drain_timeout: float = _limit(10.0, "how long running requests may go on when the server is told to stop")
    suboperation_timeout: float | None = _limit(
        60.0,
        "how long a C-MOVE destination may take to connect, to answer the association, to take 1 MiB of an"
        " object, and to answer it, whatever else it sends",
    )
    max_associations: int = _limit(2000, "associations at once; one more is rejected as transient")
    max_associations_per_address: int | None = _limit(
        500, "associations at once from one peer address: one peer must not take the whole server"
    )
    max_associations_per_ae: int | None = _limit(None, "associations at once from one calling AE title")
    max_pending_connections: int = _limit(
        500,
        "connections at once without an association; for one more, one whose association has ended is closed,"
        " or the oldest of the address that has most of them",
    )
    ipv6_prefix: int = _limit(
        IPV6_PREFIX,
        "bits of an IPv6 address that count wherever a limit is for an address: whoever has one has a network"
        " of them; 128 counts each address by itself",
    )
    descriptor_reserve: int = _limit(
        128,
        "file descriptors kept for files and the index: no connection is accepted while fewer are free, and"
        " no C-MOVE destination connected to while fewer than half as many are",
    )
    max_associate_length: int = _limit(262144, "bytes of an A-ASSOCIATE-RQ")
    max_contexts: int = _limit(128, "presentation contexts of a request")
    max_negotiation_items: int = _limit(
        1024, "role selection and extended negotiation items of a request; one more is rejected"
    )
    max_pdu_length: int = _limit(131072, "bytes of a P-DATA-TF, as announced; 0 announces no limit")
    max_command_length: int = _limit(65536, "bytes of a command set")
    max_identifier_length: int = _limit(262144, "bytes of an identifier or another data set kept in memory")
    max_identifier_elements: int = _limit(
        4096, "elements, items and delimiters of all levels of such a data set"
    )
    max_object_size: int | None = _limit(None, "bytes of a stored object's data set")
    max_object_elements: int | None = _limit(
        2_000_000, "elements, items and delimiters of all levels of a stored object"
    )
    max_sequence_depth: int = _limit(64, "nested sequences in an identifier or a stored object")
    max_quarantine_size: int = _limit(
        1 << 30, "bytes of objects that came whole and were refused, kept in quarantine/; 0: none"
    )
    max_outstanding_requests: int = _limit(64, "requests of one association without their final response")
    max_queries_per_address: int = _limit(
        2, "searches of one peer address in the archive at once, by C-FIND, C-GET and C-MOVE; its others wait"
    )
    max_open_queries_per_address: int = _limit(
        64, "C-FINDs of one peer address that have begun, each with the list of what matches; its others wait"
    )
    max_destinations: int = _limit(
        64,
        "associations at once with destinations of C-MOVEs; one more waits for suboperation_timeout at most",
    )
    max_destinations_per_address: int = _limit(
        16, "the same for the C-MOVEs of one peer address; as many as an association's window has"
    )
    read_ahead_per_association: int = _limit(
        16 * 1024 * 1024, "bytes of stored objects read before the peer takes them, by all C-GETs and C-MOVEs"
    )
    read_ahead_per_address: int = _limit(
        128 * 1024 * 1024, "the same for all associations of one peer address together"
    )
    read_ahead: int = _limit(256 * 1024 * 1024, "the same for all associations together")

    max_decompressions: int = _limit(
        1,
        "stored objects decompressed at once, in processes of their own, for peers that take them in no other"
        " way; 0: none is",
    )
    max_decompressed_size: int = _limit(
        512 * 1024 * 1024,
        "bytes of pixels an object may have for that; a process has four times that and 1 GiB",
    )
    decompression_timeout: float = _limit(60.0, "how long one object may take to be decompressed")

    def __post_init__(self) -> None:
        """Raises ValueError for a maximum length that no P-DATA-TF can keep to (PS3.8 D.1, 9.3.5), and for a
        prefix that is none.
        """
        if not 1 <= self.ipv6_prefix <= 128:
            raise ValueError(f"ipv6_prefix is 1 to 128 bits, not {self.ipv6_prefix}")
        if self.max_pdu_length and not 8 <= self.max_pdu_length < 1 << 32:
            raise ValueError(f"max_pdu_length is 0 or 8 to {(1 << 32) - 1} bytes, not {self.max_pdu_length}")

    def session(self) -> SessionLimits:
        """The limits a session enforces itself."""
        return SessionLimits(
            pdu=PduLimits(associate_length=self.max_associate_length, maximum_length=self.max_pdu_length),
            command_length=self.max_command_length,
            outstanding_requests=self.max_outstanding_requests,
        )

    @classmethod
    def describe(cls) -> dict[str, str]:
        """What each limit means, by name."""
        return {f.name: str(f.metadata["help"]) for f in fields(cls)}
