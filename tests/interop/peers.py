"""Real DICOM peers as child processes on loopback: DCMTK, Orthanc and pynetdicom.

Servers are context managers that give a `Peer` once its port accepts connections; clients are
`Command` values, run blocking (`run`) or from an event loop (`start`):

    with storescp(tmp_path / "in") as peer:
        outcome = storescu(peer.port, [path], called=peer.ae_title).run()
        assert outcome.code == 0, outcome.text

Every server takes `tls=` (a `TLSFiles`) where the program offers it, every client likewise. DCMTK
3.6.7 has no TLS in dcmqrscp, getscu and movescu; asking for it raises `ValueError`.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from wire import free_port

HOST = "127.0.0.1"
PYNETDICOM_PEER = Path(__file__).with_name("pynetdicom_peer.py")
STARTING_TIME = 30.0  # seconds a peer may take until it accepts connections
RUNNING_TIME = 90.0  # seconds a client command may take


# --- What is there -----------------------------------------------------------------------------


def find_program(name: str) -> str | None:
    """The path of a peer's program; Debian keeps Orthanc's where an ordinary user's PATH does not look."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def has_peer(name: str) -> bool:
    """Whether a peer ("storescp", "Orthanc", "pynetdicom", ...) is on this machine."""
    if name == ORTHANC_DICOMWEB.name:
        return ORTHANC_DICOMWEB.exists()
    if name == "pynetdicom":
        return importlib.util.find_spec("pynetdicom") is not None
    return find_program(name) is not None


ORTHANC_DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def find_dicomweb() -> Path:
    """Orthanc's DICOMweb plugin (Debian's package orthanc-dicomweb); skips or fails as `require_peer`."""
    require_peer("Orthanc", ORTHANC_DICOMWEB.name)
    return ORTHANC_DICOMWEB


def require_peer(*names: str) -> None:
    """Skip the test when a peer is missing; fail it when the environment says none may be."""
    missing = [name for name in names if not has_peer(name)]
    if not missing:
        return
    message = f"not on this machine: {', '.join(missing)}"
    if os.environ.get("AIODICOM_REQUIRE_PEERS") == "1":
        pytest.fail(message + " (and AIODICOM_REQUIRE_PEERS=1 says it must be)")
    pytest.skip(message)


def _program(name: str) -> str:
    require_peer(name)
    path = find_program(name)
    assert path is not None
    return path


# --- Certificates ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """What one end needs: its key, its certificate (chain), and whom it trusts. PEM files all."""

    key: Path
    cert: Path
    trusted: Path


@dataclass(frozen=True, slots=True)
class PKI:
    """A throw-away CA with a server's and a client's certificate, and a CA nobody trusts."""

    server: TLSFiles
    client: TLSFiles
    foreign: TLSFiles
    """A client of another CA which trusts that CA alone."""

    @property
    def ca(self) -> Path:
        """The certificate of the CA behind `server` and `client`."""
        return self.server.trusted


def make_pki(directory: Path) -> PKI:
    """Write a PKI's files. RSA: DCMTK 3.6.7's default profile (RFC 7525) has no ECDSA suite."""
    import trustme

    def issue(ca: trustme.CA, name: str, *identities: str) -> TLSFiles:
        leaf = ca.issue_cert(*identities, common_name=name, key_type=trustme.KeyType.RSA)
        files = TLSFiles(directory / f"{name}.key", directory / f"{name}.pem", directory / f"{name}-ca.pem")
        leaf.private_key_pem.write_to_path(files.key)
        for number, blob in enumerate(leaf.cert_chain_pems):
            blob.write_to_path(files.cert, append=number > 0)
        ca.cert_pem.write_to_path(files.trusted)
        return files

    directory.mkdir(parents=True, exist_ok=True)
    ours = trustme.CA(key_type=trustme.KeyType.RSA, organization_name="aiodicom tests")
    theirs = trustme.CA(key_type=trustme.KeyType.RSA, organization_name="a foreign CA")
    return PKI(
        server=issue(ours, "server", "localhost", HOST),
        client=issue(ours, "client", "client.test"),
        foreign=issue(theirs, "foreign", "localhost", HOST),
    )


# --- Pacs commands ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended: its exit code and what it wrote."""

    code: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        """Both streams, for a failing assertion."""
        return f"exit code {self.code}\n{self.stdout}\n{self.stderr}"

    def json(self) -> Any:
        """Standard output as JSON (pynetdicom's commands)."""
        return json.loads(self.stdout)


