"""One stored object: what it is, and where its data set lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Instance:
    """A SOP instance in a file: its data set is `data_size` bytes from `data_offset` on."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_offset: int = 0
    data_size: int = 0
