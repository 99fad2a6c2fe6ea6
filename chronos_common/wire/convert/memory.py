"""What a run remembers: its policy, and the answers of the memory."""

from __future__ import annotations

import math
from typing import Any, Final

from chronos_common.codec import decode, encode
from chronos_common.engine.views import MemoryView
from chronos_common.engine.warm_start import WarmStartCandidate
from chronos_common.outer.memory import Counts, LossTrend, MemoryConfig, Neighbour, Prediction
from chronos_common.pb.chronos.v1 import memory_pb2 as pb
from chronos_common.pb.chronos.v1 import run_pb2

_NUMBERS: Final = (
    "max_entries",
    "max_bytes",
    "decay",
    "neighbours",
    "sketch_dimensions",
    "half_after",
    "forbidden_radius",
    "max_forbidden",
)

_COUNTS: Final = ("stored", "evicted", "hits", "predictions", "failures", "shortened", "entered")


def memory_to_pb(config: MemoryConfig) -> run_pb2.MemoryPolicy:
    """A policy as a message."""
    return run_pb2.MemoryPolicy(
        forbidden=config.forbidden, seed=config.seed, **{name: getattr(config, name) for name in _NUMBERS}
    )


def memory_from_pb(message: run_pb2.MemoryPolicy) -> MemoryConfig:
    """The policy in a message; what is absent takes its default.

    Raises:
        ConfigurationError: a value out of its range.
    """
    given: dict[str, Any] = {name: getattr(message, name) for name in _NUMBERS if message.HasField(name)}
    return MemoryConfig(forbidden=message.forbidden or MemoryConfig.forbidden, seed=message.seed, **given)


def view_to_pb(view: MemoryView) -> pb.DescribeMemoryResponse:
    """How a memory stands."""
    counts, trend = view.counts, view.trend
    return pb.DescribeMemoryResponse(
        entries=view.entries,
        bytes=view.size_bytes,
        max_entries=view.max_entries,
        max_bytes=view.max_bytes,
        mean_cosine=_known(view.mean_cosine),
        **{name: getattr(counts, name) for name in _COUNTS},
        trend=pb.LossTrend(
            entries=trend.entries,
            slope=trend.slope,
            first=_known(trend.first),
            last=_known(trend.last),
            best=_known(trend.best),
            best_version=trend.best_version,
        ),
        forbidden=[
            pb.ForbiddenRegion(version=version, radius=radius, reason=reason)
            for version, radius, reason in view.forbidden
        ],
    )


def view_from_pb(message: pb.DescribeMemoryResponse) -> MemoryView:
    """How a memory stands."""
    trend = message.trend
    return MemoryView(
        entries=message.entries,
        size_bytes=message.bytes,
        max_entries=message.max_entries,
        max_bytes=message.max_bytes,
        mean_cosine=_value(message, "mean_cosine"),
        counts=Counts(**{name: getattr(message, name) for name in _COUNTS}),
        trend=LossTrend(
            entries=trend.entries,
            slope=trend.slope,
            first=_value(trend, "first"),
            last=_value(trend, "last"),
            best=_value(trend, "best"),
            best_version=trend.best_version,
        ),
        forbidden=tuple((region.version, region.radius, region.reason) for region in message.forbidden),
    )


def neighbour_to_pb(found: Neighbour, *, with_arrays: bool) -> pb.SimilarEntry:
    """An entry, with its arrays or without."""
    arrays = {"values": found.values, "gradient": found.gradient} if with_arrays else {}
    return pb.SimilarEntry(
        number=found.number,
        version=found.version,
        loss=found.loss,
        source=found.source,
        distance=found.distance,
        cosine=found.cosine,
        relevance=found.relevance,
        half=found.half,
        **{name: encode("identity", value) for name, value in arrays.items()},
    )


def neighbour_from_pb(message: pb.SimilarEntry) -> Neighbour:
    """An entry; its arrays are empty where they were not sent."""
    return Neighbour(
        number=message.number,
        version=message.version,
        loss=message.loss,
        source=message.source,
        distance=message.distance,
        cosine=message.cosine,
        relevance=message.relevance,
        half=message.half,
        values=decode(message.values) if message.values else {},
        gradient=decode(message.gradient) if message.gradient else {},
    )


def prediction_to_pb(found: Prediction) -> pb.PredictGradientResponse:
    """A predicted hypergradient."""
    return pb.PredictGradientResponse(
        gradient=encode("identity", found.gradient) if found.neighbours else b"",
        neighbours=found.neighbours,
        nearest=_known(found.nearest),
        loss=_known(found.loss),
        mean_cosine=_known(found.cosine),
    )


def prediction_from_pb(message: pb.PredictGradientResponse) -> Prediction:
    """A predicted hypergradient."""
    return Prediction(
        gradient=decode(message.gradient) if message.neighbours else {},
        neighbours=message.neighbours,
        nearest=message.nearest if message.HasField("nearest") else math.inf,
        loss=_value(message, "loss"),
        cosine=_value(message, "mean_cosine"),
    )


def candidate_to_pb(found: WarmStartCandidate) -> pb.WarmStartCandidate:
    """A run that a new one could begin from."""
    return pb.WarmStartCandidate(
        run_id=found.run_id,
        version=found.version,
        outer_loss=found.outer_loss,
        similarity=found.similarity,
        optimizer_state=found.optimizer_state,
        problem=found.problem,
    )


def candidate_from_pb(message: pb.WarmStartCandidate) -> WarmStartCandidate:
    """A run that a new one could begin from."""
    return WarmStartCandidate(
        run_id=message.run_id,
        version=message.version,
        outer_loss=message.outer_loss if message.HasField("outer_loss") else None,
        similarity=message.similarity,
        optimizer_state=message.optimizer_state,
        problem=message.problem,
    )


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _value(message: Any, field: str) -> float:
    return float(getattr(message, field)) if message.HasField(field) else math.nan
