"""Spans and metrics of both ends of real associations; nothing of what data sets say; nothing without it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiodicom
import pytest
from aiodicom.imaging.phantom import write_series
from aiodicom.otel import Telemetry
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

CANARY = "CANARY"


class Seen:
    """A telemetry of its own, and what it gave away."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.telemetry = Telemetry(self.tracers, self.meters)

    def spans(self, name: str) -> list[ReadableSpan]:
        return [one for one in self.exporter.get_finished_spans() if one.name == name]

    def points(self, name: str) -> list[Any]:
        data: Any = self.reader.get_metrics_data()
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
async def both(tmp_path: Path) -> tuple[Seen, Seen]:
    """What a client and its archive saw of an echo, a store of three, and a query that is refused."""
    ours, theirs = Seen(), Seen()
    write_series(tmp_path / "in", slices=3, rows=16, columns=16)
    async with aiodicom.serve_archive(tmp_path / "archive", port=0, observer=theirs.telemetry) as server:
        with ours.tracers.get_tracer("test").start_as_current_span("a user's"):
            async with aiodicom.connect("127.0.0.1", server.port, observer=ours.telemetry) as pacs:
                await pacs.echo()
                assert (await pacs.store(tmp_path / "in")).ok
                assert not await pacs.find("STUDY", {"PatientName": CANARY})
                assert not (await pacs.move("STUDY", "1.2.3", destination=CANARY)).ok
    return ours, theirs


async def test_both_ends_make_spans_of_associations_and_requests(both: tuple[Seen, Seen]) -> None:
    for seen, kind in zip(both, (SpanKind.CLIENT, SpanKind.SERVER), strict=True):
        associations = seen.spans("DICOM association")
        assert associations
        assert all(one.kind is kind for one in associations)
        assert all(one.attributes and one.attributes["dicom.outcome"] == "released" for one in associations)
        inside = {one.context.span_id for one in associations if one.context}
        stores = seen.spans("C-STORE")
        assert len(stores) == 3
        for one in [*stores, *seen.spans("C-ECHO")]:
            assert one.parent is not None
            assert one.parent.span_id in inside
            assert one.status.status_code is StatusCode.UNSET
            assert one.start_time is not None
            assert one.end_time is not None
            assert one.start_time <= one.end_time
        assert all(one.attributes and int(str(one.attributes["dicom.data_bytes"])) > 512 for one in stores)
        [moved] = seen.spans("C-MOVE")
        assert moved.status.status_code is StatusCode.ERROR
        assert moved.status.description == "A801H"


async def test_an_association_is_a_child_of_what_opened_it(both: tuple[Seen, Seen]) -> None:
    ours, _ = both
    [user] = ours.spans("a user's")
    assert user.context is not None
    for one in ours.spans("DICOM association"):
        assert one.parent is not None
        assert one.parent.span_id == user.context.span_id


async def test_both_ends_count(both: tuple[Seen, Seen]) -> None:
    for seen, sent in zip(both, (True, False), strict=True):
        points = seen.points("dicom.request.duration")
        counts = {(one.attributes["dicom.service"], one.attributes["dicom.status"]): one for one in points}
        assert counts["C-STORE", "0000H"].count == 3
        assert counts["C-MOVE", "A801H"].count == 1
        assert {one.attributes["dicom.sent"] for one in points} == {sent}
        assert [one.value for one in seen.points("dicom.associations")] == [0]
        directions = {
            one.attributes["network.io.direction"]: one.value for one in seen.points("dicom.association.io")
        }
        assert directions["receive"] > 0
        assert directions["transmit"] > 0


async def test_nothing_is_told_of_what_data_sets_say(both: tuple[Seen, Seen]) -> None:
    for seen in both:
        said = "".join(one.to_json() for one in seen.exporter.get_finished_spans())
        metrics: Any = seen.reader.get_metrics_data()
        assert "C-FIND" in said
        assert CANARY not in said + metrics.to_json()


async def test_an_association_that_never_opened_is_a_span_too() -> None:
    seen = Seen()
    access = aiodicom.Access(calling_ae=["SOMEBODY"])
    async with aiodicom.serve(aiodicom.Service(), port=0, access=access) as server:
        with pytest.raises(aiodicom.AssociationRejected):
            await aiodicom.connect("127.0.0.1", server.port, observer=seen.telemetry)
    [span] = seen.spans("DICOM association")
    assert span.attributes is not None
    assert span.attributes["dicom.outcome"] == "rejected"
    assert span.status.status_code is StatusCode.ERROR
    assert seen.points("dicom.associations") == []


_WITHOUT = """
import asyncio, json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "opentelemetry" else find(name, *rest)
import aiodicom
from aiodicom.otel import Telemetry

async def main():
    telemetry = Telemetry()
    async with aiodicom.serve(aiodicom.Service(), port=0, observer=telemetry) as server:
        async with aiodicom.connect("127.0.0.1", server.port, observer=telemetry) as pacs:
            await pacs.echo()
    print(json.dumps([telemetry.active, [one for one in sys.modules if "opentelemetry" in one]]))

asyncio.run(main())
"""


def test_without_it_nothing_happens() -> None:
    done = subprocess.run([sys.executable, "-c", _WITHOUT], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert json.loads(done.stdout) == [False, []]