@dataclass(frozen=True, slots=True)
class Command:
    """A client's command line, to be run as often as one likes."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None

    def run(self, timeout: float = RUNNING_TIME) -> Outcome:
        """Run it and wait; not from an event loop that serves it."""
        done = subprocess.run(
            self.argv,
            env={**os.environ, **self.env},
            cwd=self.cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    async def start(self, timeout: float = RUNNING_TIME) -> Outcome:
        """Run it while this event loop goes on; killed when cancelled or late."""
        process = await asyncio.create_subprocess_exec(
            *self.argv,
            env={**os.environ, **self.env},
            cwd=self.cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(timeout):
                out, err = await process.communicate()
        except BaseException:
            if process.returncode is None:
                process.kill()
            await process.communicate()
            raise
        assert process.returncode is not None
        return Outcome(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


def _dcmtk_env(nodelay: bool) -> dict[str, str]:
    return {"TCP_NODELAY": "1"} if nodelay else {}


def _dcmtk_tls(tls: TLSFiles | None) -> list[str]:
    return [] if tls is None else ["+tls", str(tls.key), str(tls.cert), "+cf", str(tls.trusted)]


def _no_tls(program: str, tls: TLSFiles | None) -> None:
    if tls is not None:
        raise ValueError(f"DCMTK 3.6.7's {program} has no TLS")


def _keys(keys: Mapping[str, str] | None) -> list[str]:
    return [word for name, value in (keys or {}).items() for word in ("-k", f"{name}={value}")]


def _dcmtk(
    program: str,
    port: int,
    options: Sequence[str] = (),
    operands: Sequence[str] = (),
    *,
    calling: str,
    called: str,
    nodelay: bool,
    cwd: Path | None = None,
) -> Command:
    titles = ["-aet", calling, "-aec", called]
    argv = [_program(program), "-v", *titles, *options, HOST, str(port), *operands]
    return Command(tuple(argv), _dcmtk_env(nodelay), cwd)


def echoscu(
    port: int,
    *,
    calling: str = "ECHOSCU",
    called: str = "ANY-SCP",
    tls: TLSFiles | None = None,
    nodelay: bool = True,
    extra: Sequence[str] = (),
) -> Command:
    """DCMTK's C-ECHO client."""
    options = [*_dcmtk_tls(tls), *extra]
    return _dcmtk("echoscu", port, options, calling=calling, called=called, nodelay=nodelay)


def storescu(
    port: int,
    paths: Sequence[Path],
    *,
    calling: str = "STORESCU",
    called: str = "ANY-SCP",
    tls: TLSFiles | None = None,
    nodelay: bool = True,
    extra: Sequence[str] = (),
) -> Command:
    """DCMTK's C-STORE client; folders among `paths` are walked.

    `-R` proposes the contexts of the files alone: the default proposes every storage class there is.
    `-xe` or the like in `extra` for one transfer syntax; compressed files need theirs (`-xs`, `-xv`, ...).
    """
    options = ["+sd", "+r", "-R", *_dcmtk_tls(tls), *extra]
    operands = [str(path) for path in paths]
    return _dcmtk("storescu", port, options, operands, calling=calling, called=called, nodelay=nodelay)


def findscu(
    port: int,
    keys: Mapping[str, str],
    *,
    root: str = "STUDY",
    calling: str = "FINDSCU",
    called: str = "ANY-SCP",
    tls: TLSFiles | None = None,
    nodelay: bool = True,
    extra: Sequence[str] = (),
) -> Command:
    """DCMTK's C-FIND client; `keys` as findscu's `-k` takes them (QueryRetrieveLevel among them).

    Add ``extra=["-X", "-od", directory]`` to have each match written as a file.
    """
    model = {"PATIENT": "-P", "STUDY": "-S", "WORKLIST": "-W"}[root]
    options = [model, *_keys(keys), *_dcmtk_tls(tls), *extra]
    return _dcmtk("findscu", port, options, calling=calling, called=called, nodelay=nodelay)


def getscu(
    port: int,
    keys: Mapping[str, str],
    directory: Path,
    *,
    root: str = "STUDY",
    calling: str = "GETSCU",
    called: str = "ANY-SCP",
    tls: TLSFiles | None = None,
    nodelay: bool = True,
    extra: Sequence[str] = (),
) -> Command:
    """DCMTK's C-GET client writing what comes bit for bit into `directory` (made when missing)."""
    _no_tls("getscu", tls)
    directory.mkdir(parents=True, exist_ok=True)
    model = {"PATIENT": "-P", "STUDY": "-S"}[root]
    options = [model, "+B", "-od", str(directory), *_keys(keys), *extra]
    return _dcmtk("getscu", port, options, calling=calling, called=called, nodelay=nodelay)


