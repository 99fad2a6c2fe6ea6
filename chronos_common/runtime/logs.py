"""Structured logs: one line per event, with the run, worker and version that it is about.

Loggers are structlog's on top of the standard library's, so that a script that uses Chronos as a library
decides about its own logging, and a service that calls :func:`configure_logging` gets everybody's lines in
one format. Lines go to stderr; stdout belongs to results.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from typing import Any, Final, Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "console"]

_COMMON: Final[tuple[Processor, ...]] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def _hand_over(logger: Any, method: str, event: EventDict) -> Any:
    """To this module's formatter where it is configured; else as text, for whatever a script has set up."""
    handlers = logging.getLogger().handlers
    if any(isinstance(handler.formatter, structlog.stdlib.ProcessorFormatter) for handler in handlers):
        return structlog.stdlib.ProcessorFormatter.wrap_for_formatter(logger, method, event)
    facts = {
        name: value for name, value in event.items() if name not in ("event", "logger", "level", "timestamp")
    }
    return " ".join([str(event["event"]), *(f"{name}={value!r}" for name, value in facts.items())])


_PIPELINE: Final[tuple[Processor, ...]] = (
    structlog.stdlib.filter_by_level,
    *_COMMON,
    structlog.processors.StackInfoRenderer(),
    _hand_over,
)


@dataclass(frozen=True, kw_only=True)
class LoggingConfig:
    """How a program logs.

    Attributes:
        level: least severe lines that are written.
        format: ``json`` (one object per line), ``console`` (for people), or ``auto``: console on a terminal.
    """

    level: Level = "info"
    format: Format = "auto"


def get_logger(name: str, **bound: Any) -> structlog.stdlib.BoundLogger:
    """A logger by module name, with values that every line of it carries."""
    logger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=list(_PIPELINE),
        wrapper_class=structlog.stdlib.BoundLogger,
        **bound,
    )
    return cast(structlog.stdlib.BoundLogger, logger)


def configure_logging(config: LoggingConfig, *, stream: TextIO | None = None, **bound: Any) -> None:
    """Sends every line of this process, the standard library's too, to ``stream``; may be called again.

    Args:
        config: level and format.
        stream: where to; by default stderr.
        bound: values that every line carries, such as ``service="worker"``.
    """
    stream = sys.stderr if stream is None else stream
    console = config.format == "console" or (config.format == "auto" and stream.isatty())
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty())
        if console
        else structlog.processors.JSONRenderer(sort_keys=False)
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=list(_COMMON),
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *(() if console else (structlog.processors.format_exc_info,)),
            renderer,
        ],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    structlog.configure(
        processors=list(_PIPELINE),
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(config.level.upper())
    # At info it tells of every plug-in that it loads.
    logging.getLogger("alembic").setLevel(max(root.level, logging.WARNING))
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**bound)
