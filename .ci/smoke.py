"""Smoke test of the installed package, run with `python -I` from a folder that is not the clone.

smoke.py --library    with the base dependencies alone: everything but the command line imports
smoke.py              with the extras: the command line works, an echo reaches an archive
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import pkgutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PACKAGES = (
    "pdu",
    "dataset",
    "dimse",
    "association",
    "archive",
    "server",
    "client",
    "imaging",
    "conformance",
    "testing",
)
ROOT_FOLDERS = (*PACKAGES, "api", "tests", "benchmarks")
COMMAND = Path(sys.executable).with_name("aiodicom")


def check(condition: object, message: str) -> None:
    """End with a sentence when something is not as it must be."""
    if not condition:
        raise SystemExit(f"smoke test: {message}")


def check_installation(*, library: bool) -> None:
    """What was installed is whole, typed, and alone under its name."""
    import aiodicom

    home = Path(aiodicom.__file__).parent
    check(home.is_relative_to(sys.prefix), f"aiodicom comes from {home}, not from this environment")
    for name in ROOT_FOLDERS:
        check(importlib.util.find_spec(name) is None, f"{name!r} leaked out as a top-level package")
    check((home / "py.typed").is_file(), "aiodicom has no py.typed")
    for name in PACKAGES:
        check((home / name / "py.typed").is_file(), f"aiodicom.{name} has no py.typed")
    modules = [
        info.name for info in pkgutil.walk_packages(aiodicom.__path__, "aiodicom.", onerror=lambda _: None)
    ]
    if library:
        modules = [name for name in modules if not name.startswith(("aiodicom.cli", "aiodicom.__main__"))]
    for name in modules:
        importlib.import_module(name)
    for name in getattr(aiodicom, "__all__", ()):
        check(hasattr(aiodicom, name), f"aiodicom.__all__ names {name}, which is not there")
    print(f"{len(modules)} modules import; version {importlib.metadata.version('aiodicom')}")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    return subprocess.run([str(COMMAND), *arguments], capture_output=True, text=True, timeout=60, check=False)


def check_command_line() -> None:
    """The console script and `python -m` answer, and an echo reaches an archive."""
    shown = run("--help")
    check(shown.returncode == 0, f"--help failed: {shown.stderr}")
    for command in ("echo", "store", "find", "get", "serve", "demo"):
        check(command in shown.stdout, f"--help does not name {command!r}")
    module = subprocess.run(
        [sys.executable, "-I", "-m", "aiodicom", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    check(module.returncode == 0, f"python -m aiodicom failed: {module.stderr}")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen([str(COMMAND), "serve", folder, "--port", str(port), "--ae-title", "SMOKE"])
        try:
            wait_for(port, server)
            echo = run("echo", "127.0.0.1", str(port), "--called", "SMOKE")
            check(echo.returncode == 0, f"echo failed: {echo.stdout}{echo.stderr}")
            server.send_signal(signal.SIGTERM)
            check(server.wait(30) == 0, f"serve ended with {server.returncode} after SIGTERM")
        finally:
            server.kill()
            server.wait()
    check(run("echo", "127.0.0.1", str(port)).returncode != 0, "echo to a closed port succeeded")
    print("command line: help, serve, echo")


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    """Until the archive accepts connections."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        check(server.poll() is None, f"serve ended at once with {server.returncode}")
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("smoke test: serve does not listen")


if __name__ == "__main__":
    check_installation(library="--library" in sys.argv)
    if "--library" not in sys.argv:
        check_command_line()
