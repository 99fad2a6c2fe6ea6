"""Measured speeds without a coordinator: every rank holds the same speed table, fed by one small all-gather.

What a rank plans must not depend on how far its own loader has run ahead. So the plan of a step uses exactly the
reports of the steps up to ``lookahead`` before it, on every rank alike.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from chronos_common.data.plan import Reals, Speeds
from chronos_common.data.torch.exchange import Exchange
from chronos_common.errors import ConfigurationError, InvalidRequestError
from chronos_common.fleet.speed import SpeedConfig, SpeedTable
from chronos_common.runtime import require_kinds


@dataclass(frozen=True, kw_only=True)
class FeedbackConfig:
    """How times are shared.

    Attributes:
        every: steps between two all-gathers.
        lookahead: batches that a loader takes ahead: 0 without workers, else ``num_workers * prefetch_factor``.
        speed: how eagerly new estimates are used.
    """

    every: int = 1
    lookahead: int = 0
    speed: SpeedConfig = field(default_factory=SpeedConfig)

    def __post_init__(self) -> None:
        require_kinds(self)
        if self.every < 1:
            raise ConfigurationError(f"every is {self.every}; it must be 1 or more")
        if self.lookahead < 0:
            raise ConfigurationError(f"lookahead is {self.lookahead}; it must be 0 or more")


class Feedback:
    """Collects what ranks report and says how fast each is; the same on every rank."""

    def __init__(self, exchange: Exchange, config: FeedbackConfig | None = None) -> None:
        self.config = config if config is not None else FeedbackConfig()
        self._exchange = exchange
        self._names = tuple(str(rank) for rank in range(exchange.world_size))
        self._table = SpeedTable(self.config.speed)
        self._waiting: list[tuple[float, float]] = []
        self._gathering: deque[Callable[[], Reals]] = deque()
        self._reported = 0
        self._base = 0

    @property
    def exchange(self) -> Exchange:
        """What the numbers travel by."""
        return self._exchange

    def begin_epoch(self) -> None:
        """Steps are numbered from 0 again; everything reported so far is used."""
        self._base = self._reported
        self.settle()

    def settle(self) -> None:
        """Waits for everything reported so far: nothing is under way that the end of the process could cut off."""
        self._apply(self._reported // self.config.every)

    def report(self, cost: float, seconds: float) -> None:
        """Takes this rank's own compute seconds of the next step, before the collective, and its share's cost.

        Raises:
            InvalidRequestError: no seconds, or a value that is negative or not finite.
        """
        if not (np.isfinite(cost) and np.isfinite(seconds) and cost >= 0.0 and seconds > 0.0):
            raise InvalidRequestError(
                f"report of {seconds} seconds for a share of cost {cost}; the seconds must be above 0, the cost not "
                "negative, both finite",
                field="seconds",
            )
        self._waiting.append((cost, seconds))
        self._reported += 1
        if len(self._waiting) == self.config.every:
            self._gathering.append(self._exchange.gather(np.array(self._waiting).ravel()))
            self._waiting = []

    def speeds(self, step: int) -> Speeds:
        """What the plan of a step of this epoch is made for.

        Raises:
            ConfigurationError: the loader runs further ahead than ``lookahead`` says.
        """
        reports = self._base + max(0, step - self.config.lookahead)
        if reports > self._reported:
            raise ConfigurationError(
                f"step {step} is asked for when {self._reported - self._base} steps of the epoch are reported: set "
                "FeedbackConfig(lookahead=num_workers * prefetch_factor) for this loader, and report every step",
                step=step,
                lookahead=self.config.lookahead,
            )
        self._apply(reports // self.config.every)
        alpha, beta, version = self._table.speeds(self._names)
        return Speeds(alpha=alpha, beta=beta, version=version)

    def _apply(self, rounds: int) -> None:
        """Feeds the table with gathered rounds until it has seen that many."""
        applied = self._reported // self.config.every - len(self._gathering)
        for _ in range(rounds - applied):
            gathered = self._gathering.popleft()().reshape(len(self._names), self.config.every, 2)
            for reports in gathered.transpose(1, 0, 2):
                for name, (cost, seconds) in zip(self._names, reports.tolist(), strict=True):
                    self._table.observe(name, cost, seconds)
