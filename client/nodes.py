"""Peers by name: one TOML file says where they are and how they are spoken to, for programs and shells.

[nodes.pacs]
host = "pacs.example.org"
port = 11112
called_ae = "PACS"
calling_ae = "WORKSTATION"
trusted = "authority.pem"       # files are looked for beside the TOML file

dicomweb = "https://pacs.example.org/dicom-web"
dicomweb_authorization = "PACS_TOKEN"   # a variable of the environment: no secret stands in the file

[nodes.pacs.timeouts]
connect = 5
total = "off"

[nodes.pacs.quirks]
cap = 200
roots = ["STUDY"]
methods = ["move", "get"]
"""

from __future__ import annotations

import dataclasses
import os
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..association.connect import DEFAULT_CALLED_AE, DEFAULT_CALLING_AE, WINDOW, Peer
from ..association.timeouts import Timeouts
from ..association.tls import PROFILES, TLSProfile, client_context
from ..dimse.levels import QueryError, Root
from ..pdu.codec import encode_ae_title
from ..pdu.errors import AiodicomError, LocalProtocolError
from ..pdu.types import UserIdentityRQ
from .plan import METHODS, Method
from .quirks import Quirks
from .web import VARIABLE, DicomWeb, check_url, of_variable

CONFIG_VARIABLE = "AIODICOM_CONFIG"
"""The environment variable that names the file; without it the system's place for such files is taken."""
ROOTS = (Root.PATIENT.value, Root.STUDY.value)
"""The information models that a node may have; what is retired is not planned with."""
MAXIMUM_FILE = 1024 * 1024
"""Bytes of a file of nodes; one that is larger is none."""


class NodeError(AiodicomError, ValueError):
    """A node that is not known, or a file of nodes that cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One peer of the file. Paths are absolute; `tls` is None where nothing says so and no file is given.

    `user` identifies us (PS3.7 D.3.3.7); a passcode never stands in the file. `dicomweb` is where it offers
    DICOMweb, `dicomweb_authorization` the variable of the environment that holds the header of that name, and
    `dicomweb_trusted` the authority of that address, where it is not `trusted`.
    """

    name: str
    host: str
    port: int
    called_ae: str = DEFAULT_CALLED_AE
    calling_ae: str = DEFAULT_CALLING_AE
    tls: bool | None = None
    trusted: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    tls_profile: TLSProfile = "bcp195"
    verify_host: bool = True
    user: str | None = None
    dicomweb: str | None = None
    dicomweb_authorization: str | None = None
    dicomweb_trusted: Path | None = None
    timeouts: Timeouts = Timeouts()
    quirks: Quirks = Quirks()
    given: frozenset[str] = frozenset()
    """What the file says, the rest are defaults; of the inner tables `timeouts.connect`, `quirks.cap`."""

    @property
    def protected(self) -> bool:
        """Whether it is spoken to over TLS."""
        files = (self.trusted, self.cert, self.key)
        return bool(self.tls) or any(one is not None for one in files) or not self.verify_host

    def peer(self) -> Peer:
        """Whom `connect` connects to. Raises TLSConfigurationError."""
        context = None
        if self.protected:
            context = client_context(
                self.key, self.cert, self.trusted, check_hostname=self.verify_host, profile=self.tls_profile
            )
        identity = None if self.user is None else UserIdentityRQ(1, self.user.encode())
        return Peer(
            host=self.host,
            port=self.port,
            called_ae=self.called_ae,
            calling_ae=self.calling_ae,
            tls=context,
            timeouts=self.timeouts,
            user_identity=identity,
            async_operations=WINDOW,
        )

    def web(self) -> DicomWeb | None:
        """Where it offers DICOMweb, None where it does not.

        Raises TLSConfigurationError.
        """
        if self.dicomweb is None:
            return None
        variable = self.dicomweb_authorization
        secret = None if variable is None else of_variable(variable)
        context = None
        if self.dicomweb.lower().startswith("https:"):
            trusted = self.dicomweb_trusted or self.trusted
            context = client_context(
                self.key, self.cert, trusted, check_hostname=self.verify_host, profile=self.tls_profile
            )
        return DicomWeb(url=self.dicomweb, authorization=secret, tls=context)


def nodes_file() -> Path:
    """The file that `read_nodes` reads when it is given none; it need not exist."""
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        return Path(named)
    if sys.platform == "win32":
        base = os.environ.get("APPDATA") or str(Path.home())
    else:
        base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "aiodicom" / "config.toml"


