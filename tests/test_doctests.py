"""The examples in docstrings do what they show, as somebody would type them into `python -m asyncio`.

They find an archive with one series at HOST and PORT, its files in FOLDER, an empty folder OUT, and a
certificate of an authority: CERT, KEY, CA.
"""

from __future__ import annotations

import ast
import doctest
import inspect
import io
import types
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import aiodicom
import pytest
import trustme
from aiodicom.imaging.phantom import write_series

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
TYPED = {
    name: getattr(aiodicom, name)
    for name in aiodicom.__all__
    if inspect.isclass(getattr(aiodicom, name)) or inspect.isfunction(getattr(aiodicom, name))
}
WITHOUT = {
    "Association", "Caller", "Cause", "Context", "Deviation", "Diagnosis", "EncodedMatches", "Head",
    "encode_file_meta",
    "Incoming", "Instance", "Match", "MetricsEndpoint", "Node", "Pacs", "Peer", "Pool", "Provider",
    "ReceivedItem", "Request", "RetrieveResult", "Rung", "Server", "ServerStats", "StoreReport",
    "StoreSink", "StoredItem", "TLSInfo",
}  # fmt: skip


def examples(name: str) -> list[doctest.Example]:
    found = doctest.DocTestParser().get_doctest(inspect.getdoc(TYPED[name]) or "", {}, name, None, None)
    return found.examples


async def shown(source: str, names: dict[str, Any]) -> str:
    """What typing it prints."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    made = compile(source, "<example>", "single", flags=flags, dont_inherit=True)
    out = io.StringIO()
    with redirect_stdout(out):
        waiting = types.FunctionType(made, names)()
        if inspect.isawaitable(waiting):
            await waiting
    return out.getvalue()


async def run(name: str, names: dict[str, Any]) -> int:
    checker = doctest.OutputChecker()
    for example in examples(name):
        got = await shown(example.source, names)
        if not checker.check_output(example.want, got, FLAGS):
            pytest.fail(f"{name}: {example.source}" + checker.output_difference(example, got, FLAGS))
    return len(examples(name))


@pytest.mark.parametrize("name", [name for name in TYPED if examples(name)])
async def test_an_example_does_what_it_shows(name: str, tmp_path: Path) -> None:
    names: dict[str, Any] = {"aiodicom": aiodicom, "OUT": tmp_path / "out", "FOLDER": tmp_path / "series"}
    write_series(tmp_path / "series", slices=4, rows=16, columns=16)
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    blobs = certificate.cert_chain_pems[0], certificate.private_key_pem, authority.cert_pem
    for word, blob in zip(("CERT", "KEY", "CA"), blobs, strict=True):
        names[word] = tmp_path / word
        blob.write_to_path(names[word])
    async with aiodicom.serve_archive(tmp_path / "archive", port=0) as server:
        names |= {"HOST": "127.0.0.1", "PORT": server.port}
        async with aiodicom.connect("127.0.0.1", server.port) as pacs:
            assert (await pacs.store(tmp_path / "series")).ok
        assert await run(name, names)


async def test_what_an_example_does_not_do_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        TYPED, "made", types.SimpleNamespace(__doc__=">>> import asyncio\n>>> await asyncio.sleep(0, 3)\n4\n")
    )
    with pytest.raises(pytest.fail.Exception, match=r"asyncio\.sleep"):
        await run("made", {})


def test_what_a_user_calls_or_makes_has_an_example() -> None:
    """Not errors, events and messages, nor what is only ever given: the example of its giver shows it."""
    given = {
        name for name, found in TYPED.items() if inspect.isclass(found) and issubclass(found, BaseException)
    }
    given |= {name for name in TYPED if name.endswith(("Event", "RQ", "AC"))} - {"UserIdentityRQ"}
    assert sorted(name for name in TYPED.keys() - given - WITHOUT if not examples(name)) == []
    assert not {name for name in WITHOUT if examples(name)}
