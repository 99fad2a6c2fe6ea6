"""Spans for OpenTelemetry, where it is installed and asked for; nothing of it is imported otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

from chronos_common.errors import ConfigurationError
from chronos_common.runtime.tracing import Sink, Span, TraceContext, export_to

TIMEOUT_SECONDS: Final = 3
"""How long a collector may take; spans that it does not take are lost, and nobody waits for it longer."""


@dataclass(frozen=True, kw_only=True)
class TracingConfig:
    """Where spans go.

    Attributes:
        endpoint: OTLP collector that takes spans over gRPC, such as http://collector:4317 (https for TLS); empty
            exports nothing. Needs chronos-nested[otel].
    """

    endpoint: str = ""

    def __post_init__(self) -> None:
        if self.endpoint and not self.endpoint.startswith(("http://", "https://")):
            raise ConfigurationError(
                f"endpoint is {self.endpoint!r}; it must begin with http:// or https://, as in http://localhost:4317",
                field="endpoint",
            )


@contextmanager
def exporting_spans(config: TracingConfig, *, service: str) -> Iterator[None]:
    """Exports the spans of this process for as long as the block lasts, if that is asked for.

    Args:
        config: where to.
        service: name of this process's service.

    Raises:
        ConfigurationError: OpenTelemetry is not installed.
    """
    if not config.endpoint:
        yield
        return
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        raise ConfigurationError("exporting spans needs OpenTelemetry: pip install 'chronos-nested[otel]'")
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    processor = BatchSpanProcessor(OTLPSpanExporter(endpoint=config.endpoint, timeout=TIMEOUT_SECONDS))
    export_to(otel_sink(processor, service))
    try:
        yield
    finally:
        export_to(None)
        processor.shutdown()


def otel_sink(processor: Any, service: str) -> Sink:
    """Hands spans to one of OpenTelemetry's span processors, under their own ids.

    Args:
        processor: a ``SpanProcessor``.
        service: the resource's ``service.name``.
    """
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanKind, Status, StatusCode

    resource = Resource.create({"service.name": service})

    def sink(span: Span) -> None:
        status = Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.UNSET)
        processor.on_end(
            ReadableSpan(
                name=span.name,
                context=_otel_context(span.context, remote=False),
                parent=None
                if span.parent is None
                else _otel_context(span.parent, remote=span.kind == "server"),
                resource=resource,
                attributes=span.attributes,
                kind=SpanKind[span.kind.upper()],
                status=status,
                start_time=span.began_ns,
                end_time=span.ended_ns,
            )
        )

    return sink


def _otel_context(context: TraceContext, *, remote: bool) -> Any:
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(
        trace_id=int(context.trace_id, 16),
        span_id=int(context.span_id, 16),
        is_remote=remote,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if context.sampled else TraceFlags.DEFAULT),
    )
