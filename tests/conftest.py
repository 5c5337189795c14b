"""What every test may use: the hypothesis profiles, certificates for TLS, the real scanner files.

Helper modules lie in this folder, which is on the path: `from strategies import pdus`,
`from aiodicom.testing import ScriptedPeer`, `from vectors import load`.
"""

from __future__ import annotations

import json
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import HealthCheck, settings

# A loaded machine is no failure: no deadlines. "thorough" is for the night: HYPOTHESIS_PROFILE=thorough.
_QUIET = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture)
settings.register_profile("default", deadline=None, max_examples=100, suppress_health_check=_QUIET)
settings.register_profile("thorough", deadline=None, max_examples=5000, suppress_health_check=_QUIET)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@dataclass(frozen=True)
class TLSPair:
    """Contexts of a server on localhost and of a client that trusts it."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    authority: trustme.CA


@pytest.fixture(scope="session")
def tls_pair() -> TLSPair:
    """A throw-away authority, a server certificate for localhost and 127.0.0.1, and both contexts."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return TLSPair(server, client, authority)


# The real scanner files: `AIODICOM_TEST_DATA`, or `shared/data` beside the checkout. Absent, tests skip.
DATA = Path(os.environ.get("AIODICOM_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder with one folder a case."""
    if not (DATA / "expected.json").is_file():
        pytest.skip("the real data are not here (AIODICOM_TEST_DATA)")
    return DATA


@pytest.fixture(scope="session")
def expected(data: Path) -> dict[str, Any]:
    """What independent tools make of the volume cases."""
    loaded: dict[str, Any] = json.loads((data / "expected.json").read_text())
    return loaded