def movescu(
    port: int,
    keys: Mapping[str, str],
    destination: str,
    *,
    receive: tuple[int, Path] | None = None,
    root: str = "STUDY",
    calling: str = "MOVESCU",
    called: str = "ANY-SCP",
    tls: TLSFiles | None = None,
    nodelay: bool = True,
    extra: Sequence[str] = (),
) -> Command:
    """DCMTK's C-MOVE client; `receive` = (port, directory) has it accept the objects itself."""
    _no_tls("movescu", tls)
    model = {"PATIENT": "-P", "STUDY": "-S"}[root]
    options = [model, "-aem", destination, *_keys(keys), *extra]
    cwd = None
    if receive is not None:
        listening, cwd = receive  # +B ignores -od and writes into the working directory
        cwd.mkdir(parents=True, exist_ok=True)
        options += ["+P", str(listening), "+B"]
    return _dcmtk("movescu", port, options, calling=calling, called=called, nodelay=nodelay, cwd=cwd)


def pynetdicom_scu(
    operation: str,
    port: int,
    *,
    calling: str = "PYNETDICOM",
    called: str = "ANY-SCP",
    tls: TLSFiles | None = None,
    paths: Sequence[Path] = (),
    keys: Mapping[str, str] | None = None,
    root: str = "STUDY",
    directory: Path | None = None,
    destination: str | None = None,
    receive: int | None = None,
    cancel_after: int | None = None,
) -> Command:
    """pynetdicom as a client ("echo", "store", "find", "get", "move") in a process of its own.

    Writes one JSON object: ``established`` (bool), ``statuses`` (list of int, one a response),
    ``matches`` (list of {keyword: value}, for find), ``counters`` (the last response's remaining,
    completed, failed, warning) and ``files`` (the paths written, for get; for move with `receive`).
    Its exit code is 0 when an association was established and released.
    """
    require_peer("pynetdicom")
    job = {
        "operation": operation,
        "host": HOST,
        "port": port,
        "calling": calling,
        "called": called,
        "tls": _tls_json(tls),
        "paths": [str(path) for path in paths],
        "keys": dict(keys or {}),
        "root": root,
        "directory": None if directory is None else str(directory),
        "destination": destination,
        "receive": receive,
        "cancel_after": cancel_after,
    }
    return Command((sys.executable, str(PYNETDICOM_PEER), "scu", json.dumps(job)))


def pynetdicom_scus(commands: Iterable[Command]) -> Command:
    """Several of `pynetdicom_scu` in one process, which takes a second to start: writes a JSON list."""
    jobs = [json.loads(command.argv[-1]) for command in commands]
    return Command((sys.executable, str(PYNETDICOM_PEER), "scu", json.dumps(jobs)))


# --- Servers -----------------------------------------------------------------------------------


@dataclass(slots=True)
class Peer:
    """A running server."""

    name: str
    ae_title: str
    port: int
    directory: Path
    """Where it keeps what it received."""
    process: subprocess.Popen[bytes]
    log_path: Path
    tls: TLSFiles | None = None
    http_port: int | None = None
    host: str = HOST

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self.log_path.read_text(errors="replace")

    @property
    def alive(self) -> bool:
        """Whether its process still runs."""
        return self.process.poll() is None

    def stored_files(self) -> list[Path]:
        """The DICOM files it keeps, sorted by path."""
        return dicom_files(self.directory)


def dicom_files(directory: Path) -> list[Path]:
    """The Part 10 files under a folder that hold a whole object, sorted by path.

    Orthanc keeps copies of the elements before the pixel data beside them where compressed; those
    have no preamble.
    """
    found = []
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                if file.read(132)[128:] == b"DICM":
                    found.append(path)
    return found


