"""The documentation: the reference has every name, the tutorials do what they say."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import aiodicom
import click
import pytest
from aiodicom.cli.app import cli, run
from aiodicom.imaging.phantom import write_series

DOCS = Path(__file__).resolve().parent.parent / "docs"
TUTORIALS = DOCS / "tutorials"


def test_the_reference_has_every_public_name_once() -> None:
    text = (DOCS / "reference.md").read_text("utf-8")
    told = re.findall(r"^\.\. auto\w+:: aiodicom\.(\w+)$", text, re.MULTILINE)
    assert sorted(told) == sorted(set(aiodicom.__all__) - {"__version__"})


def blocks(page: Path, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


async def played(page: Path, names: dict[str, Any]) -> None:
    """Every block of Python of a page, one after the other, as `python -m asyncio` would."""
    for source in blocks(page, "python"):
        code = compile(source, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        waiting = eval(code, names)
        if waiting is not None:
            await waiting


@pytest.mark.parametrize("name", ["application", "tester"])
async def test_a_tutorial_does_what_it_says(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(tmp_path / "series", slices=4, rows=16, columns=16)
    async with aiodicom.serve_archive(tmp_path / "archive", port=0) as server:
        where = {"HOST": "127.0.0.1", "PORT": server.port, "aiodicom": aiodicom}
        more = {"FOLDER": str(tmp_path / "series"), "OUT": str(tmp_path / "out")}
        await played(TUTORIALS / f"{name}.md", {**where, **more})
    if name == "application":
        assert "0000H success" in capsys.readouterr().out


async def test_the_shell_tutorial_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import asyncio

    write_series(tmp_path / "series", slices=4, rows=16, columns=16)
    monkeypatch.chdir(tmp_path)
    async with aiodicom.serve_archive(tmp_path / "archive", port=0) as server:
        async with aiodicom.connect("127.0.0.1", server.port) as pacs:
            assert (await pacs.store(tmp_path / "series")).ok
        lines = [line for block in blocks(TUTORIALS / "shell.md", "console") for line in block.splitlines()]
        assert len(lines) > 8
        for line in lines:
            line = line.replace("HOST PORT", f"127.0.0.1 {server.port}")
            command, _, into = line.partition(" > ")
            capsys.readouterr()
            code = await asyncio.to_thread(run, shlex.split(command)[1:])
            out, err = capsys.readouterr()
            assert code == 0, f"{line}: {err}"
            if into:
                Path(into).write_text(out)
    assert len(list((tmp_path / "images").rglob("*.dcm"))) == 4


def commands() -> list[tuple[str, str]]:
    """Every command line of ours in the pages for users, with the page."""
    pages = [*TUTORIALS.glob("*.md"), *(DOCS / "howto").glob("*.md"), DOCS / "index.md"]
    return [
        (page.name, line.strip())
        for page in sorted(pages)
        for line in page.read_text("utf-8").splitlines()
        if re.match(r"(    )?aiodicom [a-z]+ ", line)
    ]


@pytest.mark.parametrize(("page", "line"), commands())
def test_every_option_that_a_page_names_is_there(page: str, line: str) -> None:
    words = shlex.split(line.partition(" > ")[0])[1:]
    command = cli.get_command(click.Context(cli), words[0])
    while isinstance(command, click.Group):
        words = words[1:]
        command = command.get_command(click.Context(command), words[0])
    assert command is not None, line
    known = {flag for one in command.params for flag in (*one.opts, *one.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= known


def test_a_page_names_only_options_and_metrics_that_are_there() -> None:
    from aiodicom.server.metrics import prometheus_text
    from aiodicom.server.stats import Tally

    page = (DOCS / "howto" / "operate.md").read_text("utf-8")
    text = prometheus_text(Tally().moment(1.0, aiodicom_connections(), 0))
    for name in re.findall(r"`(aiodicom_[a-z_]+)", page):
        assert f"# TYPE {name} " in text


def aiodicom_connections() -> Any:
    from aiodicom.server.connections import Connections

    return Connections()
