"""``aiodicom nodes``: the peers that commands know by name."""

from __future__ import annotations

from collections.abc import Iterable

import click

from ..association.dialing import place
from ..client.nodes import Node, nodes_file, read_nodes
from . import output
from .commands import Command
from .options import Common, local_command
from .terminal import say, show_table


@click.command(cls=Command)
@local_command()
def nodes(common: Common) -> None:
    """List the nodes of the configuration file: @NAME stands for HOST PORT in every command.

    A node is a table [nodes.NAME] with host and port, and what else is known: called_ae, calling_ae, tls,
    trusted, cert, key, tls_profile, verify_host, user, dicomweb, timeouts, and quirks, which diagnose --learn
    fills. The command line goes before the environment, that before the node. AIODICOM_CONFIG names another
    file.
    """
    file, found = nodes_file(), read_nodes()
    if common.json:
        output.emit({"file": str(file), "nodes": [output.plain(one) for one in found.values()]})
        return
    if not found:
        say(f"no nodes: {file} holds no table [nodes.NAME]")
        return
    say(f"{file}:")
    show_table(("node", "peer", "address", "as", "TLS"), _rows(found.values()))


def _rows(found: Iterable[Node]) -> list[tuple[str, ...]]:
    return [
        (
            f"@{one.name}",
            one.called_ae,
            place(one.host, one.port),
            one.calling_ae,
            "yes" if one.protected else "no",
        )
        for one in found
    ]
