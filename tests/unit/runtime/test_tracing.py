"""Trace contexts: the header, what is bound into log lines, and who gets the spans."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from chronos_common.runtime import tracing
from chronos_common.runtime.tracing import Span, TraceContext, child_span, parse_traceparent, span

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def ended() -> Iterator[list[Span]]:
    spans: list[Span] = []
    tracing.export_to(spans.append)
    yield spans
    tracing.export_to(None)


def test_the_header_of_the_standard() -> None:
    found = parse_traceparent(f"00-{TRACE}-{SPAN}-01")
    assert found == TraceContext(trace_id=TRACE, span_id=SPAN, sampled=True)
    assert found.traceparent == f"00-{TRACE}-{SPAN}-01"
    unsampled = parse_traceparent(f"00-{TRACE}-{SPAN}-00")
    assert unsampled is not None
    assert not unsampled.sampled
    # A later version may have more fields behind.
    assert parse_traceparent(f"cc-{TRACE}-{SPAN}-01-what-else") == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        TRACE,
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_what_is_no_header_is_ignored(text: str) -> None:
    assert parse_traceparent(text) is None


@given(st.text())
def test_no_text_is_an_error(text: str) -> None:
    parse_traceparent(text)


def test_lines_carry_the_span_that_they_belong_to(ended: list[Span]) -> None:
    def bound() -> dict[str, str]:
        return {
            name: value
            for name, value in structlog.contextvars.get_contextvars().items()
            if name in ("trace_id", "span_id")
        }

    with span("outer") as outer:
        assert bound() == {"trace_id": outer.context.trace_id, "span_id": outer.context.span_id}
        with suppress(KeyError), span("inner") as inner:
            assert inner.parent == outer.context
            assert bound() == {"trace_id": outer.context.trace_id, "span_id": inner.context.span_id}
            raise KeyError
        assert bound()["span_id"] == outer.context.span_id
        call = child_span("call", kind="client")
        assert call.parent == outer.context
        assert bound()["span_id"] == outer.context.span_id
        call.end("UNAVAILABLE")
        call.end()
    assert bound() == {}
    assert tracing.current_trace() is None
    assert [(span.name, span.error) for span in ended] == [
        ("inner", "KeyError"),
        ("call", "UNAVAILABLE"),
        ("outer", ""),
    ]
    assert all(span.began_ns <= span.ended_ns for span in ended)


def test_two_pieces_of_work_have_two_traces() -> None:
    with span("one") as one:
        pass
    with span("two") as two:
        pass
    assert one.context.trace_id != two.context.trace_id


async def test_tasks_inherit_and_do_not_leak() -> None:
    async def served() -> str:
        begun = tracing.begin_span("call", kind="server", parent=parse_traceparent(f"00-{TRACE}-{SPAN}-01"))
        return begun.context.trace_id

    with span("turn") as turn:
        assert await asyncio.create_task(served()) == TRACE
        assert tracing.current_trace() == turn.context


def test_whoever_began_the_trace_decides_on_export(ended: list[Span]) -> None:
    parent = TraceContext(trace_id=TRACE, span_id=SPAN, sampled=False)

    async def served() -> None:
        tracing.begin_span("call", kind="server", parent=parent).end()

    asyncio.run(served())
    assert ended == []