def read_nodes(path: str | os.PathLike[str] | None = None) -> dict[str, Node]:
    r"""The nodes of a file by name. Without a path that of `nodes_file`, which may be absent.

    Raises NodeError for a file that cannot be read or says what it cannot mean: it names the node and the
    member.

    >>> path = FOLDER / "nodes.toml"
    >>> size = path.write_text('[nodes.pacs]\nhost = "pacs.example"\nport = 104\ncalled_ae = "ARCHIVE"')
    >>> aiodicom.read_nodes(path)["pacs"].called_ae
    'ARCHIVE'
    """
    place = nodes_file() if path is None else Path(path)
    try:
        with place.open("rb") as file:
            data = file.read(MAXIMUM_FILE + 1)
    except FileNotFoundError:
        if path is None and CONFIG_VARIABLE not in os.environ:
            return {}
        raise NodeError(f"{place}: there is no such file") from None
    except OSError as error:
        raise NodeError(f"{place}: {error.strerror}") from None
    if len(data) > MAXIMUM_FILE:
        raise NodeError(f"{place}: larger than {MAXIMUM_FILE} bytes")
    try:
        tree = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise NodeError(f"{place}: no TOML: {error}") from None
    nodes = tree.get("nodes", {})
    if not isinstance(nodes, dict):
        raise NodeError(f"{place}: nodes is no table: a node is written [nodes.NAME]")
    return {name: _Reader(place, name).node(table) for name, table in nodes.items()}


def find_node(name: str, path: str | os.PathLike[str] | None = None) -> Node:
    r"""The node of a name, with or without its ``@``. Raises NodeError, which says what there is.

    >>> path = FOLDER / "nodes.toml"
    >>> size = path.write_text('[nodes.pacs]\nhost = "pacs.example"\nport = 104')
    >>> aiodicom.find_node("@pacs", path).host
    'pacs.example'
    """
    name = name.removeprefix("@")
    nodes = read_nodes(path)
    if name in nodes:
        return nodes[name]
    place = nodes_file() if path is None else path
    if not nodes:
        raise NodeError(f"@{name} is not known: {place} holds no [nodes.{name}]")
    close = get_close_matches(name, nodes, 1)
    known = f"did you mean @{close[0]}?" if close else f"there are {', '.join('@' + one for one in nodes)}"
    raise NodeError(f"@{name} is not known in {place}: {known}")


