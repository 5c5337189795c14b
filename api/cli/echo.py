"""``aiodicom echo``: is the peer there, and what did we agree on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import click

from ..association.dialing import place
from ..client.results import ConnectionInfo
from ..dimse.status import Status
from ..dimse.uid_names import uid_name
from . import output
from .commands import PeerCommand
from .options import PeerOptions, peer_command
from .terminal import say, show_pairs


@click.command(cls=PeerCommand)
@peer_command()
def echo(target: PeerOptions) -> None:
    """Verify a peer: C-ECHO to HOST PORT, and what the connection is."""

    async def work() -> tuple[Status, ConnectionInfo]:
        async with target.connect(lazy=False) as peer:
            return await peer.echo(), peer.info

    status, info = target.run(work())
    if target.json:
        output.emit({"ok": True, **output.status(status), "connection": output.connection(info)})
        return
    say(f"{info.called_ae} at {place(info.host, info.port)} answered: {status.meaning}")
    show_pairs(describe_connection(info), indent=2)


def describe_connection(info: ConnectionInfo) -> Iterator[tuple[str, object]]:
    """What a connection is, name by name."""
    yield "peer's AE title", info.called_ae
    yield "our AE title", info.calling_ae
    yield "implementation", info.implementation_version_name or "(unnamed)"
    yield "implementation UID", info.implementation_class_uid or "(none: the standard wants one)"
    yield "largest PDU we take", _length(info.maximum_length)
    yield "largest PDU it takes", _length(info.peer_maximum_length)
    yield "contexts accepted", services(context.abstract_syntax for context in info.contexts) or "none"
    tls = info.tls
    if tls is None:
        yield "TLS", "none: anyone on the network can read this"
    else:
        yield "TLS", f"{tls.version}, {tls.cipher}, {tls.cipher_bits} bits"
        yield "certificate", tls.peer_subject or "(not verified)"
        yield "issued by", tls.peer_issuer
        yield "names in it", ", ".join(tls.peer_names) or None
        if tls.not_after is not None:
            yield "valid until", f"{tls.not_after:%Y-%m-%d}"
    for deviation in info.deviations:
        yield "deviation", deviation


def services(uids: Iterable[str]) -> str:
    """SOP classes in few words: ``Verification; Patient Root: FIND, GET, MOVE``."""
    groups: dict[str, list[str]] = {}
    for uid in dict.fromkeys(uids):
        group, _, service = uid_name(uid).partition(" Query/Retrieve Information Model - ")
        groups.setdefault(group.removesuffix(" SOP Class"), []).append(service)
    return "; ".join(
        f"{group}: {', '.join(found)}" if any(found) else group for group, found in groups.items()
    )


def _length(octets: int) -> str:
    return f"{octets:,} bytes".replace(",", " ") if octets else "no limit"
