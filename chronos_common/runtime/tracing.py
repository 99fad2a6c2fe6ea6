"""Which lines of which logs belong together: W3C trace contexts, and the spans that they name.

A *trace* is everything that one piece of work causes in all processes, a *span* one part of it. The context
(trace, span) lives in a context variable, is bound into every log line as ``trace_id`` and ``span_id``, and
travels as ``traceparent`` (https://www.w3.org/TR/trace-context/). Spans are only named here; who wants them
gives :func:`export_to` a sink, as ``chronos_common.runtime.telemetry`` does with OpenTelemetry's.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final, Literal

import structlog

TRACEPARENT: Final = "traceparent"

Kind = Literal["internal", "client", "server"]
Attribute = str | int | float

_FORMAT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class TraceContext:
    """A place in a trace.

    Attributes:
        trace_id: 32 hexadecimal digits, not all zero.
        span_id: 16 hexadecimal digits, not all zero.
        sampled: whether it is worth exporting; whoever began the trace decides.
    """

    trace_id: str
    span_id: str
    sampled: bool = True

    @property
    def traceparent(self) -> str:
        """The header that carries it."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"


@dataclass(kw_only=True, slots=True)
class Span:
    """A part of a trace, from its beginning until :meth:`end`.

    Attributes:
        name: what is done.
        kind: on which side of a call.
        context: its place.
        parent: the span that caused it, perhaps in another process.
        attributes: facts about it; more may be added until the end.
        began_ns: unix time.
        ended_ns: unix time; 0 while it goes on.
        error: why it failed; empty when it did not.
    """

    name: str
    kind: Kind
    context: TraceContext
    parent: TraceContext | None
    attributes: dict[str, Attribute] = field(default_factory=dict)
    began_ns: int = 0
    ended_ns: int = 0
    error: str = ""

    def end(self, error: str = "") -> None:
        """Says that it is over, once; the sink gets it."""
        if self.ended_ns:
            return
        self.ended_ns, self.error = time.time_ns(), error
        if _sink is not None and self.context.sampled:
            _sink(self)


Sink = Callable[[Span], None]

_current: ContextVar[TraceContext | None] = ContextVar("chronos_trace", default=None)
_sink: Sink | None = None


def export_to(sink: Sink | None) -> None:
    """Gives every span of this process that ends from now on to ``sink``; ``None`` to nobody."""
    global _sink  # noqa: PLW0603 - like a logging handler, it belongs to the process
    _sink = sink


def current_trace() -> TraceContext | None:
    """The span that the running code belongs to."""
    return _current.get()


def parse_traceparent(text: str) -> TraceContext | None:
    """The context in a header; ``None`` for one that is not well-formed, which is to be ignored."""
    match = _FORMAT.fullmatch(text)
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest) or not (int(trace_id, 16) and int(span_id, 16)):
        return None
    return TraceContext(trace_id=trace_id, span_id=span_id, sampled=bool(int(flags, 16) & 1))


def begin_span(name: str, *, kind: Kind = "internal", parent: TraceContext | None = None) -> Span:
    """Begins a span below ``parent``, or as the first one of a new trace, in the context of the running task.

    For tasks of their own, which nobody's context outlives; elsewhere use :func:`span`.
    """
    began = _new_span(name, kind, parent)
    _current.set(began.context)
    structlog.contextvars.bind_contextvars(**_bound(began.context))
    return began


def child_span(name: str, *, kind: Kind = "internal") -> Span:
    """A span below the current one that becomes nobody's current one: a call to somewhere else."""
    return _new_span(name, kind, _current.get())


@contextmanager
def span(name: str, *, kind: Kind = "internal") -> Iterator[Span]:
    """A span below the current one, or the first one of a new trace, for as long as the block lasts."""
    inner = child_span(name, kind=kind)
    token = _current.set(inner.context)
    tokens = structlog.contextvars.bind_contextvars(**_bound(inner.context))
    error = ""
    try:
        yield inner
    except BaseException as caught:
        error = type(caught).__name__
        raise
    finally:
        structlog.contextvars.reset_contextvars(**tokens)
        _current.reset(token)
        inner.end(error)


def _new_span(name: str, kind: Kind, parent: TraceContext | None) -> Span:
    context = TraceContext(
        trace_id=secrets.token_hex(16) if parent is None else parent.trace_id,
        span_id=secrets.token_hex(8),
        sampled=parent is None or parent.sampled,
    )
    return Span(name=name, kind=kind, context=context, parent=parent, began_ns=time.time_ns())


def _bound(context: TraceContext) -> dict[str, str]:
    return {"trace_id": context.trace_id, "span_id": context.span_id}
