"""Results as JSON. The shapes are documented in docs/cli.md; new members may be added to them."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from collections.abc import Mapping
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
    from ..client.matches import to_dict

    return to_dict(found)


def cell(found: Dataset, keyword: str) -> str:
    """One element's value as text for a table; ``A.B`` is B in the first item of A."""
    from ..client.matches import cell

    return cell(found, keyword)
