"""Servers to judge: `aiodicom serve` as a child process, whole or with a line changed; a
yes-man."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiodicom.conformance import wire
from aiodicom.conformance.dissect import command_set, dissect, split
from aiodicom.conformance.wire import CT_STORAGE
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian

MUTANTS = Path(__file__).parents[1] / "kit_mutants.py"


@contextmanager
def serving(folder: Path, mutant: tuple[str, str, str] | None = None) -> Iterator[int]:
    """The port of a child that serves an archive; `mutant` is a file with an old and a new text."""
    start = [str(MUTANTS), *mutant, "--"] if mutant is not None else ["-m", "aiodicom"]
    child = subprocess.Popen(
        [sys.executable, *start, "serve", str(folder), "--port", "0", "--host", "127.0.0.1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert child.stdout is not None
        said = ""
        for line in child.stdout:
            said += line
            if "listening" in line or "port" in line:
                break
        found = re.search(r"port (\d+)", said)
        assert found is not None, said
        yield int(found[1])
    finally:
        child.kill() if mutant is not None else child.terminate()  # what is broken need not end in order
        child.wait(30)
        if child.stdout is not None:
            child.stdout.close()


class YesMan:
    """A responder that accepts whatever is proposed and answers every command with success."""

    async def __aenter__(self) -> YesMan:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = b""
        while data := await reader.read(65536):
            whole, stream = split(stream + data)
            for raw in whole:
                writer.write(self._answer(raw))
        writer.close()

    def _answer(self, raw: bytes) -> bytes:
        found = dissect(raw)
        if found.kind == wire.RQ:
            contexts = tuple(
                wire.context_ac(c.number, 0, c.syntaxes[0].uid if c.syntaxes else wire.IMPLICIT)
                for c in found.contexts
            )
            return wire.Associate(kind=wire.AC, contexts=contexts).encode()
        if found.kind == wire.DATA:
            fields = command_set(b"".join(value.data for value in found.values))
            return wire.p_data(wire.pdv(found.values[0].context, 3, wire.response(fields)))
        return wire.release_rp() if found.kind == wire.RELEASE_RQ else b""


def an_object() -> Dataset:
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = CT_STORAGE, "2.25.4711"
    made.PatientID, made.StudyInstanceUID, made.SeriesInstanceUID = "SOMEBODY", "2.25.1", "2.25.2"
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return made
