"""Flags made of a dataclass's fields, so that no limit or timeout can lack one."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1024, "mi": 1024**2, "gi": 1024**3}
_OFF = ("off", "none")


@dataclass(frozen=True, slots=True)
class Amount:
    """Converts to a number not below zero, or to None for "off" where a limit can be switched off.

    Sizes take kB, MB, GB, KiB, MiB and GiB.
    """

    kind: type[int] | type[float]
    optional: bool
    unit: str

    def parse(self, value: object) -> int | float | None:
        """Raises click.BadParameter."""
        if isinstance(value, int | float):
            return value
        text = str(value).strip().lower()
        if self.optional and text in _OFF:
            return None
        try:
            number = self._number(text)
        except ValueError:
            number = -1
        if not 0 <= number < float("inf"):
            also = ' or "off"' if self.optional else ""
            raise click.BadParameter(f"{value!r} is not a number of {self.unit}{also}")
        return number

    def _number(self, text: str) -> int | float:
        if self.kind is float:
            return float(text)
        found = re.fullmatch(r"(\d+)\s*([kmg]i?)?b?", text)
        if found is None or (found[2] and self.unit != "bytes"):
            raise ValueError(text)
        return int(found[1]) * _UNITS[found[2] or ""]


@dataclass(frozen=True, slots=True)
class Flag:
    """One field as an option. `path` leads to it through nested dataclasses."""

    path: tuple[str, ...]
    option: str
    parameter: str
    convert: Amount | None  # None: a switch
    default: Any
    help: str


def field_help(cls: type) -> dict[str, str]:
    """What a dataclass says of its fields: metadata "help", else lines ``name: text`` of its docstring."""
    fields = [field.name for field in dataclasses.fields(cls)]
    found: dict[str, str] = {}
    doc = re.sub(r"\s+", " ", cls.__doc__ or "")
    if doc.startswith(f"{cls.__name__}("):  # what `dataclass` puts where no docstring is
        doc = ""
    marks = [
        (m.start(), m.end(), m[1]) for m in re.finditer(r"(?<![\w.`])(\w+):(?= )", doc) if m[1] in fields
    ]
    for number, (_, end, name) in enumerate(marks):
        stop = marks[number + 1][0] if number + 1 < len(marks) else len(doc)
        found[name] = doc[end:stop].strip()
    for field in dataclasses.fields(cls):
        if "help" in field.metadata:
            found[field.name] = str(field.metadata["help"])
    return found


def flags_of(cls: type, suffix: str = "", path: tuple[str, ...] = ()) -> Iterator[Flag]:
    """The flags of a dataclass's fields, those of nested dataclasses among them."""
    hints = typing.get_type_hints(cls)
    helps = field_help(cls)
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        here = (*path, field.name)
        if dataclasses.is_dataclass(hint):
            yield from flags_of(typing.cast(type, hint), suffix, here)
            continue
        default = field.default
        if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        name = field.name + suffix
        text = re.sub(r"\s+", " ", helps.get(field.name, "")).strip()
        text = re.sub(r" \(\w+Timeout\)", "", text[:1].upper() + text[1:])  # the errors' names
        yield Flag(
            here,
            "--" + name.replace("_", "-"),
            "limit_" + "_".join(here),
            _convert(hint, field.name),
            default,
            text,
        )


def _convert(hint: Any, name: str) -> Amount | None:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    optional = type(None) in options
    kinds = {option for option in options if option is not type(None)}
    if kinds == {bool}:
        return None
    if kinds <= {int, float} and kinds:
        sized = re.search(r"size|length|bytes", name) is not None
        if float in kinds:
            return Amount(float, optional=optional, unit="seconds")
        return Amount(int, optional=optional, unit="bytes" if sized else "count")
    raise TypeError(f"no flag can be made of the field {name!r}: {hint}")


def field_options(cls: type, suffix: str = "") -> Callable[[F], F]:
    """A decorator that adds an option for each field; `take_fields` reads them back."""

    def decorate(function: F) -> F:
        for flag in reversed(list(flags_of(cls, suffix))):
            shown = "off" if flag.default is None else str(flag.default).removesuffix(".0")
            if flag.convert is None:
                option = click.option(
                    f"{flag.option}/--no-{flag.option[2:]}",
                    flag.parameter,
                    default=flag.default,
                    help=flag.help,
                    show_default=True,
                )
            else:
                metavar = {"seconds": "SECONDS", "bytes": "BYTES"}.get(flag.convert.unit, "N")
                option = click.option(
                    flag.option,
                    flag.parameter,
                    type=flag.convert.parse,
                    default=flag.default,
                    metavar=metavar,
                    help=f"{flag.help} [default: {shown}]".strip(),
                )
            function = option(function)
        return function

    return decorate


def take_fields(cls: type[T], values: dict[str, Any], suffix: str = "") -> T:
    """Take the values of `field_options` out of a command's parameters and make the dataclass of them."""
    found = {flag.path: values.pop(flag.parameter) for flag in flags_of(cls, suffix)}
    return _build(cls, found, ())


def _build(cls: type[T], found: Mapping[tuple[str, ...], Any], path: tuple[str, ...]) -> T:
    hints = typing.get_type_hints(cls)
    arguments: dict[str, Any] = {}
    for field in dataclasses.fields(typing.cast(Any, cls)):
        here = (*path, field.name)
        if dataclasses.is_dataclass(hints[field.name]):
            arguments[field.name] = _build(typing.cast(type, hints[field.name]), found, here)
        else:
            arguments[field.name] = found[here]
    return cls(**arguments)
