"""OpenTelemetry: what happens on associations as spans and metrics, ``pip install 'aiodicom[otel]'``.

    connect(..., observer=Telemetry())        serve(..., observer=Telemetry())

Where OpenTelemetry is not installed a `Telemetry` does nothing, so that a program need not ask.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from .association.observing import EndedEvent, Event, Observed, OpenedEvent, RequestEvent
from .dimse.status import Category, categorize

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""Seconds of a request, where the buckets of `dicom.request.duration` end."""


class Telemetry:
    """An observer that makes spans and metrics; one serves any number of associations.

    An association is a span from its acceptance to its end, a child of the span it was opened in; each
    request is a child of it (``C-FIND``), an error where its status is a failure. Metrics:
    `dicom.request.duration` (s) by service, status and whether we asked, `dicom.request.data` and
    `dicom.association.io` (By), `dicom.associations` that are open. Nothing tells what data sets say, and
    no metric whom it was with: peers choose their names.
    """

    def __init__(
        self, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        """Without providers the global ones are taken."""
        self._live: dict[int, Span] = {}
        self.active: bool = find_spec("opentelemetry") is not None
        if not self.active:
            return
        from opentelemetry import metrics, trace

        self._trace = trace
        self._tracer = trace.get_tracer("aiodicom", tracer_provider=tracer_provider)
        meter = metrics.get_meter("aiodicom", meter_provider=meter_provider)
        self._duration = meter.create_histogram(
            "dicom.request.duration",
            "s",
            "How long requests took.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )
        self._data = meter.create_counter("dicom.request.data", "By", "Data sets of requests, either way.")
        self._io = meter.create_counter("dicom.association.io", "By", "Bytes of the wire, without TLS.")
        self._open = meter.create_up_down_counter("dicom.associations", "{association}", "Open associations.")

    def __call__(self, event: Event) -> None:
        """Note an event; called in the event loop."""
        if not self.active:
            return
        match event:
            case OpenedEvent():
                self._live[event.number] = self._span(event, "DICOM association", event.at)
                self._open.add(1, _role(event))
            case RequestEvent():
                self._request(event)
            case EndedEvent():
                self._ended(event)

    def _span(self, event: Observed, name: str, begun: float, parent: Span | None = None) -> Span:
        kinds = self._trace.SpanKind
        ours = event.sent if isinstance(event, RequestEvent) else event.requestor
        return self._tracer.start_span(
            name,
            context=None if parent is None else self._trace.set_span_in_context(parent),
            kind=kinds.CLIENT if ours else kinds.SERVER,
            attributes={"dicom.peer": event.peer, "dicom.association": event.number},
            start_time=_nanoseconds(begun),
        )

    def _request(self, event: RequestEvent) -> None:
        service = event.name.removesuffix("-RQ")
        span = self._span(event, service, event.at - event.seconds, self._live.get(event.number))
        status = f"{event.status:04X}H"
        span.set_attribute("dicom.status", status)
        span.set_attribute("dicom.data_bytes", event.data_bytes)
        if event.abstract_syntax is not None:
            span.set_attribute("dicom.abstract_syntax", event.abstract_syntax)
        if categorize(event.status) is Category.FAILURE:
            span.set_status(self._trace.StatusCode.ERROR, status)
        span.end(_nanoseconds(event.at))
        labels: dict[str, str | bool] = {
            "dicom.service": service,
            "dicom.status": status,
            "dicom.sent": event.sent,
        }
        self._duration.record(event.seconds, labels)
        self._data.add(event.data_bytes, labels)

    def _ended(self, event: EndedEvent) -> None:
        span = self._live.pop(event.number, None)
        if span is None:
            span = self._span(event, "DICOM association", event.at - event.seconds)
        else:
            self._open.add(-1, _role(event))
        span.set_attribute("dicom.outcome", event.outcome)
        if event.reason is not None:
            span.set_status(self._trace.StatusCode.ERROR, event.reason)
        span.end(_nanoseconds(event.at))
        self._io.add(event.bytes_received, {**_role(event), "network.io.direction": "receive"})
        self._io.add(event.bytes_sent, {**_role(event), "network.io.direction": "transmit"})


def _role(event: Observed) -> dict[str, bool]:
    return {"dicom.requestor": event.requestor}


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
