"""One-line changes of our own server and clients, each of which a case of its clause must notice while a
plain echo still works: what the kit is worth against real mistakes.

`python tests/kit_mutants.py FILE OLD NEW -- COMMAND...` runs `aiodicom COMMAND...` so changed.
"""

# ruff: noqa: E501 - a mutant a line is a table

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Mutant:
    """`old` stands once in `file` and becomes `new`; `case` notices it. `scu` is in the role of the case."""

    file: str
    old: str
    new: str
    case: str


def cell(event: str, state: str, action: str, case: str) -> Mutant:
    """A cell of Table 9-10 changed, noticed by its case of the sweep."""
    table = (ROOT / "pdu/fsm.py").read_text("utf-8").split('_TABLE = """')[1]
    row = next(line for line in table.splitlines() if line.split()[:1] == [event])
    words = row.split()
    words[int(state.removeprefix("Sta"))] = action
    role, _, slug = case.rpartition(":")
    return Mutant("pdu/fsm.py", row, "  ".join(words), f"{role + ':' if role else ''}ps3.8/9.2.3/{slug}")


NAMES = {
    "Evt3": "associate-ac",
    "Evt4": "associate-rj",
    "Evt6": "associate-rq",
    "Evt10": "p-data",
    "Evt12": "release-rq",
    "Evt13": "release-rp",
    "Evt16": "abort",
    "Evt19": "unknown-08",
}
_SERVER = (
    *(
        cell(e, "Sta2", "AA-6", f"sta2-fresh-{NAMES[e]}")
        for e in ("Evt3", "Evt4", "Evt10", "Evt12", "Evt13", "Evt16", "Evt19")
    ),
    *(
        cell(e, "Sta6", "AA-6", f"sta6-idle-{NAMES[e]}")
        for e in ("Evt3", "Evt4", "Evt6", "Evt13", "Evt16", "Evt19")
    ),
    *(
        cell(e, "Sta13", "AA-7", f"sta13-rejected-{NAMES[e]}")
        for e in ("Evt3", "Evt4", "Evt10", "Evt12", "Evt13")
    ),
)
_CLIENT = (
    *(
        cell(e, "Sta5", "AA-6", f"scu:sta5-waiting-{NAMES[e]}")
        for e in ("Evt4", "Evt6", "Evt10", "Evt12", "Evt13", "Evt16", "Evt19")
    ),
    *(
        cell(e, "Sta6", "AA-6", f"scu:sta6-busy-{NAMES[e]}")
        for e in ("Evt3", "Evt4", "Evt6", "Evt12", "Evt13", "Evt16", "Evt19")
    ),
    *(
        cell(e, "Sta7", "AA-6", f"scu:sta7-releasing-{NAMES[e]}")
        for e in ("Evt3", "Evt4", "Evt6", "Evt12", "Evt16", "Evt19")
    ),
    *(
        cell(e, "Sta11", "AA-6", f"scu:sta11-collided-{NAMES[e]}")
        for e in ("Evt3", "Evt4", "Evt6", "Evt10", "Evt12", "Evt13", "Evt16", "Evt19")
    ),
    *(
        cell(e, "Sta13", "AA-7", f"scu:sta13-aborted-{NAMES[e]}")
        for e in ("Evt3", "Evt4", "Evt10", "Evt12", "Evt13")
    ),
)
_RESERVED_FIELD = (
    '    noted.append(Deviation("PS3.8 9.3.1", f"{where} with a reserved field that is not zero"))'
)
_UNKNOWN_ITEM = "                if item_type not in unknown:  # said once: there may be thousands\n                    noted"
_UNKNOWN_SUB = (
    "            if item_type not in unknown:  # said once: there may be thousands\n                text"
)
_RQ_HEAD = "        for uid in prefer(proposal.transfer_syntaxes):"

