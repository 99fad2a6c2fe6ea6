"""How fast each worker is: seconds of a step as ``alpha + beta * cost``, from what the workers report.

What counts is a worker's *own* compute time, taken before the collective operation: behind it every worker has waited
for the slowest one, and all look equally slow.

Pure and deterministic: plain float arithmetic in the order of the observations, so that replay gives the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chronos_common.errors import ConfigurationError, CorruptStateError, InvalidRequestError
from chronos_common.fleet.pace import Pace
from chronos_common.runtime import require_kinds


class SpeedEstimates(NamedTuple):
    """Speeds of some workers: alpha in seconds and beta in seconds per unit of cost, (W,) each."""

    alpha: NDArray[np.float64]
    beta: NDArray[np.float64]
    version: int


@dataclass(frozen=True, kw_only=True)
class SpeedConfig:
    """How eagerly estimates are published.

    Attributes:
        publish_change: relative change of a typical step's expected seconds that makes a new version.
    """

    publish_change: float = 0.005

    def __post_init__(self) -> None:
        require_kinds(self)
        if not 0.0 <= self.publish_change < 1.0:
            raise ConfigurationError(
                f"publish_change is {self.publish_change}; it must be at least 0 and below 1"
            )


class SpeedTable:
    """Alpha and beta of every worker that reported; the published values change only with the version."""

    def __init__(self, config: SpeedConfig | None = None) -> None:
        self._config = config if config is not None else SpeedConfig()
        self._paces: dict[str, Pace] = {}
        self._published: dict[str, tuple[float, float | None]] = {}
        self._version = 0

    @property
    def version(self) -> int:
        """Grows when published estimates change."""
        return self._version

    @property
    def workers(self) -> tuple[str, ...]:
        """Workers that reported, sorted."""
        return tuple(sorted(self._paces))

    def observe(self, worker: str, cost: float, seconds: float) -> bool:
        """Takes a worker's own compute seconds of one step, and the cost of its share; whether the version grew.

        Raises:
            InvalidRequestError: a value that is negative or not finite, or no seconds for a share that costs something.
        """
        _require_amount(worker, "cost", cost)
        _require_amount(worker, "seconds", seconds)
        if seconds == 0.0 and cost > 0.0:
            raise InvalidRequestError(
                f"worker {worker!r} reports 0 seconds for a share of cost {cost}; measure with a monotonic clock, "
                "and on a GPU wait for the device before reading it",
                field="seconds",
                worker_id=worker,
            )
        if seconds == 0.0:
            return False  # an empty share that took no time says nothing
        pace = self._paces.setdefault(worker, Pace())
        pace.observe(float(cost), float(seconds))
        return self._publish(worker, pace)

    def forget(self, worker: str) -> None:
        """Drops what is known of a worker, for example when its process runs elsewhere now."""
        if self._paces.pop(worker, None) is not None:
            del self._published[worker]
            self._version += 1

    def speeds(self, workers: Sequence[str]) -> SpeedEstimates:
        """Published estimates in the order asked for; a worker that never reported gets the medians of those that did.

        Before any report alpha is 0 and beta 1: plans then balance the costs themselves.
        """
        alpha0, beta0 = self._typical()
        rows = [self._published.get(worker, (alpha0, beta0)) for worker in workers]
        return SpeedEstimates(
            alpha=np.array([alpha for alpha, _ in rows], dtype=np.float64),
            beta=np.array([beta0 if beta is None else beta for _, beta in rows], dtype=np.float64),
            version=self._version,
        )

    def state(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return {
            "version": self._version,
            "paces": {worker: asdict(pace) for worker, pace in sorted(self._paces.items())},
            "published": {worker: list(line) for worker, line in sorted(self._published.items())},
        }

    @classmethod
    def restore(cls, state: Mapping[str, Any], config: SpeedConfig | None = None) -> SpeedTable:
        """The table whose :meth:`state` this was. Raises ``CorruptStateError`` where it was not one."""
        table = cls(config)
        try:
            table._version = int(state["version"])
            for worker, kept in state["paces"].items():
                table._paces[worker] = _pace(kept)
                alpha, beta = state["published"][worker]
                table._published[worker] = (float(alpha), None if beta is None else float(beta))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CorruptStateError(f"this is no state of a speed table: {error!r}") from error
        return table

    def _publish(self, worker: str, pace: Pace) -> bool:
        alpha, beta = pace.line()
        shown = self._published.get(worker)
        if shown is not None and not self._moved(shown, (alpha, beta), pace.cost):
            return False
        self._published[worker] = (alpha, beta)
        self._version += 1
        return True

    def _moved(self, old: tuple[float, float | None], new: tuple[float, float | None], cost: float) -> bool:
        if (old[1] is None) != (new[1] is None):
            return True
        was, now = (alpha + (beta or 0.0) * cost for alpha, beta in (old, new))
        # How a step's seconds divide into alpha and beta matters less than their sum, while costs stay alike.
        tolerance = self._config.publish_change * was
        return abs(now - was) > tolerance or abs(new[0] - old[0]) > 10.0 * tolerance

    def _typical(self) -> tuple[float, float]:
        alpha = _median(alpha for alpha, _ in self._published.values())
        beta = _median(beta for _, beta in self._published.values() if beta is not None)
        return alpha or 0.0, 1.0 if beta is None else beta


def _pace(kept: Mapping[str, Any]) -> Pace:
    values = {field.name: kept[field.name] for field in fields(Pace)}
    recent = tuple(float(ratio) for ratio in values.pop("recent"))
    return Pace(**{name: float(value) for name, value in values.items()}, recent=recent)


def _median(values: Iterable[float]) -> float | None:
    ordered = sorted(values)
    return ordered[len(ordered) // 2] if ordered else None


def _require_amount(worker: str, field: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0.0):
        raise InvalidRequestError(
            f"worker {worker!r} reports {field} {value}; it must be a finite number and not negative",
            field=field,
            worker_id=worker,
        )