def _accepts(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1.0)
        return sock.connect_ex((HOST, port)) == 0


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a peer and what it forked: they are a process group of their own.

    Killed at once: what it keeps is thrown away, and Orthanc takes 1.4 s for an orderly end.
    """
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # the whole group is gone already
    process.wait()


def _await_listening(process: subprocess.Popen[bytes], port: int, log_path: Path, name: str) -> bool:
    """True once the port accepts; False when the process ended (its port was taken meanwhile).

    A foreign process gives no other sign of being ready than its port, hence the polling.
    """
    deadline = time.monotonic() + STARTING_TIME
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return False
        if _accepts(port):
            return process.poll() is None  # else somebody else accepted
        time.sleep(0.02)
    raise TimeoutError(
        f"{name} did not listen within {STARTING_TIME} s:\n{log_path.read_text(errors='replace')}"
    )


@contextlib.contextmanager
def launch(
    name: str,
    ae_title: str,
    directory: Path,
    arguments: Callable[[int], Sequence[str]],
    *,
    port: int | None = None,
    tls: TLSFiles | None = None,
    env: Mapping[str, str] | None = None,
    log_path: Path | None = None,
) -> Iterator[Peer]:
    """Run a server whose command line `arguments` gives for a port, until the block ends.

    Without a `port` a free one is looked for, and again when it was taken meanwhile.
    """
    directory.mkdir(parents=True, exist_ok=True)
    log_path = log_path or directory.with_name(f"{directory.name}.{name}.log")
    for _ in range(1 if port is not None else 3):
        chosen = port if port is not None else free_port()
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                list(arguments(chosen)),
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            if _await_listening(process, chosen, log_path, name):
                yield Peer(name, ae_title, chosen, directory, process, log_path, tls)
                return
        finally:
            _stop(process)
    raise RuntimeError(f"{name} ended at once:\n{log_path.read_text(errors='replace')}")


@contextlib.contextmanager
def storescp(
    directory: Path,
    *,
    ae_title: str = "STORESCP",
    port: int | None = None,
    tls: TLSFiles | None = None,
    require_client_certificate: bool = True,
    nodelay: bool = True,
    accept: str = "+xa",
    extra: Sequence[str] = (),
) -> Iterator[Peer]:
    """DCMTK's C-STORE receiver: one association at a time, writing each object bit for bit.

    `accept` is its transfer syntax option: all by default, `+xi` implicit alone and so on.
    """
    program = _program("storescp")
    options = ["-v", "-aet", ae_title, "+B", accept, "-od", str(directory), *_dcmtk_tls(tls), *extra]
    if tls is not None and not require_client_certificate:
        options.append("-ic")
    with launch(
        "storescp",
        ae_title,
        directory,
        lambda number: [program, *options, str(number)],
        port=port,
        tls=tls,
        env=_dcmtk_env(nodelay),
    ) as peer:
        yield peer


@contextlib.contextmanager
def dcmqrscp(
    directory: Path,
    *,
    ae_title: str = "DCMQRSCP",
    port: int | None = None,
    destinations: Mapping[str, int] | None = None,
    tls: TLSFiles | None = None,
    nodelay: bool = True,
    max_associations: int = 64,
    extra: Sequence[str] = (),
) -> Iterator[Peer]:
    """DCMTK's archive: C-ECHO, C-STORE, C-FIND, C-GET and C-MOVE to `destinations` (AE title: port)."""
    _no_tls("dcmqrscp", tls)
    program = _program("dcmqrscp")
    config = directory.with_name(f"{directory.name}.dcmqrscp.cfg")

    def arguments(number: int) -> list[str]:
        hosts = "\n".join(
            f"{aet.lower()} = ({aet}, localhost, {p})" for aet, p in (destinations or {}).items()
        )
        config.write_text(
            f"NetworkTCPPort = {number}\nMaxPDUSize = 131072\nMaxAssociations = {max_associations}\n"
            f"HostTable BEGIN\n{hosts}\nHostTable END\n"
            "VendorTable BEGIN\nVendorTable END\n"
            f"AETable BEGIN\n{ae_title} {directory} RW (500, 8192mb) ANY\nAETable END\n"
        )
        return [program, "-v", "-c", str(config), "+B", *extra]

    with launch("dcmqrscp", ae_title, directory, arguments, port=port, env=_dcmtk_env(nodelay)) as peer:
        yield peer