FIELDS = (
    # --- PDUs as sent
    Mutant(
        "pdu/codec.py",
        "_pdu(PduType.A_RELEASE_RP, bytes(4))",
        "_pdu(PduType.A_RELEASE_RP, b'abcd')",
        "ps3.8/9.3.7/as-sent",
    ),
    Mutant(
        "pdu/codec.py",
        "bytes((0, 0, pdu.source, pdu.reason))",
        "bytes((0, 5, pdu.source, pdu.reason))",
        "ps3.8/9.3.8/as-sent",
    ),
    Mutant(
        "pdu/codec.py",
        "bytes((0, 0, pdu.source, pdu.reason))",
        "bytes((0, 0, 7, pdu.reason))",
        "ps3.8/9.3.8/as-sent",
    ),
    Mutant(
        "pdu/codec.py",
        "bytes((0, 0, pdu.source, pdu.reason))",
        "bytes((0, 0, pdu.source, 77))",
        "ps3.8/9.3.8/as-sent",
    ),
    Mutant(
        "pdu/codec.py",
        "bytes((0, pdu.result, pdu.source, pdu.reason))",
        "bytes((7, pdu.result, pdu.source, pdu.reason))",
        "ps3.8/9.3.4/reserved",
    ),
    Mutant(
        "pdu/codec.py",
        "bytes((0, pdu.result, pdu.source, pdu.reason))",
        "bytes((0, 7, pdu.source, pdu.reason))",
        "ps3.8/9.3.4/result",
    ),
    Mutant(
        "pdu/codec.py",
        "bytes((0, pdu.result, pdu.source, pdu.reason))",
        "bytes((0, pdu.result, 7, pdu.reason))",
        "ps3.8/9.3.4/source",
    ),
    Mutant(
        "pdu/codec.py",
        "bytes((0, pdu.result, pdu.source, pdu.reason))",
        "bytes((0, pdu.result, pdu.source, 99))",
        "ps3.8/9.3.4/reason",
    ),
    Mutant(
        "pdu/codec.py",
        "bytes((0, pdu.result, pdu.source, pdu.reason))",
        "bytes((0, 2, pdu.source, pdu.reason))",
        "ps3.8/9.3.4/permanent",
    ),
    Mutant(
        "pdu/codec.py",
        "            + item(_TRANSFER_SYNTAX, encode_uid(context.transfer_syntax)),",
        "            + 2 * item(_TRANSFER_SYNTAX, encode_uid(context.transfer_syntax)),",
        "ps3.8/9.3.3.2/one-transfer-syntax",
    ),
    Mutant(
        "pdu/codec.py",
        "            + item(_TRANSFER_SYNTAX, encode_uid(context.transfer_syntax)),",
        "            + item(_TRANSFER_SYNTAX, encode_uid(context.transfer_syntax) + b'\\0'),",
        "ps3.8/9.3.3.2.1/transfer-syntax-uid",
    ),
    Mutant(
        "pdu/codec.py",
        "            item(_APPLICATION_CONTEXT, encode_uid(pdu.application_context_name)),",
        "            2 * item(_APPLICATION_CONTEXT, encode_uid(pdu.application_context_name)),",
        "ps3.8/9.3.3/application-context-once",
    ),
    Mutant(
        "pdu/codec.py",
        "            item(_USER_INFORMATION, encode_user_information(pdu.user_information)),",
        "            2 * item(_USER_INFORMATION, encode_user_information(pdu.user_information)),",
        "ps3.8/9.3.3/user-information-once",
    ),
    Mutant(
        "pdu/items.py",
        "    if info.implementation_class_uid is not None:",
        "    if False:",
        "ps3.8/9.3.3.3/implementation-class-there",
    ),
    Mutant(
        "pdu/items.py",
        'info.implementation_version_name.encode("ascii")',
        'b"A" * 17',
        "ps3.8/9.3.3.3/implementation-version-length",
    ),
    Mutant(
        "server/admission.py",
        "            reserved=request.reserved,  # PS3.8 Table 9-17: sent back as received\n",
        "",
        "ps3.8/9.3.3/reserved-43-sent-back",
    ),
    Mutant(
        "server/admission.py",
        "            calling_ae=request.calling_ae,\n",
        "            calling_ae=request.called_ae,\n",
        "ps3.8/9.3.3/calling-sent-back",
    ),
    Mutant(
        "server/admission.py",
        "for c in request.presentation_contexts),",
        "for c in request.presentation_contexts[:1]),",
        "ps3.8/9.3.3.2/one-item-a-context",
    ),
    # --- PDUs as taken
    Mutant(
        "pdu/codec.py", "        if context_id % 2 == 0:", "        if False:", "ps3.8/9.3.2.2/id-even-two"
    ),
    Mutant("pdu/codec.py", "    if len(set(ids)) != len(ids):", "    if False:", "ps3.8/9.3.2.2/id-twice"),
    Mutant(
        "pdu/codec.py",
        _UNKNOWN_ITEM,
        "                raise _invalid('unknown')\n" + _UNKNOWN_ITEM,
        "ps3.8/9.3.1/unknown-item-last",
    ),
    Mutant(
        "pdu/items.py",
        _UNKNOWN_SUB,
        "            raise _invalid('unknown')\n" + _UNKNOWN_SUB,
        "ps3.8/9.3.1/unknown-sub-item-5a",
    ),
    Mutant(
        "pdu/wire.py",
        _RESERVED_FIELD,
        "    raise RemoteProtocolError(where, reason=AbortReason.INVALID_PARAMETER)",
        "ps3.8/9.3.2.2/reserved-6",
    ),
    Mutant(
        "pdu/codec.py",
        "    if control & 0xFC:",
        "    if control & 0xFC and noted.clear() is None:\n        raise _invalid('control')\n    if control & 0xFC:",
        "ps3.8/E.2/reserved-bits-07",
    ),
    Mutant(
        "pdu/reader.py",
        "        if reserved:\n",
        "        if reserved:\n            raise ValueError\n        if reserved:\n",
        "ps3.8/9.3.5/reserved-header",
    ),
    Mutant(
        "pdu/upper_layer.py",
        "        if not request.protocol_version & 1:",
        "        if request.protocol_version != 1:",
        "ps3.8/9.3.2/version-more-bits",
    ),
    Mutant(
        "pdu/upper_layer.py",
        "        if not request.protocol_version & 1:",
        "        if False:",
        "ps3.8/9.3.2/version-two",
    ),
    Mutant(
        "pdu/upper_layer.py",
        "        if request.application_context_name != APPLICATION_CONTEXT_NAME:",
        "        if False:",
        "ps3.8/9.3.4/application-context-unknown",
    ),
    Mutant(
        "pdu/upper_layer.py",
        "        if not answer.protocol_version & 1:",
        "        if answer.protocol_version != 1:",
        "scu:ps3.8/9.3.3/version-more-bits",
    ),
    # --- contexts
    Mutant(
        "dimse/contexts.py",
        _RQ_HEAD,
        "        for uid in prefer(proposal.transfer_syntaxes)[-1:]:",
        "ps3.8/9.3.3.2/syntax-unknown-last",
    ),
    Mutant(
        "dimse/contexts.py",
        "        if syntaxes is None:\n            return",
        "        if syntaxes is None and proposal.context_id == 99:\n            return",
        "ps3.8/9.3.3.2/canary-abstract",
    ),
    Mutant(
        "server/admission.py",
        "_operations is None:\n            return None",
        "_operations is None:\n            return AsyncOperationsWindow(9, 9)",
        "ps3.7/D.3.3.3/window-not-proposed",
    ),
    Mutant(
        "dimse/contexts.py",
        "        if result.result != ContextResult.ACCEPTANCE:\n            continue\n        if result.transfer_syntax not in proposal.transfer_syntaxes:\n            deviations",
        "        if result.transfer_syntax not in proposal.transfer_syntaxes:\n            deviations",
        "scu:ps3.8/9.3.3.2/refused-3",
    ),
    # --- messages
    Mutant(
        "dimse/fragments.py",
        "    limit = _LARGEST_PDU if not maximum_length else min(maximum_length, _LARGEST_PDU)",
        "    limit = _LARGEST_PDU",
        "ps3.8/D.1/kept-64",
    ),
    Mutant(
        "dimse/fragments.py",
        "    limit = _LARGEST_PDU if not maximum_length else min(maximum_length, _LARGEST_PDU)",
        "    limit = _LARGEST_PDU",
        "scu:ps3.8/D.1/kept-64",
    ),
    Mutant(
        "dimse/session.py",
        '            raise _protocol("a data set fragment without a command set before it")',
        "            return",
        "ps3.8/E.1/data-first",
    ),
    Mutant(
        "dimse/session.py",
        '        elif fragment.context_id != incoming.context.context_id:\n            raise _protocol("a command set spread',
        '        elif False:\n            raise _protocol("a command set spread',
        "ps3.8/E.1/fragments-on-two-contexts",
    ),
    Mutant(
        "dimse/command.py",
        'struct.pack("<L", len(body)) + body',
        'struct.pack("<L", len(body) + 2) + body',
        "ps3.7/6.3.1/sent-group-length",
    ),
    Mutant(
        "dimse/command.py",
        'struct.pack("<L", len(body)) + body',
        'struct.pack("<L", len(body) + 2) + body',
        "scu:ps3.7/6.3.1/sent-group-length",
    ),
    Mutant(
        "dimse/command.py",
        "    for element in sorted(elements):",
        "    for element in sorted(elements, reverse=True):",
        "ps3.7/6.3.1/sent-in-order",
    ),
    Mutant(
        "dimse/command.py",
        "    for element in sorted(elements):",
        "    for element in sorted(elements, reverse=True):",
        "scu:ps3.7/6.3.1/sent-in-order",
    ),
    Mutant(
        "dimse/command.py",
        '        return raw + (b"\\0" if vr == "UI" else b" ") if len(raw) % 2 else raw',
        "        return raw",
        "ps3.7/6.3.1/sent-even",
    ),
    Mutant(
        "dimse/command.py",
        '        return raw + (b"\\0" if vr == "UI" else b" ") if len(raw) % 2 else raw',
        "        return raw",
        "scu:ps3.7/6.3.1/sent-even",
    ),
    Mutant(
        "dimse/status.py",
        "UNRECOGNIZED_OPERATION = Status(0x0211)",
        "UNRECOGNIZED_OPERATION = Status(0x0000)",
        "ps3.7/C.5/canary-command",
    ),
    Mutant(
        "dimse/checks.py",
        "    return found is not None and found[0] == context_id",
        "    raise KeyError",
        "ps3.7/9.3.2.3/cancel-of-nothing",
    ),
)
MUTANTS = (*_SERVER, *_CLIENT, *FIELDS)


