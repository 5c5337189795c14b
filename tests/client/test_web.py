"""One request to a DICOMweb address: what goes out, what is refused, what errors say."""

from __future__ import annotations

import asyncio
import logging
import pickle
from pathlib import Path
from typing import Any

import aiodicom
import pytest
from aiodicom.client.web import MAX_JSON, WebPeer, check_url, of_variable
from interop.peers import make_pki
from peers.web import Answer, web_site
from wire import free_port

TIMES = aiodicom.Timeouts(connect=5, inactivity=5)


async def asked(answer: Answer, **more: Any) -> tuple[list[dict[str, Any]], dict[str, str]]:
    async with web_site(lambda path: answer) as site:
        async with WebPeer(aiodicom.DicomWeb(url=site.url + "/", **more), TIMES) as peer:
            found = await peer.ask("/series", {"SeriesInstanceUID": "1.2 &3"})
    assert site.asked == ["/rs/series?SeriesInstanceUID=1.2+%263"] or site.asked == [
        "/rs/series?SeriesInstanceUID=1.2%20%263"
    ]
    return found, site.headers[0]


async def test_a_question() -> None:
    found, sent = await asked(Answer(body=b'[{"a": 1}, 2]', content_type="application/dicom+json"))
    assert found == [{"a": 1}]
    assert sent["accept"] == "application/dicom+json"
    assert sent["accept-encoding"] == "identity"
    assert (await asked(Answer("204 No Content")))[0] == []


@pytest.mark.parametrize("body", [b"{", b"[" * 100_000, b"\xff", b"x" * (MAX_JSON + 1)])
async def test_what_is_no_answer_to_a_question(body: bytes) -> None:
    with pytest.raises(aiodicom.WebFailed, match="the answer to a query"):
        await asked(Answer(body=body))


async def test_who_we_are_is_said_anew_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACS_TOKEN", "Bearer one")
    _, sent = await asked(Answer(body=b"[]"), authorization=of_variable("PACS_TOKEN"))
    assert sent["authorization"] == "Bearer one"
    monkeypatch.delenv("PACS_TOKEN")
    with pytest.raises(aiodicom.QueryError, match="the environment has no PACS_TOKEN"):
        await asked(Answer(body=b"[]"), authorization=of_variable("PACS_TOKEN"))


@pytest.mark.parametrize("connections", [1, 3])
async def test_a_connection_that_was_closed_since_its_last_answer_costs_nothing(connections: int) -> None:
    """As servers do with what is idle: the next request may be on its way then."""
    async with web_site(lambda path: Answer(body=b"[]", closes=True)) as site:
        address = aiodicom.DicomWeb(url=site.url)
        async with WebPeer(address, TIMES, connections=connections) as peer:
            await asyncio.gather(*(peer.ask("/studies", {}) for _ in range(connections)))
            for number in range(3):
                assert await peer.ask("/series", {"SeriesInstanceUID": f"1.{number}"}) == []
    assert len(site.asked) == connections + 3


async def test_a_site_that_never_answers_is_asked_once() -> None:
    async with web_site(lambda path: Answer(cut=0)) as site:
        async with WebPeer(aiodicom.DicomWeb(url=site.url), TIMES) as peer:
            with pytest.raises(aiodicom.WebFailed, match="broke off"):
                await peer.ask("/studies", {})
    assert len(site.asked) == 1


async def test_what_is_asked_for_is_logged_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    """A Patient ID may stand in an address."""
    caplog.set_level(logging.DEBUG)
    async with web_site(lambda path: Answer(body=b"[]")) as site:
        async with WebPeer(aiodicom.DicomWeb(url=site.url, authorization="Bearer KEY"), TIMES) as peer:
            await peer.ask("/studies", {"PatientID": "CANARY"})
    assert "CANARY" in site.asked[0]
    assert "CANARY" not in caplog.text
    assert "Bearer" not in caplog.text


async def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert (await asked(Answer(body=b"[]")))[0] == []


async def test_an_authorization_that_can_be_read_on_the_network_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    await asked(Answer(body=b"[]"), authorization="Bearer secret")
    assert "can be read on the network" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        "pacs/dicom-web",
        "ftp://pacs/",
        "https://",
        "https://pacs:0/",
        "https://pacs:99999/",
        "https://user:secret@pacs/",
        "https://pacs/rs?key=secret",
        "https://pacs/rs#x",
        "https://pacs/r s",
        "https://pacs/\n",
        "https://[::1/",
    ],
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(aiodicom.QueryError, match="DICOMweb address") as caught:
        aiodicom.DicomWeb(url=url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://pacs", "https://pacs:8443/a/b/", "HTTPS://[::1]:8/rs"])
def test_addresses(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize("secret", ["", " ", "a\r\nX: y", "ü"])
def test_what_is_no_authorization(secret: str) -> None:
    with pytest.raises(aiodicom.QueryError, match="one line"):
        aiodicom.DicomWeb(url="https://pacs", authorization=secret)


def test_the_secret_is_shown_nowhere() -> None:
    web = aiodicom.DicomWeb(url="https://pacs", authorization="Bearer secret")
    assert "secret" not in repr(web)


async def test_nobody_there() -> None:
    web = aiodicom.DicomWeb(url=f"http://127.0.0.1:{free_port()}/rs")
    async with WebPeer(web, TIMES) as peer:
        with pytest.raises(aiodicom.ConnectionRefused) as caught:
            await peer.ask("/studies", {})
    assert caught.value.peer == web.url


async def test_whom_we_do_not_trust(tmp_path: Path) -> None:
    """A certificate of an authority of one's own: refused without it, taken with it."""
    import asyncio

    pki = make_pki(tmp_path)
    context = aiodicom.server_context(pki.server.key, pki.server.cert)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/rs"
    async with server:
        async with WebPeer(aiodicom.DicomWeb(url=url), TIMES) as peer:
            with pytest.raises(aiodicom.TLSFailed, match="certificate"):
                await peer.ask("/studies", {})
        trusting = aiodicom.client_context(trusted=pki.ca)
        async with WebPeer(aiodicom.DicomWeb(url=url, tls=trusting), TIMES) as peer:
            assert await peer.ask("/studies", {}) == []


def test_an_error_is_what_it_was_after_a_journey() -> None:
    error = aiodicom.WebFailed("HTTP 503", 503).at("https://pacs")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.status) == ("https://pacs: HTTP 503", 503)
    assert (again.final, again.denied) == (True, False)
