"""Traces over real connections, and their spans in OpenTelemetry's own memory."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from chronos_common.errors import ConfigurationError, RunNotFoundError
from chronos_common.runtime import TracingConfig, telemetry
from chronos_common.runtime.tracing import export_to, span
from chronos_common.wire import CoordinatorClient, Server, SyncCoordinatorClient
from tests.support.fake_facade import BUDGET, FakeFacade, raw_channel

GET_RUN = "chronos.v1.CoordinatorService/GetRun"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def exported() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    export_to(telemetry.otel_sink(SimpleSpanProcessor(exporter), "test"))
    yield exporter
    export_to(None)


def by_kind(exporter: InMemorySpanExporter) -> dict[SpanKind, ReadableSpan]:
    return {finished.kind: finished for finished in exporter.get_finished_spans()}


async def test_a_call_is_a_span_on_each_side_of_one_trace(
    server: Server, exported: InMemorySpanExporter
) -> None:
    async with CoordinatorClient(server.address, deadlines=BUDGET) as client:
        with span("turn") as turn:
            await client.get_run("run-1")
    spans = by_kind(exported)
    assert {found.name for found in spans.values()} == {"turn", GET_RUN}
    assert {found.context.trace_id for found in spans.values() if found.context} == {
        int(turn.context.trace_id, 16)
    }
    for child, parent in ((SpanKind.SERVER, SpanKind.CLIENT), (SpanKind.CLIENT, SpanKind.INTERNAL)):
        of_child, of_parent = spans[child].parent, spans[parent].context
        assert of_child is not None
        assert of_parent is not None
        assert of_child.span_id == of_parent.span_id
    assert spans[SpanKind.SERVER].resource.attributes["service.name"] == "test"
    assert all(found.status.status_code is StatusCode.UNSET for found in spans.values())


async def test_a_refused_call_is_a_span_with_its_status(
    server: Server, facade: FakeFacade, exported: InMemorySpanExporter
) -> None:
    facade.errors["run_view"] = RunNotFoundError("no such run")
    async with CoordinatorClient(server.address, deadlines=BUDGET) as client:
        with pytest.raises(RunNotFoundError):
            await client.get_run("run-1")
    for found in by_kind(exported).values():
        assert (found.status.status_code, found.status.description) == (StatusCode.ERROR, "NOT_FOUND")


async def test_the_trace_of_any_caller_is_taken_up(server: Server, exported: InMemorySpanExporter) -> None:
    async with raw_channel(server.address) as channel:
        call = channel.unary_unary("/chronos.v1.CoordinatorService/ListRuns")
        await call(b"", metadata=[("traceparent", f"00-{TRACE}-{SPAN}-01")], timeout=5.0)
        await call(b"", metadata=[("traceparent", "nonsense")], timeout=5.0)
    first, second = exported.get_finished_spans()
    assert first.context is not None
    assert first.parent is not None
    assert (first.context.trace_id, first.parent.span_id) == (int(TRACE, 16), int(SPAN, 16))
    assert first.parent.is_remote
    assert second.parent is None


async def test_a_stream_is_one_span(server: Server, exported: InMemorySpanExporter) -> None:
    async with CoordinatorClient(server.address, deadlines=BUDGET) as client:
        await client.checkout("run-1")
    assert {found.kind for found in exported.get_finished_spans()} == {SpanKind.CLIENT, SpanKind.SERVER}


async def test_the_blocking_client_goes_on_with_its_callers_trace(
    server: Server, exported: InMemorySpanExporter
) -> None:

    def call() -> str:
        with SyncCoordinatorClient(server.address, deadlines=BUDGET) as client, span("script") as script:
            client.get_run("run-1")
        return script.context.trace_id

    trace_id = await asyncio.to_thread(call)
    context = by_kind(exported)[SpanKind.SERVER].context
    assert context is not None
    assert context.trace_id == int(trace_id, 16)


def test_without_an_endpoint_nothing_of_opentelemetry_is_imported() -> None:
    code = (
        "import sys, chronos_coordinator.app, chronos_common.wire\n"
        "from chronos_common.runtime import TracingConfig, exporting_spans\n"
        "with exporting_spans(TracingConfig(), service='s'): pass\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_endpoint_without_opentelemetry_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "find_spec", lambda _: None)
    config = TracingConfig(endpoint="http://localhost:4317")
    with (
        pytest.raises(ConfigurationError, match=r"pip install 'chronos-nested\[otel\]'"),
        telemetry.exporting_spans(config, service="s"),
    ):
        pass
    with pytest.raises(ConfigurationError, match="must begin with http"):
        TracingConfig(endpoint="localhost:4317")


def test_an_endpoint_exports_until_the_end_of_the_block() -> None:
    """Nobody listens there: spans are lost, and the program is not held up."""
    with telemetry.exporting_spans(TracingConfig(endpoint="http://127.0.0.1:1"), service="s"), span("work"):
        pass
    with span("after"):
        pass
