"""The options that say where a peer offers DICOMweb."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from ..client.web import VARIABLE, DicomWeb, check_url, of_variable
from ..dimse.levels import QueryError
from .commands import CONNECTION, said, section
from .options import PEM, PeerOptions


def web_address(value: str) -> str:
    """A DICOMweb address. Raises click.BadParameter."""
    try:
        return check_url(value)
    except QueryError as error:
        raise click.BadParameter(str(error)) from None


def variable_name(value: str) -> str:
    """The name of a variable of the environment; raises click.BadParameter, which does not repeat it."""
    if not VARIABLE.fullmatch(value):
        raise click.BadParameter("it names a variable of the environment, which holds the header's value")
    return value


_OPTIONS: list[Callable[[Any], Any]] = section(
    CONNECTION,
    click.option(
        "--dicomweb",
        type=web_address,
        metavar="URL",
        help="The peer's DICOMweb address, which /studies follows.",
    ),
    click.option(
        "--dicomweb-authorization",
        type=variable_name,
        metavar="VARIABLE",
        help="The variable of the environment that holds the Authorization header for it, as 'Bearer ...'.",
    ),
    click.option(
        "--dicomweb-trusted", type=PEM, help="Certificates to trust there (PEM), if other than --trusted."
    ),
)


def dicomweb_options(function: Callable[..., Any]) -> Any:
    """Where the peer offers DICOMweb; the function gets `web`, a `DicomWeb` or None."""

    @functools.wraps(function)
    def command(target: PeerOptions, *args: Any, **values: Any) -> Any:
        url, variable = values.pop("dicomweb"), values.pop("dicomweb_authorization")
        trusted = values.pop("dicomweb_trusted")
        web = None
        if url is not None:
            secret = None if variable is None else of_variable(variable)
            tls = target.protection.client(trusted) if url.lower().startswith("https:") else None
            web = DicomWeb(url=url, authorization=secret, tls=tls)
        else:
            for option in said(click.get_current_context(), ("dicomweb_authorization", "dicomweb_trusted")):
                raise click.UsageError(f"{option} goes with --dicomweb")
        return function(target, *args, web=web, **values)

    decorated: Any = command
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated
