"""Violations in OpenTelemetry, with its real SDK, and without it."""

from __future__ import annotations

import datetime as dt
import gc
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pinned_requests import Pin, PinPolicy, PinSet, PolicyStore, ViolationReport
from pinned_requests.core.chain import Chain
from pinned_requests.core.verdict import evaluate
from pinned_requests.enforcement import telemetry
from pinned_requests.enforcement.guard import Guard, Refusal
from pinned_requests.sources.loaders import Loader

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = dt.datetime(2027, 3, 1, tzinfo=dt.UTC)
PINS = PinSet([Pin("spki", bytes(32)), Pin("spki", b"\x01" * 32)])
POLICY = PinPolicy({"**.example.com": PINS})


@pytest.fixture(scope="module")
def reader() -> Iterator[InMemoryMetricReader]:
    """Collects metrics. The provider is that of the process: it can be set once."""
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader], shutdown_on_exit=False))
    yield reader
    reader.shutdown()


def points(reader: InMemoryMetricReader, name: str = telemetry.COUNTER) -> list[tuple[float, dict[str, object]]]:
    """Every value of our counter, or of another instrument, and its attributes."""
    data = reader.get_metrics_data()
    return [
        (point.value, dict(point.attributes))
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    ]


def test_a_counter_and_an_event_on_the_current_span(reader: InMemoryMetricReader) -> None:
    """The host stands on the event, and on the counter only what the policy says: hosts are anybody's choice."""
    exporter = InMemorySpanExporter()
    tracer_provider = TracerProvider(shutdown_on_exit=False)
    tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = tracer_provider.get_tracer("test")
    guard = Guard(POLICY)
    with tracer.start_as_current_span("request"):
        for host in ("a.example.com", "b.example.com"):
            with pytest.raises(Refusal):
                guard.admit("http", host, 80)
        with pytest.raises(Refusal):
            guard.admit("https", "elsewhere.example.net", None)
    (span,) = exporter.get_finished_spans()
    common = {"pinned_requests.allowed": False, "pinned_requests.report_only": False}
    insecure = {**common, "pinned_requests.outcome": "insecure-url", "pinned_requests.noted_host": "**.example.com"}
    unpinned = {**common, "pinned_requests.outcome": "unpinned-host"}
    assert [(event.name, dict(event.attributes or {})) for event in span.events] == [
        (telemetry.NAME, {**insecure, "server.address": "a.example.com", "server.port": 80}),
        (telemetry.NAME, {**insecure, "server.address": "b.example.com", "server.port": 80}),
        (telemetry.NAME, {**unpinned, "server.address": "elsewhere.example.net"}),
    ]
    assert sorted(points(reader), key=str) == sorted([(2, insecure), (1, unpinned)], key=str)


def test_a_failure_of_it_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal stays the refusal."""
    monkeypatch.setattr(trace, "get_current_span", lambda: (_ for _ in ()).throw(OSError("mine")))
    telemetry._instruments.cache_clear()
    reports: list[ViolationReport] = []
    try:
        with pytest.raises(Refusal):
            Guard(POLICY, on_violation=reports.append).admit("http", "a.example.com", 80)
    finally:
        telemetry._instruments.cache_clear()
    assert len(reports) == 1


def test_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `opentelemetry-api` is not installed, nothing happens."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    telemetry._instruments.cache_clear()
    try:
        verdict = evaluate(POLICY, "a.example.com", Chain.missing("none"), NOW)
        assert telemetry._instruments() is None
        telemetry.record(ViolationReport(verdict, NOW))
    finally:
        telemetry._instruments.cache_clear()


def test_the_import_does_without_it() -> None:
    """It is looked for at the first violation, and not by `import pinned_requests`."""
    code = "import sys, pinned_requests; print(any(name.startswith('opentelemetry') for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == "False\n"


def _answer() -> PinPolicy:
    return POLICY


class _Signed(Loader):
    """Returns a policy with a number."""

    def load(self) -> PinPolicy:
        """Return it."""
        self.version = "42"
        return super().load()


def test_gauges_show_the_age_and_the_version_of_each_policy(
    reader: InMemoryMetricReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of stores with a source, for as long as they exist."""
    stores = [PolicyStore(_answer), PolicyStore(_Signed(_answer))]
    now = sum(store._loaded[1] for store in stores) / 2 + 100
    monkeypatch.setattr(PolicyStore, "_clocks", staticmethod(lambda: (0.0, now)))
    shown = {
        name: {
            seen["pinned_requests.version"]: value
            for value, seen in points(reader, name)
            if seen["pinned_requests.source"] == f"{__name__}._answer"  # other tests leave stores behind
        }
        for name in (telemetry.AGE, telemetry.VERSION)
    }
    version = stores[0].version
    assert shown[telemetry.AGE] == {version: pytest.approx(100, abs=5), "42": pytest.approx(100, abs=5)}
    assert shown[telemetry.VERSION] == {version: int(version, 16), "42": 42}
    del stores
    gc.collect()
    assert "42" not in {seen["pinned_requests.version"] for _, seen in points(reader, telemetry.AGE)}


def test_a_store_imports_no_opentelemetry() -> None:
    """The gauges are made when the program has imported it itself: at the next look."""
    program = (
        "import sys\n"
        "from pinned_requests import PinSet, PolicyStore\n"
        "from pinned_requests.enforcement import telemetry\n"
        "store = PolicyStore(lambda: {'a.example': PinSet.exempt()})\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
        "import opentelemetry.metrics\n"
        "assert telemetry._gauges.cache_info().currsize == 0\n"
        "store.refresh()\n"
        "assert telemetry._gauges.cache_info().currsize == 1\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
