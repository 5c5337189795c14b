"""Results as JSON. The shapes are documented in docs/cli.md; new members may be added to them."""

from __future__ import annotations

import base64
import dataclasses
import enum
import json
import math
from collections.abc import Mapping, MutableSequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..client.results import ConnectionInfo
from ..dimse.status import Status
from ..dimse.uid_names import uid_name
from .exits import Code, sentence

if TYPE_CHECKING:  # loading pydicom takes longer than an echo
    from pydicom.dataset import Dataset


def plain(value: Any) -> Any:
    """A value as JSON knows it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if hasattr(value, "tolist"):  # numpy's
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def emit(value: Any, *, line: bool = False) -> None:
    """Print JSON on stdout: ASCII alone, so that no terminal and no encoding can be hurt by it."""
    text = json.dumps(plain(value), indent=None if line else 2)
    print(text.replace("\x7f", "\\u007f"), flush=line)


def failure(error: BaseException, code: Code) -> dict[str, Any]:
    """What takes the place of a result."""
    return {
        "ok": False,
        "error": {"type": type(error).__name__, "message": sentence(error), "exit_code": int(code)},
    }


def status(info: Status) -> dict[str, Any]:
    """A DIMSE status."""
    return {"status": int(info), "category": info.category.value, "meaning": info.meaning}


def connection(info: ConnectionInfo) -> dict[str, Any]:
    """What a connection is."""
    found: dict[str, Any] = plain(info.to_dict())
    for context in found["contexts"]:
        context["abstract_syntax_name"] = uid_name(context["abstract_syntax"])
        context["transfer_syntax_name"] = uid_name(context["transfer_syntax"])
    return found


# --- Data sets -----------------------------------------------------------------------------------


def dataset(found: Dataset) -> dict[str, Any]:
    """A data set by keywords (by ``GGGGEEEE`` where there is none), values as JSON, null when empty."""
    return {
        element.keyword or f"{element.tag:08X}": [dataset(item) for item in element.value]
        if element.VR == "SQ"
        else _value(element.value)
        for element in found
    }


def _value(value: Any) -> Any:
    if value is None or value == "":
        return None
    if _is_list(value):
        return [_value(one) for one in value] or None
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, bool | int | float) and type(value) in (bool, int, float):
        return plain(value)
    if isinstance(value, int):  # IS
        return int(value)
    if isinstance(value, float):  # DS
        return plain(float(value))
    return str(value)


def _is_list(value: Any) -> bool:
    """Whether an element has several values: a list, a tuple or pydicom's MultiValue."""
    return isinstance(value, MutableSequence | tuple)


def cell(found: Dataset, keyword: str) -> str:
    """One element's value as text for a table; ``A.B`` is B in the first item of A."""
    first, dot, rest = keyword.partition(".")
    if dot:
        items = found.get(first)
        return cell(items[0], rest) if items else ""
    place = int(keyword.replace(",", ""), 16) if "," in keyword else keyword
    if place not in found:
        return ""
    value = found[place].value
    if value is None:
        return ""
    if found[place].VR == "SQ":
        return f"{len(value)} items"
    if _is_list(value):
        return "\\".join("" if one is None else str(one) for one in value)
    return str(value)
