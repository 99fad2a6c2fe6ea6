"""Logs: one line per event with its context, in one format for everybody."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from chronos_common.runtime import LoggingConfig, configure_logging, get_logger


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_every_line_is_an_object_with_what_was_bound() -> None:
    stream = io.StringIO()
    configure_logging(LoggingConfig(), stream=stream, service="worker")
    get_logger("here").bind(run="r").info("committed", version=3)
    (line,) = lines(stream)
    assert line.pop("timestamp")
    assert line == {
        "event": "committed", "logger": "here", "level": "info", "service": "worker", "run": "r", "version": 3,
    }  # fmt: skip


def test_the_standard_library_s_loggers_and_global_structlog_write_the_same_format() -> None:
    stream = io.StringIO()
    configure_logging(LoggingConfig(), stream=stream)
    logging.getLogger("somebody.else").warning("%s is slow", "it")
    structlog.get_logger("wire").warning("call.failed", method="m")
    first, second = lines(stream)
    assert (first["event"], first["logger"], first["level"]) == ("it is slow", "somebody.else", "warning")
    assert (second["event"], second["method"]) == ("call.failed", "m")


def test_a_script_that_configures_nothing_gets_readable_text(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        get_logger("here").info("committed", run="r", version=3)
    assert [record.getMessage() for record in caplog.records] == ["committed run='r' version=3"]


def test_less_severe_lines_are_left_out() -> None:
    stream = io.StringIO()
    configure_logging(LoggingConfig(level="warning"), stream=stream)
    get_logger("here").info("quiet")
    assert stream.getvalue() == ""


def test_an_exception_is_part_of_its_line() -> None:
    stream = io.StringIO()
    configure_logging(LoggingConfig(format="json"), stream=stream)
    try:
        raise ValueError("broken")
    except ValueError:
        get_logger("here").exception("failed")
    (line,) = lines(stream)
    assert "ValueError: broken" in str(line["exception"])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_lines_for_people() -> None:
    stream = Terminal()
    configure_logging(LoggingConfig(), stream=stream)
    get_logger("here").info("committed", version=3)
    assert "committed" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_configuring_again_replaces_the_handler() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure_logging(LoggingConfig(), stream=first, service="a")
    configure_logging(LoggingConfig(), stream=second)
    get_logger("here").info("once")
    assert first.getvalue() == ""
    assert "service" not in lines(second)[0]