class _Changed(importlib.abc.SourceLoader):
    """Loads one module with its text changed."""

    def __init__(self, name: str, path: str, old: str, new: str) -> None:
        self._name, self._path, self._old, self._new = name, path, old, new

    def get_filename(self, fullname: str) -> str:
        return self._path

    def get_data(self, path: str) -> bytes:
        text = Path(self._path).read_text("utf-8")
        if text.count(self._old) != 1:
            raise SystemExit(
                f"{self._path}: {self._old!r} stands there {text.count(self._old)} times, not once"
            )
        return text.replace(self._old, self._new).encode()

    def path_stats(self, path: str) -> dict[str, int]:  # type: ignore[override]
        raise OSError("never from a cache")


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, file: str, old: str, new: str) -> None:
        self._module = "aiodicom." + file.removesuffix(".py").replace("/", ".")
        self._path, self._old, self._new = str(ROOT / file), old, new

    def find_spec(
        self, fullname: str, path: object, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._module:
            return None
        loader = _Changed(fullname, self._path, self._old, self._new)
        return importlib.util.spec_from_loader(fullname, loader, origin=self._path)


def main() -> None:
    """Run our command, changed."""
    file, old, new, _, *command = sys.argv[1:]
    sys.meta_path.insert(0, _Finder(file, old, new))
    sys.argv[:] = ["aiodicom", *command]
    from aiodicom.__main__ import main as ours

    raise SystemExit(ours())


if __name__ == "__main__":
    main()
