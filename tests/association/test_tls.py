"""TLS contexts and failures in words: real handshakes between two ends in memory."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
import uvloop
from aiodicom.association.tls import (
    PROFILES,
    TLSConfigurationError,
    TLSInfo,
    client_context,
    connection_info,
    describe_tls_error,
    server_context,
)
from cryptography.hazmat.primitives import serialization

NOW = datetime.datetime.now(datetime.UTC)


@dataclass(frozen=True)
class Files:
    key: Path
    cert: Path


@dataclass(frozen=True)
class Setup:
    """A CA with what it issued, as files."""

    directory: Path
    authority: trustme.CA
    ca: Path
    server: Files
    client: Files
    foreign_ca: Path
    foreign: Files

    def issue(self, name: str, *identities: str, **options: object) -> Files:
        return issue(self.directory, self.authority, name, *identities, **options)


def issue(directory: Path, authority: trustme.CA, name: str, *identities: str, **options: object) -> Files:
    leaf = authority.issue_cert(*identities, common_name=name, **options)
    files = Files(directory / f"{name}.key", directory / f"{name}.pem")
    leaf.private_key_pem.write_to_path(files.key)
    files.cert.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    return files


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    directory = tmp_path_factory.mktemp("tls")
    ours, theirs = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(directory / "ca.pem")
    theirs.cert_pem.write_to_path(directory / "foreign-ca.pem")
    return Setup(
        directory,
        ours,
        directory / "ca.pem",
        issue(directory, ours, "server", "archive.test", "127.0.0.1"),
        issue(directory, ours, "client", "client.test"),
        directory / "foreign-ca.pem",
        issue(directory, theirs, "foreign", "archive.test"),
    )


class End:
    """One side of a connection without a socket."""

    def __init__(self, context: ssl.SSLContext, *, server: bool, name: str | None = None) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=server, server_hostname=name)
        self.error: ssl.SSLError | None = None
        self.done = False

    def step(self, call: Callable[[], object]) -> None:
        """Go on with `call` until it is done, fails or waits for the other side."""
        if self.done or self.error:
            return
        try:
            call()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError as error:
            self.error = error
        else:
            self.done = True


def shake(
    client: ssl.SSLContext, server: ssl.SSLContext, name: str | None = "archive.test"
) -> tuple[End, End]:
    """Handshake, then one byte from the server: what TLS 1.3 says late arrives with it."""
    a, b = End(client, server=False, name=name), End(server, server=True)

    def pump(do_a: Callable[[], object], do_b: Callable[[], object]) -> None:
        for _ in range(10):
            a.step(do_a)
            b.incoming.write(a.outgoing.read())
            b.step(do_b)
            a.incoming.write(b.outgoing.read())

    pump(a.tls.do_handshake, b.tls.do_handshake)
    if a.error is None:
        a.done = b.done = False
        pump(lambda: a.tls.read(1), lambda: b.tls.write(b"x"))
    return a, b


def words(end: End) -> str:
    assert end.error is not None
    return describe_tls_error(end.error)


# --- It works ----------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", list(PROFILES))
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_mutual_authentication(setup: Setup, profile: str, version: ssl.TLSVersion) -> None:
    client = client_context(setup.client.key, setup.client.cert, setup.ca, profile=profile)  # type: ignore[arg-type]
    server = server_context(setup.server.key, setup.server.cert, setup.ca, profile=profile)  # type: ignore[arg-type]
    client.maximum_version = version
    a, b = shake(client, server)
    assert (a.error, b.error) == (None, None)
    seen_by_client, seen_by_server = connection_info(a.tls), connection_info(b.tls)
    expected = "TLSv1.2" if version is ssl.TLSVersion.TLSv1_2 else "TLSv1.3"
    assert seen_by_client.version == seen_by_server.version == expected
    assert seen_by_client.cipher == seen_by_server.cipher == a.tls.cipher()[0]  # type: ignore[index]
    assert seen_by_client.cipher_bits == 256
    assert seen_by_client.verified
    assert seen_by_server.verified
    assert "CN=server" in seen_by_client.peer_subject
    assert "CN=client" in seen_by_server.peer_subject
    assert "trustme" in seen_by_server.peer_issuer
    assert set(seen_by_client.peer_names) == {"archive.test", "127.0.0.1"}
    assert seen_by_client.not_before < NOW < seen_by_client.not_after


def test_without_client_certificate_the_server_knows_nobody(setup: Setup) -> None:
    a, b = shake(client_context(trusted=setup.ca), server_context(setup.server.key, setup.server.cert))
    assert (a.error, b.error) == (None, None)
    info = connection_info(b.tls)
    assert info == TLSInfo(info.version, info.cipher, info.cipher_bits)
    assert not info.verified


def test_optional_client_certificate_is_verified_when_shown(setup: Setup) -> None:
    server = server_context(setup.server.key, setup.server.cert, setup.ca, require_client_certificate=False)
    a, b = shake(client_context(trusted=setup.ca), server)
    assert (a.error, b.error) == (None, None)
    a, b = shake(client_context(setup.client.key, setup.client.cert, setup.ca), server)
    assert "CN=client" in connection_info(b.tls).peer_subject
    a, b = shake(client_context(setup.foreign.key, setup.foreign.cert, setup.ca), server)
    assert "not vouched for" in words(b)


def test_unverified_peer_is_known_by_its_fingerprint_alone(setup: Setup) -> None:
    client = client_context(verify=False)
    a, _ = shake(client, server_context(setup.foreign.key, setup.foreign.cert), name=None)
    info = connection_info(a.tls)
    assert (info.verified, info.peer_subject) == (False, None)
    assert info.peer_fingerprint is not None
    assert len(info.peer_fingerprint) == 64


def test_name_check_can_be_left_out_but_trust_stays(setup: Setup) -> None:
    server = server_context(setup.server.key, setup.server.cert)
    a, _ = shake(client_context(trusted=setup.ca, check_hostname=False), server, name=None)
    assert a.error is None
    a, _ = shake(client_context(trusted=setup.foreign_ca, check_hostname=False), server, name=None)
    assert "not vouched for" in words(a)


def test_a_peers_own_certificate_can_be_trusted(setup: Setup) -> None:
    server = server_context(setup.server.key, setup.server.cert)
    a, _ = shake(client_context(trusted=setup.server.cert), server)
    assert a.error is None


def test_a_folder_of_trusted_certificates(setup: Setup, tmp_path: Path) -> None:
    (tmp_path / "one.crt").write_bytes(setup.foreign_ca.read_bytes())
    (tmp_path / "two.pem").write_bytes("# Größe\n".encode() + setup.ca.read_bytes())
    (tmp_path / "README").write_text("certificates")
    a, _ = shake(client_context(trusted=tmp_path), server_context(setup.server.key, setup.server.cert))
    assert a.error is None


def test_pem_data_serves_as_well_as_paths(setup: Setup) -> None:
    client = client_context(
        setup.client.key.read_bytes(), setup.client.cert.read_text(), setup.ca.read_text()
    )
    both = setup.server.key.read_bytes() + setup.server.cert.read_bytes()
    a, b = shake(client, server_context(None, both, setup.ca.read_bytes()))
    assert (a.error, b.error) == (None, None)


# --- It is refused, and says why -----------------------------------------------------------------


def test_untrusted_server(setup: Setup) -> None:
    a, b = shake(
        client_context(trusted=setup.foreign_ca), server_context(setup.server.key, setup.server.cert)
    )
    assert "not vouched for by a trusted one" in words(a)
    assert words(b) == "the peer refused our certificate: it does not trust the authority that signed it"


def test_system_authorities_are_the_default(setup: Setup) -> None:
    a, _ = shake(client_context(), server_context(setup.server.key, setup.server.cert))
    assert "not vouched for" in words(a)


@pytest.mark.parametrize(
    ("name", "cause"),
    [("other.test", "is for another name"), ("127.0.0.2", "is for another address")],
)
def test_name_mismatch(setup: Setup, name: str, cause: str) -> None:
    server = server_context(setup.server.key, setup.server.cert)
    a, _ = shake(client_context(trusted=setup.ca), server, name)
    assert cause in words(a)
    assert name in words(a)


def test_address_in_the_certificate_matches(setup: Setup) -> None:
    server = server_context(setup.server.key, setup.server.cert)
    a, _ = shake(client_context(trusted=setup.ca), server, "127.0.0.1")
    assert a.error is None


def test_expired_certificate_on_either_side(setup: Setup) -> None:
    past = NOW - datetime.timedelta(days=2)
    old = setup.issue("expired", "archive.test", not_before=past - datetime.timedelta(days=9), not_after=past)
    a, b = shake(client_context(trusted=setup.ca), server_context(old.key, old.cert))
    assert "the peer's certificate has expired" in words(a)
    assert "expired" in words(b)
    server = server_context(setup.server.key, setup.server.cert, setup.ca)
    a, b = shake(client_context(old.key, old.cert, setup.ca), server)
    assert "the peer's certificate has expired" in words(b)
    assert "it has expired" in words(a)


def test_certificate_not_yet_valid(setup: Setup) -> None:
    future = NOW + datetime.timedelta(days=2)
    files = setup.issue(
        "future", "archive.test", not_before=future, not_after=future + datetime.timedelta(days=9)
    )
    a, _ = shake(client_context(trusted=setup.ca), server_context(files.key, files.cert))
    assert "not yet valid" in words(a)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_missing_client_certificate(setup: Setup, version: ssl.TLSVersion) -> None:
    client = client_context(trusted=setup.ca)
    client.maximum_version = version
    a, b = shake(client, server_context(setup.server.key, setup.server.cert, setup.ca))
    assert words(b) == "the peer gave no client certificate, and one is required"
    assert "requires a client certificate" in words(a)


def test_client_certificate_of_another_authority(setup: Setup) -> None:
    client = client_context(setup.foreign.key, setup.foreign.cert, setup.ca)
    a, b = shake(client, server_context(setup.server.key, setup.server.cert, setup.ca))
    assert "not vouched for" in words(b)
    assert "does not trust the authority" in words(a)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_versions_are_refused_by_both_sides(setup: Setup, version: ssl.TLSVersion) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.minimum_version = old.maximum_version = version
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    a, b = shake(old, server_context(setup.server.key, setup.server.cert))
    assert words(b).startswith("no TLS version in common")
    assert words(a).startswith("no TLS version in common")
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.minimum_version = old.maximum_version = version
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.load_cert_chain(setup.server.cert, setup.server.key)
    a, b = shake(client_context(trusted=setup.ca), old)
    assert words(b).startswith("no TLS version in common")
    assert words(a).startswith("no TLS version in common")


def test_no_suite_in_common(setup: Setup) -> None:
    client = client_context(trusted=setup.ca)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers("ECDHE-ECDSA-AES128-SHA256")
    a, b = shake(client, server_context(setup.server.key, setup.server.cert))
    assert words(b) == "no cipher suite in common with the peer"
    assert "no cipher suite in common" in words(a)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"\x03\x00\x00\x00\x00\x04\x00\x02\x02\x00", "does not speak TLS"),  # an A-ASSOCIATE-RJ
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak TLS"),
    ],
)
def test_plain_server_on_a_port_spoken_to_in_tls(setup: Setup, data: bytes, cause: str) -> None:
    end = End(client_context(trusted=setup.ca), server=False, name="archive.test")
    end.step(end.tls.do_handshake)
    end.incoming.write(data)
    end.step(end.tls.do_handshake)
    assert cause in words(end)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"\x01\x00" + (200).to_bytes(4) + b"\x00\x01\x00\x00" + b" " * 196, "does not speak TLS"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "speaks HTTP"),
    ],
)
def test_plain_client_on_a_tls_port(setup: Setup, data: bytes, cause: str) -> None:
    end = End(server_context(setup.server.key, setup.server.cert), server=True)
    end.incoming.write(data)
    end.step(end.tls.do_handshake)
    assert cause in words(end)


def test_connection_closed_in_the_handshake(setup: Setup) -> None:
    end = End(client_context(trusted=setup.ca), server=False, name="archive.test")
    end.step(end.tls.do_handshake)
    end.incoming.write_eof()
    end.step(end.tls.do_handshake)
    assert words(end) == "the peer closed the connection during TLS"


def test_words_for_errors_of_the_event_loop() -> None:
    assert "closed the connection" in describe_tls_error(ConnectionResetError(104, "reset"))
    assert "in time" in describe_tls_error(TimeoutError())
    late = ConnectionAbortedError("SSL handshake is taking longer than 60.0 seconds: aborting the connection")
    assert "in time" in describe_tls_error(late)
    wrapped = OSError("could not connect")
    wrapped.__cause__ = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)")
    assert "does not speak TLS" in describe_tls_error(wrapped)
    # A reason Python has no name for: OpenSSL 3.2's, seen by an older Python.
    newer = ssl.SSLError(1, "[SSL] record layer failure (_ssl.c:1006)")
    assert "does not speak TLS" in describe_tls_error(newer)
    assert describe_tls_error(ssl.SSLError(1, "[SSL] moon phase (_ssl.c:1)")) == "TLS failed: moon phase"
    assert describe_tls_error(ValueError()) == "TLS failed: ValueError"


# --- Over an event loop --------------------------------------------------------------------------


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_info_and_words_over_a_socket(setup: Setup, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(info_and_words_over_a_socket(setup))


async def info_and_words_over_a_socket(setup: Setup) -> None:
    seen: asyncio.Queue[TLSInfo] = asyncio.Queue()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.put_nowait(connection_info(writer.get_extra_info("ssl_object")))
        writer.close()
        await writer.wait_closed()

    context = server_context(setup.server.key, setup.server.cert, setup.ca)
    async with await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        client = client_context(setup.client.key, setup.client.cert, setup.ca)
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
        assert "CN=server" in connection_info(writer.get_extra_info("ssl_object")).peer_subject
        assert "CN=client" in (await seen.get()).peer_subject
        writer.close()
        await writer.wait_closed()
        with pytest.raises(ssl.SSLError) as caught:
            await asyncio.open_connection("127.0.0.1", port, ssl=client_context(trusted=setup.foreign_ca))
        assert "not vouched for" in describe_tls_error(caught.value)

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(OSError) as refused:
            await asyncio.open_connection("127.0.0.1", port, ssl=client)
        assert "closed the connection" in describe_tls_error(refused.value)


# --- Profiles ------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", list(PROFILES))
def test_a_profile_offers_its_suites_and_no_other(setup: Setup, profile: str) -> None:
    for context in (
        client_context(trusted=setup.ca, profile=profile),  # type: ignore[arg-type]
        server_context(setup.server.key, setup.server.cert, profile=profile),  # type: ignore[arg-type]
    ):
        offered = {suite["name"]: suite for suite in context.get_ciphers()}
        old = {name for name, suite in offered.items() if suite["protocol"] != "TLSv1.3"}
        # OpenSSL's security level may leave CCM_8 out
        assert {name for name in PROFILES[profile] if "CCM8" not in name} <= old <= set(PROFILES[profile])
        assert set(offered) - old == {
            "TLS_AES_256_GCM_SHA384",
            "TLS_CHACHA20_POLY1305_SHA256",
            "TLS_AES_128_GCM_SHA256",
        }
        assert all(suite["aead"] and suite["strength_bits"] >= 128 for suite in offered.values())
        assert all(suite["auth"] != "auth-null" for suite in offered.values())
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert context.options & ssl.OP_NO_COMPRESSION
        assert context.options & ssl.OP_NO_RENEGOTIATION


def test_the_profiles_suites() -> None:
    recommended = {
        f"ECDHE-{a}-AES{s}" for a in ("RSA", "ECDSA") for s in ("128-GCM-SHA256", "256-GCM-SHA384")
    }
    assert set(PROFILES["bcp195"]) == recommended  # RFC 9325 4.2
    assert all(recommended < set(PROFILES[name]) for name in PROFILES if name != "bcp195")
    assert all("DHE" in suite for suites in PROFILES.values() for suite in suites)  # forward secrecy


def test_no_session_is_resumed(setup: Setup) -> None:
    client = client_context(setup.client.key, setup.client.cert, setup.ca)
    a, _ = shake(client, server_context(setup.server.key, setup.server.cert, setup.ca))
    assert a.tls.session is None or not a.tls.session.has_ticket


# --- Configuration -------------------------------------------------------------------------------


def test_defaults_verify(setup: Setup) -> None:
    client = client_context(trusted=setup.ca)
    assert (client.verify_mode, client.check_hostname) == (ssl.CERT_REQUIRED, True)
    server = server_context(setup.server.key, setup.server.cert, setup.ca)
    assert server.verify_mode == ssl.CERT_REQUIRED
    assert server_context(setup.server.key, setup.server.cert).verify_mode == ssl.CERT_NONE


def test_encrypted_key(setup: Setup, tmp_path: Path) -> None:
    plain = serialization.load_pem_private_key(setup.client.key.read_bytes(), None)
    path = tmp_path / "encrypted.key"
    path.write_bytes(
        plain.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    client_context(path, setup.client.cert, setup.ca, password="secret")
    client_context(path, setup.client.cert, setup.ca, password=lambda: b"secret")
    with pytest.raises(TLSConfigurationError, match=r"encrypted\.key is encrypted and no password"):
        client_context(path, setup.client.cert, setup.ca)
    with pytest.raises(TLSConfigurationError, match=r"password .* is wrong"):
        client_context(path, setup.client.cert, setup.ca, password="guess")


def test_missing_and_wrong_files(setup: Setup, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_bytes(b"")
    damaged = tmp_path / "damaged.pem"
    damaged.write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    good = setup.server
    for key, cert, trusted, words_ in [
        (good.key, tmp_path / "none.pem", None, r"certificate .*none\.pem: No such file"),
        (tmp_path / "none.key", good.cert, None, r"private key .*none\.key: No such file"),
        (good.key, good.cert, tmp_path / "none-ca.pem", r"trusted certificate .*none-ca\.pem: No such file"),
        (good.key, tmp_path, None, r"certificate .*: Is a directory"),
        (good.key, empty, None, r"empty\.pem is not in PEM format"),
        (good.key, good.key, None, r"server\.key holds no certificate"),
        (good.cert, good.cert, None, r"server\.pem holds no private key"),
        (None, good.cert, None, r"server\.pem holds no private key"),
        (good.key, good.cert, damaged, r"trusted certificate: .*damaged\.pem is damaged"),
        (good.key, damaged, None, r"damaged\.pem"),
        (good.key, good.cert, tmp_path / "folder", r"holds no certificate"),
        (setup.client.key, good.cert, None, r"client\.key does not belong to the certificate .*server\.pem"),
        (b"junk", good.cert, None, r"given as data is not in PEM"),
    ]:
        (tmp_path / "folder").mkdir(exist_ok=True)
        with pytest.raises(TLSConfigurationError, match=words_):
            server_context(key, cert, trusted)


def test_settings_that_do_not_fit(setup: Setup) -> None:
    with pytest.raises(TLSConfigurationError, match="without its certificate"):
        client_context(key=setup.client.key)
    with pytest.raises(TLSConfigurationError, match="no trusted ones"):
        server_context(setup.server.key, setup.server.cert, require_client_certificate=True)
    with pytest.raises(TLSConfigurationError, match="no TLS profile 'ssl3'; there are bcp195,"):
        client_context(profile="ssl3")  # type: ignore[arg-type]


def test_a_short_key_is_named(tmp_path: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 1024)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "weak")])
    cert = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(TLSConfigurationError, match=r"too short .RSA needs 2048"):
        server_context(encoded, cert)


def test_an_error_never_shows_key_data(setup: Setup) -> None:
    data = setup.client.key.read_text()
    with pytest.raises(TLSConfigurationError) as caught:
        server_context(data, setup.server.cert)
    assert "BEGIN" not in str(caught.value)
    assert "given as data does not belong" in str(caught.value)
