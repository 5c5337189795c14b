"""What commands share: help in sections, `@NAME` in the place of HOST PORT, options from the environment."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import click
from click.core import ParameterSource

from ..association.connect import Peer
from ..association.timeouts import Timeouts
from ..association.tls import TLSConfigurationError
from ..client.nodes import Node, NodeError, find_node
from .fields import flags_of

PREFIX = "AIODICOM"
CONNECTION, SECURITY, LIMITS, GENERAL = "Connection", "Security", "Limits", "General"
NODE = "aiodicom.node"
"""Where a command's context keeps the node that stood in the place of HOST PORT."""
_ORDER = ("Options", CONNECTION, SECURITY, LIMITS, GENERAL)

Decorator = Callable[[Any], Any]


def section(title: str, *decorators: Decorator) -> list[Decorator]:
    """Options that ``--help`` shows under a title; own options of a command are above all of them."""
    return [_titled(title, decorator) for decorator in decorators]


def _titled(title: str, decorator: Decorator) -> Decorator:
    def decorate(function: Any) -> Any:
        before = len(getattr(function, "__click_params__", ()))
        function = decorator(function)
        for parameter in function.__click_params__[before:]:
            parameter.section = title
        return function

    return decorate


def said(context: click.Context, names: Collection[str]) -> list[str]:
    """Those of some parameters that the command line itself says, as a user writes them.

    What the environment, or a node, says for other uses of a command is no contradiction of this one.
    """
    return [
        "/".join((*one.opts, *one.secondary_opts))
        for one in context.command.params
        if one.name in names and context.get_parameter_source(one.name) is ParameterSource.COMMANDLINE
    ]


class Command(click.Command):
    """A command whose options are shown in sections, and each of which an environment variable can set."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Own options first, then what it shares with other commands."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                title = getattr(parameter, "section", "Options")
                if parameter.name == "help":
                    title = GENERAL
                sections.setdefault(title, []).append(record)
        for title in _ORDER:
            if title in sections:
                with formatter.section(title):
                    formatter.write_dl(sections[title])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Variables of the environment are read for options that the command line does not set."""
        for parameter in self.params:
            if isinstance(parameter, click.Option) and parameter.envvar is None:
                parameter.envvar = _variables(ctx, parameter)
        return super().parse_args(ctx, args)


def _variables(ctx: click.Context, option: click.Option) -> list[str]:
    """The names of the variables of an option, the more special first.

    An own option has none without the command's name: a cluster sets AIODICOM_PORT for a service of our name.
    """
    name = max(option.opts, key=len).lstrip("-").replace("-", "_").upper()
    path = "_".join(ctx.command_path.split()[1:]).upper().replace("-", "_")
    own = f"{PREFIX}_{path}_{name}"
    return [own, f"{PREFIX}_{name}"] if hasattr(option, "section") else [own]


class PeerCommand(Command):
    """A command that takes HOST PORT, or ``@NAME`` for a node that the file of nodes describes."""

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """HOST PORT is one piece, for a node stands for both."""
        pieces = super().collect_usage_pieces(ctx)
        return [piece for piece in pieces if piece != "PORT"]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put what a node says in the places of HOST, PORT and the defaults of the options."""
        found, _, _ = self.make_parser(ctx).parse_args(list(args))
        host = found.get("host")
        if isinstance(host, str) and host.startswith("@"):
            try:
                node = find_node(host)
            except NodeError as error:
                if ctx.resilient_parsing:  # a shell completes: it is no place for errors
                    return super().parse_args(ctx, args)
                raise click.UsageError(str(error), ctx) from None
            ctx.meta[NODE] = node
            at = args.index(host)
            args = [*args[:at], node.host, str(node.port), *args[at + 1 :]]
            ctx.default_map = {**(ctx.default_map or {}), **_defaults(node)}
        return super().parse_args(ctx, args)


def peer_of(name: str) -> Peer:
    """Whom a node's name stands for. Raises click.BadParameter."""
    try:
        return find_node(name).peer()
    except (NodeError, TLSConfigurationError) as error:
        raise click.BadParameter(str(error)) from None


def _defaults(node: Node) -> dict[str, Any]:
    """The options that a node sets, by parameter."""
    values: dict[str, Any] = {
        "calling": node.calling_ae,
        "called": node.called_ae,
        "called_ae": node.called_ae,
        "tls": node.tls,
        "trusted": node.trusted and str(node.trusted),
        "cert": node.cert and str(node.cert),
        "key": node.key and str(node.key),
        "tls_profile": node.tls_profile,
        "no_verify_host": not node.verify_host,
        "user": node.user,
        "dicomweb": node.dicomweb,
        "dicomweb_authorization": node.dicomweb_authorization,
        "dicomweb_trusted": node.dicomweb_trusted and str(node.dicomweb_trusted),
        "charset": node.quirks.character_set,
        "cancel": node.quirks.cancel,
        "cap": node.quirks.cap,
    }
    said = {
        "calling": "calling_ae",
        "called": "called_ae",
        "no_verify_host": "verify_host",
        "charset": "quirks.character_set",
        "cancel": "quirks.cancel",
        "cap": "quirks.cap",
    }
    defaults = {name: value for name, value in values.items() if said.get(name, name) in node.given}
    for flag in flags_of(Timeouts):
        if f"timeouts.{flag.path[-1]}" in node.given:
            limit = getattr(node.timeouts, flag.path[-1])
            defaults[flag.parameter] = "off" if limit is None else limit
    return defaults
