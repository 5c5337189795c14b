"""What was found out of a peer goes into the file of nodes, which keeps its comments and all else."""

from __future__ import annotations

import contextlib
import os
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .nodes import MAXIMUM_FILE, NodeError, find_node, nodes_file


def note_quirks(name: str, values: Mapping[str, Any], path: str | os.PathLike[str] | None = None) -> Path:
    """Put values into [nodes.NAME.quirks] of a file of nodes, and take out what is None; the file, which is
    replaced in one step.

    Nothing else of it changes, comments and order included. Blocks. Raises NodeError: for a node that is not
    there, a file that cannot be written, and where tomlkit is not installed.
    """
    name = name.removeprefix("@")
    find_node(name, path)  # what is not understood is not written to
    place = Path(os.path.realpath(nodes_file() if path is None else path))  # a link stays one
    try:
        with place.open("rb") as file:
            text = file.read(MAXIMUM_FILE + 1).decode()
        new = _with(text, name, values)
        if _tree(new) != _merged(tomllib.loads(text), name, values):
            raise NodeError(f"{place}: it is written in a way that what was found out cannot be put into")
        if new != text:
            _replace(place, new.encode())
    except OSError as error:
        raise NodeError(f"{place}: {error.strerror}") from None
    return place


def need_tomlkit() -> None:
    """Raises NodeError where what keeps a file's comments is not installed."""
    try:
        import tomlkit  # noqa: F401
    except ImportError as error:
        raise NodeError("to write the file of nodes needs tomlkit: pip install 'aiodicom[cli]'") from error


def _with(text: str, name: str, values: Mapping[str, Any]) -> str:
    need_tomlkit()
    import tomlkit

    document: Any = tomlkit.parse(text)
    node = document["nodes"][name]
    if "quirks" not in node:
        inline = isinstance(node, tomlkit.items.InlineTable)  # which holds only such
        node["quirks"] = tomlkit.inline_table() if inline else tomlkit.table()
    for member, value in values.items():
        if value is None:
            node["quirks"].pop(member, None)
        elif member not in node["quirks"] or _plain(node["quirks"][member]) != value:
            node["quirks"][member] = value
    return tomlkit.dumps(document)


def _tree(text: str) -> dict[str, Any] | None:
    """What a file says, None where it is none."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _plain(value: Any) -> Any:
    return value.unwrap() if hasattr(value, "unwrap") else value


def _merged(tree: dict[str, Any], name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """What the file is to say."""
    node = tree["nodes"][name]
    merged = {**node.get("quirks", {}), **values}
    node["quirks"] = {member: value for member, value in merged.items() if value is not None}
    return tree


def _replace(place: Path, data: bytes) -> None:
    """Replace a file whole, with its rights."""
    mode = place.stat().st_mode & 0o777
    handle, temporary = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, place)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
