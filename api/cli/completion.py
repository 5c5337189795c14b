"""``aiodicom completion``: what a shell needs to complete commands, options, nodes and keywords."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem, get_completion_class

from ..association.dialing import place
from ..client.nodes import NodeError, read_nodes
from .commands import Command

VARIABLE = "_AIODICOM_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion of a shell, to be read by its start file.

    \b
    bash:  eval "$(aiodicom completion bash)"               in ~/.bashrc
    zsh:   eval "$(aiodicom completion zsh)"                in ~/.zshrc
    fish:  aiodicom completion fish | source                in ~/.config/fish/config.fish
    """  # noqa: D301
    from .app import cli

    found = get_completion_class(shell)
    assert found is not None  # the shells of the choice
    click.echo(_source(found(cli, {}, "aiodicom", VARIABLE)))


def _source(shell: object) -> str:
    # Click's own asks the installed bash for its version, which a machine that only writes the file may lack.
    values = shell.source_vars()  # type: ignore[attr-defined]
    return str(shell.source_template % values)  # type: ignore[attr-defined]


def complete_host(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The nodes whose ``@NAME`` begins so; a file that cannot be read completes nothing."""
    if not incomplete.startswith("@"):
        return []
    try:
        nodes = read_nodes()
    except NodeError:
        return []
    return [
        CompletionItem(f"@{name}", help=f"{node.called_ae} at {place(node.host, node.port)}")
        for name, node in nodes.items()
        if f"@{name}".startswith(incomplete)
    ]


def complete_keyword(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Keywords of the dictionary that begin so; after a comma the next one, after ``=`` nothing."""
    from pydicom.datadict import dictionary_description, keyword_dict

    if "=" in incomplete:
        return []
    before, comma, begun = incomplete.rpartition(",")
    found = sorted(
        (word, tag) for word, tag in keyword_dict.items() if begun and word.lower().startswith(begun.lower())
    )
    return [CompletionItem(before + comma + word, help=dictionary_description(tag)) for word, tag in found]