@dataclass(frozen=True, slots=True)
class _Reader:
    """One table of the file as a `Node`; what it refuses it names."""

    place: Path
    name: str

    def node(self, table: object) -> Node:
        table = self._table("", table)
        members = {field.name for field in dataclasses.fields(Node)} - {"name", "given"}
        self._no_others(table, members, "")
        missing = [one for one in ("host", "port") if one not in table]
        if missing:
            raise self._error("", f"has no {missing[0]}")
        values: dict[str, Any] = {
            member: getattr(self, f"_{_KINDS[member]}")(member, value)
            for member, value in table.items()
            if member not in ("timeouts", "quirks")
        }
        limits = self._timeouts(table.get("timeouts", {}))
        quirks = self._quirks(table.get("quirks", {}))
        given = {*values, *(f"timeouts.{one}" for one in limits), *(f"quirks.{one}" for one in quirks)}
        node = Node(
            name=self.name,
            timeouts=Timeouts(**limits),
            quirks=Quirks(**quirks),
            given=frozenset(given),
            **values,
        )
        if node.tls is False and dataclasses.replace(node, tls=None).protected:
            raise self._error("tls", "is false beside trusted, cert, key or verify_host")
        if node.key is not None and node.cert is None:
            raise self._error("key", "needs a cert")
        if node.dicomweb is None:
            for member in ("dicomweb_authorization", "dicomweb_trusted"):
                if member in node.given:
                    raise self._error(member, "needs a dicomweb address")
        return node

    def _timeouts(self, value: object) -> dict[str, Any]:
        table = self._table("timeouts", value)
        fields = {field.name: field for field in dataclasses.fields(Timeouts)}
        self._no_others(table, set(fields), "timeouts.")
        found: dict[str, Any] = {}
        for member, limit in table.items():
            if limit == "off" and "None" in str(fields[member].type):
                found[member] = None
            elif isinstance(limit, int | float) and not isinstance(limit, bool) and 0 <= limit < float("inf"):
                found[member] = float(limit)
            else:
                raise self._error(f"timeouts.{member}", f"is {limit!r}, which is no number of seconds")
        return found

    def _quirks(self, value: object) -> dict[str, Any]:
        table = self._table("quirks", value)
        self._no_others(table, {field.name for field in dataclasses.fields(Quirks)}, "quirks.")
        return {
            member: getattr(self, f"_{_KINDS['quirks.' + member]}")(f"quirks.{member}", one)
            for member, one in table.items()
        }

    def _count(self, member: str, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self._error(member, f"is {value!r}, which is no number from 1 up")
        return value

    def _roots(self, member: str, value: object) -> tuple[Root, ...]:
        return tuple(Root(one) for one in self._words(member, value, ROOTS))

    def _methods(self, member: str, value: object) -> tuple[Method, ...]:
        return tuple(one for word in self._words(member, value, METHODS) for one in METHODS if one == word)

    def _words(self, member: str, value: object, known: Sequence[str]) -> Sequence[str]:
        """Some of a few words, each once, in the order that is said."""
        listed = value if isinstance(value, list) else []
        if not listed or not all(one in known for one in listed) or len(set(listed)) < len(listed):
            raise self._error(member, f"is {value!r:.80}, which is no list of {', '.join(known)}, each once")
        return listed

    def _no_others(self, table: Mapping[str, object], members: set[str], within: str) -> None:
        for member in table:
            if member not in members:
                close = get_close_matches(member, members, 1)
                hint = f": did you mean {close[0]}?" if close else f": it has {', '.join(sorted(members))}"
                raise self._error(within + member, f"is nothing a node has{hint}")

    def _error(self, member: str, text: str) -> NodeError:
        where = f"[nodes.{self.name}] {member}".rstrip()
        return NodeError(f"{self.place}: {where} {text}")

    def _table(self, member: str, value: object) -> dict[str, object]:
        if not isinstance(value, dict):
            raise self._error(member, "is no table")
        return value

    def _text(self, member: str, value: object) -> str:
        if not isinstance(value, str) or not value.strip():
            raise self._error(member, f"is {value!r}, which is no text")
        return value

    def _title(self, member: str, value: object) -> str:
        title = self._text(member, value).strip(" ")
        try:
            encode_ae_title(title)
        except LocalProtocolError as error:
            raise self._error(member, f"is {value!r}: {error}") from None
        return title

    def _port(self, member: str, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 65536:
            raise self._error(member, f"is {value!r}, which is no port: 1 to 65535")
        return value

    def _switch(self, member: str, value: object) -> bool:
        if not isinstance(value, bool):
            raise self._error(member, f"is {value!r}, neither true nor false")
        return value

    def _file(self, member: str, value: object) -> Path:
        path = self.place.absolute().parent / Path(self._text(member, value)).expanduser()
        if not path.exists():
            raise self._error(member, f"names {path}, which does not exist")
        return path

    def _url(self, member: str, value: object) -> str:
        try:
            return check_url(self._text(member, value))
        except QueryError as error:
            raise self._error(member, f"is no address: {error}") from None

    def _variable(self, member: str, value: object) -> str:
        text = self._text(member, value)
        if not VARIABLE.fullmatch(text):  # not repeated: it may be the secret itself
            raise self._error(member, "names a variable of the environment, which holds the header's value")
        return text

    def _profile(self, member: str, value: object) -> str:
        if value not in PROFILES:
            raise self._error(member, f"is {value!r}, none of {', '.join(PROFILES)}")
        return str(value)


_KINDS = {
    "host": "text",
    "port": "port",
    "called_ae": "title",
    "calling_ae": "title",
    "tls": "switch",
    "trusted": "file",
    "cert": "file",
    "key": "file",
    "tls_profile": "profile",
    "verify_host": "switch",
    "user": "text",
    "dicomweb": "url",
    "dicomweb_authorization": "variable",
    "dicomweb_trusted": "file",
    "quirks.character_set": "text",
    "quirks.cancel": "switch",
    "quirks.cap": "count",
    "quirks.roots": "roots",
    "quirks.methods": "methods",
    "quirks.relational": "switch",
    "quirks.roles": "switch",
    "quirks.window": "switch",
}
"""How each member of a node is read."""
