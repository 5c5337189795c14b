"""What a retrieve may be told: unique keys and those above them, checked at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..dimse.levels import Level, QueryError, Root, levels, unique_key
from ..pdu.uids import is_near_uid


def check_uids(level: Level, root: Root, uids: str | Iterable[str]) -> list[str]:
    """The unique keys to retrieve, as a list. Raises QueryError for one that cannot be one."""
    if level not in levels(root):
        names = ", ".join(one.value for one in levels(root))
        raise QueryError(f"level {level.value} is not in the {root.value} root; its levels are {names}")
    given = [uids] if isinstance(uids, str) else uids
    wanted = list(dict.fromkeys(uid.strip(" \0") if isinstance(uid, str) else uid for uid in given))
    if not wanted:
        raise QueryError("nothing to retrieve: no unique key given")
    for uid in wanted:
        _check(level, uid)
    return wanted


def check_parents(level: Level, root: Root | None, parents: Mapping[str, str] | None) -> dict[str, str]:
    """Unique keys above what is retrieved, each with one value. Raises QueryError for others.

    Where no root was named it may become the patient root: a Patient ID may be given.
    """
    above = {unique_key(one): one for one in levels(root or Root.PATIENT) if one < level}
    for keyword, value in (parents or {}).items():
        if keyword not in above:
            names = f"those are {', '.join(above)}" if above else "there is none"
            raise QueryError(f"{keyword!r:.80} is no unique key above level {level.value}: {names}")
        _check(above[keyword], value)
    return dict(parents or {})


def check_destination(destination: str | None, defaults: Iterable[bool]) -> None:
    """Refuse a move that comes neither to us nor goes anywhere, or of which more is said than it can do.

    defaults: of each option of a move to ourselves, whether it has its default. Raises QueryError.
    """
    if destination is None:
        raise QueryError("a move needs a destination, or a directory to move to this process")
    if not all(defaults):
        raise QueryError(
            "how to listen, durability, layout and skip_present are of a move to ourselves, into a directory:"
            " what a destination does is its own"
        )


def _check(level: Level, value: object) -> None:
    key = unique_key(level)
    if not isinstance(value, str):
        raise QueryError(f"{key} is one text, not {value!r:.80}")
    if level is not Level.PATIENT and not is_near_uid(value):
        raise QueryError(f"{value[:80]!r} is no UID, so no {key}")
    # a wildcard is a character like any other here (PS3.4 C.4.3.1.3.1), but alone a slip
    if level is Level.PATIENT and (not value.strip("*? ") or "\\" in value or not value.isprintable()):
        raise QueryError(f"{value[:64]!r} is no single Patient ID")
