"""Orders of epochs as a configuration says, and what ``auto`` chooses."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chronos_common.data.order import lost, noisy, shuffled, windowed
from chronos_common.data.partition import AUTOMATIC_WINDOW, evened, interleaved
from chronos_common.data.plan import Indices, PlanConfig
from chronos_common.data.randomness import STRICT, Randomness, parse_randomness
from chronos_common.errors import ConfigurationError

ACCEPTED_LOSS: Final = 2e-3
"""Part of an epoch's time that a randomness may lose to samples larger than a share."""

AUTOMATIC: Final = (
    STRICT,
    *(Randomness(name="window", window=window) for window in (2, 4, 8, 16, 32)),
    *(Randomness(name="noisy", noise=noise) for noise in (1.0, 0.5, 0.25)),
)
"""What ``auto`` tries, in this order: the first that loses little enough, or the one that loses least."""


class Composer:
    """Makes the orders of epochs, and keeps the last.

    Args:
        units: costs, (N,).
        config: how.
        nodes: of the samples, (N,), of a partitioned data set.

    Raises:
        ConfigurationError: noise in a partitioned data set.
    """

    def __init__(self, *, units: NDArray[np.int64], config: PlanConfig, nodes: Indices | None) -> None:
        self._units, self._config, self._nodes = units, config, nodes
        self._said = parse_randomness(config.randomness)
        self._last: tuple[int, Indices] | None = None
        if nodes is not None and self._said.name == "noisy":
            raise ConfigurationError(
                "randomness 'noisy' brings samples of like size together wherever they are; a partitioned data set "
                "takes strict, window:M or auto"
            )

    def order(self, epoch: int) -> Indices:
        """All samples, batch after batch, (N,)."""
        # One tuple, read once: threads that plan different epochs see either, never a mixture.
        last = self._last
        if last is None or last[0] != epoch:
            last = epoch, self._ordered(epoch, self._used)
            self._last = last
        return last[1]

    @property
    def chosen(self) -> str:
        """The randomness in use."""
        used = self._used
        if used.name == "window":
            return f"window:{used.window}"
        return f"noisy:{used.noise:g}" if used.name == "noisy" else used.name

    @cached_property
    def _used(self) -> Randomness:
        if self._said.name != "auto":
            return self._said
        if self._nodes is not None:
            return Randomness(name="window", window=AUTOMATIC_WINDOW)
        config = self._config
        best, least = STRICT, math.inf
        for choice in AUTOMATIC:
            waste = lost(self._units, self._ordered(0, choice), config.batch_size, config.workers)
            if waste < least:
                best, least = choice, waste
            if waste <= 1 + ACCEPTED_LOSS:
                return choice
        return best

    def _ordered(self, epoch: int, how: Randomness) -> Indices:
        config, samples = self._config, len(self._units)
        size, seed = config.batch_size, config.seed
        order = shuffled(samples, seed, epoch) if config.shuffle else np.arange(samples)
        if self._nodes is not None:
            order = interleaved(self._nodes, order)
            if how.name == "window":
                order = evened(self._units, self._nodes, order, size, how.window)
        elif how.name == "window":
            order = windowed(self._units, order, size, how.window, config.workers, seed, epoch)
        elif how.name == "noisy":
            order = noisy(self._units, order, size, how.noise, seed, epoch)
        order.flags.writeable = False
        return order