@contextlib.contextmanager
def orthanc(
    directory: Path,
    *,
    ae_title: str = "ORTHANC",
    port: int | None = None,
    modalities: Mapping[str, int] | None = None,
    tls: TLSFiles | None = None,
    require_client_certificate: bool = True,
    http: bool = False,
    dicomweb: bool = False,
    nodelay: bool = True,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[Peer]:
    """Orthanc: C-ECHO, C-STORE, C-FIND, C-GET and C-MOVE to `modalities` (AE title: port).

    With `http` its REST interface listens without a password on `Peer.http_port`; with `dicomweb` below
    ``/dicom-web`` too, by Debian's plugin. `settings` go over
    ours (any key of Orthanc's configuration). With `tls` its connections to modalities are TLS too.
    """
    program = _program("Orthanc")
    config = directory.with_name(f"{directory.name}.orthanc.json")
    http_port = free_port() if http or dicomweb else None
    plugins = [str(find_dicomweb())] if dicomweb else []

    def arguments(number: int) -> list[str]:
        values: dict[str, Any] = {
            "Name": "aiodicom tests",
            "StorageDirectory": str(directory),
            "IndexDirectory": str(directory),
            "Plugins": plugins,
            "HttpServerEnabled": http or dicomweb,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomPort": number,
            "DicomAet": ae_title,
            "DicomCheckCalledAet": True,
            "DicomCheckModalityHost": False,
            "DicomAlwaysAllowEcho": True,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowGet": True,
            "DicomAlwaysAllowMove": True,
            "DicomModalities": {
                aet: {"AET": aet, "Host": HOST, "Port": p, "UseDicomTls": tls is not None}
                for aet, p in (modalities or {}).items()
            },
            "StorageCompression": False,
            "SyncStorageArea": False,
            "SaveJobs": False,
            "OverwriteInstances": True,
        }
        if http_port is not None:
            values["HttpPort"] = http_port
        if tls is not None:
            values |= {
                "DicomTlsEnabled": True,
                "DicomTlsCertificate": str(tls.cert),
                "DicomTlsPrivateKey": str(tls.key),
                "DicomTlsTrustedCertificates": str(tls.trusted),
                "DicomTlsRemoteCertificateRequired": require_client_certificate,
            }
        config.write_text(json.dumps(values | dict(settings or {}), indent=1))
        return [program, "--verbose", str(config)]

    with launch(
        "Orthanc", ae_title, directory, arguments, port=port, tls=tls, env=_dcmtk_env(nodelay)
    ) as peer:
        peer.http_port = http_port
        yield peer


def _tls_json(tls: TLSFiles | None) -> dict[str, str] | None:
    return None if tls is None else {"key": str(tls.key), "cert": str(tls.cert), "trusted": str(tls.trusted)}


@contextlib.contextmanager
def pynetdicom_scp(
    directory: Path,
    *,
    ae_title: str = "PYNETDICOM",
    port: int | None = None,
    destinations: Mapping[str, int] | None = None,
    tls: TLSFiles | None = None,
    require_client_certificate: bool = True,
    check_called: bool = False,
    max_pdu: int = 16382,
    store_status: int = 0x0000,
) -> Iterator[Peer]:
    """pynetdicom's C-ECHO, C-STORE, C-FIND, C-GET and C-MOVE services over files in `directory`.

    What it receives is written as it came; files that lie in `directory` at the start are served
    too. `store_status` is what it answers each C-STORE with.
    """
    require_peer("pynetdicom")

    def arguments(number: int) -> list[str]:
        job = {
            "directory": str(directory),
            "ae_title": ae_title,
            "host": HOST,
            "port": number,
            "destinations": dict(destinations or {}),
            "tls": _tls_json(tls),
            "require_client_certificate": require_client_certificate,
            "check_called": check_called,
            "max_pdu": max_pdu,
            "store_status": store_status,
        }
        return [sys.executable, str(PYNETDICOM_PEER), "scp", json.dumps(job)]

    with launch("pynetdicom", ae_title, directory, arguments, port=port, tls=tls) as peer:
        yield peer


class Peers:
    """Servers started by one test and stopped at its end: the `peers` fixture.

    Each method takes what the function of its name takes, without the directory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stack = contextlib.ExitStack()
        self._number = 0

    def _start(self, program: Callable[..., contextlib.AbstractContextManager[Peer]], options: Any) -> Peer:
        self._number += 1
        directory = self._directory / f"peer{self._number}"
        return self._stack.enter_context(program(directory, **options))

    def storescp(self, **options: Any) -> Peer:
        """See `storescp`."""
        return self._start(storescp, options)

    def dcmqrscp(self, **options: Any) -> Peer:
        """See `dcmqrscp`."""
        return self._start(dcmqrscp, options)

    def orthanc(self, **options: Any) -> Peer:
        """See `orthanc`."""
        return self._start(orthanc, options)

    def pynetdicom(self, **options: Any) -> Peer:
        """See `pynetdicom_scp`."""
        return self._start(pynetdicom_scp, options)

    def close(self) -> None:
        """Stop them all."""
        self._stack.close()
