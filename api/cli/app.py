"""The command line as one program: its commands, and what becomes of errors."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from .exits import MEANINGS, Code, Terminated, exit_code, first_cause, sentence
from .logs import flush_logs, stderr_takes
from .terminal import complain

_EPILOG = "Exit codes: " + "; ".join(f"{code.value} {text}" for code, text in MEANINGS.items()) + "."


_COMMANDS = {  # name: module; loaded when used, for not every command needs pixels and pictures
    "echo": "echo",
    "store": "store",
    "find": "find",
    "get": "retrieve",
    "move": "retrieve",
    "diagnose": "diagnose",
    "nodes": "nodes",
    "trace": "trace",
    "serve": "serve",
    "archive": "archive",
    "show": "show",
    "volume": "volume",
    "conformance": "conform",
    "statement": "statement",
    "demo": "demo",
    "completion": "completion",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f".{_COMMANDS[cmd_name]}", __package__), cmd_name)
        command.epilog = command.epilog or _EPILOG
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command. click writes to stderr when it is interrupted, whether or not that takes it."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.Abort from None


@click.group(
    cls=_Commands,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="aiodicom")
def cli() -> None:
    """DICOM over the network: verify, store, query, retrieve, and serve an archive."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code and raises nothing but defects."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # a stream a test put in its place
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's repeat what data sets say
            code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has gone: nothing more to say, and nothing more may be flushed to it.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Code.FAILED
    return code


def _run(arguments: Sequence[str] | None) -> int:
    try:
        try:
            result: Any = cli.main(args=arguments, prog_name="aiodicom", standalone_mode=False)
        finally:
            flush_logs()
    except click.UsageError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        _end(error.format_message())
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _end("interrupted", kind=None)
        return Code.INTERRUPTED
    except Terminated:
        _end("terminated", kind=None)
        return Code.TERMINATED
    except BrokenPipeError:
        raise
    except Exception as error:
        cause = first_cause(error)
        code = exit_code(cause)
        if code is None:
            raise
        _end(sentence(cause))
        return code
    return result if isinstance(result, int) else Code.OK


def _end(text: str, *, kind: str | None = "error") -> None:
    """The last line on stderr. A log that nobody reads does not keep the process for it."""
    if not (stderr_takes() if flush_logs() else stderr_takes(0)):
        return
    if kind is None:
        after = "\n" if sys.stderr.isatty() else ""  # the ^C that the terminal shows
        print(f"{after}aiodicom: {text}", file=sys.stderr, flush=True)
    else:
        complain(text, kind=kind)
