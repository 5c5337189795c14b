"""``aiodicom serve``: where it listens, and what it tells of itself."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from pathlib import Path

import aiodicom
import click
import pytest
from aiodicom.cli.serve import address, destination

from .conftest import Invoke, serve, stop


def ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as one:
            one.bind(("::1", 0))
    except OSError:
        return False
    return True


def metrics_of(served: object, url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def test_metrics_are_answered_while_it_serves(invoke: Invoke, tmp_path: Path) -> None:
    served = serve(tmp_path / "archive", "--metrics", "127.0.0.1:0")
    assert served.process.stdout is not None
    try:
        port = int(served.process.stdout.readline().split()[-1])
        assert invoke("echo", "127.0.0.1", served.port).code == 0
        url = f"http://127.0.0.1:{port}"
        text = metrics_of(served, url + "/metrics")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            metrics_of(served, url)
    finally:
        code = stop(served)
    assert 'aiodicom_requests_total{service="C-ECHO",status="0000"} 1' in text
    assert code == 0


def test_a_port_for_metrics_that_is_taken_ends_it(invoke: Invoke, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = invoke("serve", tmp_path / "archive", "--port", 0, "--metrics", f"127.0.0.1:{port}")
    assert result.code == 1
    assert f"cannot listen for metrics on 127.0.0.1 port {port}" in result.error


@pytest.mark.skipif(not ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("host", ["::", "[::]", "", None])
async def test_every_address_is_one_of_both_families(host: str | None) -> None:
    async with aiodicom.serve(aiodicom.Service(), host=host, port=0) as server:
        for there in ("127.0.0.1", "[::1]", "::1"):
            assert await aiodicom.test_connection(there, server.port)


@pytest.mark.skipif(not ipv6(), reason="this machine has no IPv6")
def test_an_address_of_ipv6_has_brackets_beside_a_port(invoke: Invoke, tmp_path: Path) -> None:
    served = serve(tmp_path / "archive", "--host", "::", "--metrics", "[::1]:0")
    assert served.process.stdout is not None
    try:
        port = int(served.process.stdout.readline().split()[-1])
        for there in ("127.0.0.1", "[::1]", "::1"):
            result = invoke("echo", there, served.port)
            assert result.code == 0, result.err
            where = there if "." in there else f"[{there.strip('[]')}]"
            assert f"{where}:{served.port}" in result.out
        assert "C-ECHO" in metrics_of(served, f"http://[::1]:{port}/metrics")
    finally:
        assert stop(served) == 0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("localhost:9100", ("localhost", 9100)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::1]:9100", ("::1", 9100)),
        ("[::]:65535", ("::", 65535)),
        ("9100", None),
        (":9100", None),
        ("[]:9100", None),
        ("::1:9100", None),
        ("::1", None),
        ("[::1]", None),
        ("localhost:65536", None),
        ("localhost:-1", None),
        ("localhost:", None),
        ("localhost:٣", None),
        ("", None),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, found: tuple[str, int] | None) -> None:
    if found is None:
        with pytest.raises(click.BadParameter, match="HOST:PORT"):
            address(text)
    else:
        assert address(text) == found
    if found is None or not found[1]:
        with pytest.raises(click.BadParameter, match="NAME=HOST:PORT"):
            destination(f"SOME={text}")
    else:
        assert destination(f"SOME={text}") == ("SOME", aiodicom.Destination(*found))


@pytest.mark.parametrize("port", [-1, 65536, 70000])
async def test_a_number_that_is_no_port_is_refused_by_whoever_takes_one(port: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{port} is no port"):
        aiodicom.serve(aiodicom.Service(), port=port)
    with pytest.raises(ValueError, match=f"{port} is no port"):
        await aiodicom.serve_archive(tmp_path / "archive", port=port)
    with pytest.raises(ValueError, match=f"{port} is no port"):
        await aiodicom.diagnose(aiodicom.Peer(host="127.0.0.1", port=port))
    with pytest.raises(aiodicom.LocalProtocolError, match=f"{port} is no port"):
        await aiodicom.connect("127.0.0.1", port)
    with pytest.raises(aiodicom.LocalProtocolError, match=f"{port} is no port"):
        async with aiodicom.create_pool("127.0.0.1", port) as pool:
            await pool.echo()


@pytest.mark.parametrize("port", ["-1", "0", "65536", "70000", "11112.5", "dicom", ""])
def test_a_wrong_port_on_the_command_line_is_wrong_usage(invoke: Invoke, port: str) -> None:
    for command in ("echo", "diagnose", "find"):
        result = invoke(command, "--", "127.0.0.1", port)
        assert result.code == 2
        assert "PORT" in result.err
