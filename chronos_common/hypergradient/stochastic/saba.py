"""SABA: SOBA without its noise, for data that are a fixed list of batches."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError
from chronos_common.hypergradient.batch_means import shares
from chronos_common.hypergradient.stochastic.base import (
    SOLUTION,
    Call,
    StochasticConfig,
    StochasticEstimator,
)
from chronos_common.hypergradient.stochastic.oracle import weighted
from chronos_common.outer import OuterConfig, OuterOptimizer
from chronos_common.problem import Context, Tensors


class SABA(StochasticEstimator):
    """SOBA with SAGA's variance reduction (Dagréou et al., NeurIPS 2022; Defazio et al., NeurIPS 2014).

    For each of ``num_inner`` and ``num_outer`` fixed batches the last derivatives seen are kept in tables; a
    direction is the new one on a drawn batch, minus the batch's old one, plus the average over the tables, so that
    its noise dies out as (θ, v, λ) settle: at a fixed λ it converges to the full-batch hypergradient with a constant
    step size.

    Batch i is the problem's batch of step i at version 0, whatever the version: the numbers should be those of one
    epoch. Averages weigh batches by their samples. The tables are filled at the first call.

    Arguments, diagnostics: see :class:`StochasticEstimator`. Cost: as :class:`SOBA` with single batches, and
    ``num_inner`` + ``num_outer`` samples at the first call. State: tables of (``num_inner`` + ``num_outer``) ×
    (D + size of λ) numbers, copied at each call, v, and the power iteration's vector.

    Args:
        num_inner, num_outer: how many batches the training and the validation data have.
    """

    def __init__(
        self,
        *,
        num_inner: int = 1,
        num_outer: int = 1,
        steps: int = 1,
        cold_steps: int = 50,
        step_size: float | None = None,
        damping: float = 0.0,
        optimizer: OuterConfig | OuterOptimizer | None = None,
    ) -> None:
        config = StochasticConfig(steps=steps, cold_steps=cold_steps, step_size=step_size, damping=damping)
        super().__init__(config, optimizer=optimizer)
        if num_inner < 1 or num_outer < 1:
            raise ConfigurationError("num_inner and num_outer must be at least 1")
        self._num_inner, self._num_outer = num_inner, num_outer

    def advance(self, call: Call) -> tuple[Tensor, Tensors]:
        """See the base class."""
        fixed = dataclasses.replace(call.ctx, base_version=0)
        draws = call.ctx.at(step=call.trajectory.end_step, stream="saba").generator
        rounds = self.config.steps + (self.config.cold_steps if call.cold else 0)
        v = call.oracle.zero if call.cold else call.state[SOLUTION].to(call.oracle.zero)
        inner = self._table(call, "inner", self._num_inner, v, fixed)
        outer = self._table(call, "outer", self._num_outer, v, fixed)
        size = len(v)
        for _ in range(rounds):
            i = int(torch.randint(self._num_inner, (), generator=draws))
            j = int(torch.randint(self._num_outer, (), generator=draws))
            row = _inner_row(call, i, v, fixed)[0]
            # The step size that SAGA needs is a third of that of gradient descent on the steepest batch.
            if self._num_inner > 1:
                call.seen(v, row[:size], 3.0 * inner.scale(i))
            second = inner.reduced(i, row)
            first = outer.reduced(j, _outer_row(call, j, fixed)[0])
            direction = first[size:] - second[size:]
            v = call.moved(v, second[:size].to(v), first[:size].to(v))
        return direction, {SOLUTION: v, **inner.state("inner"), **outer.state("outer")}

    def _table(self, call: Call, name: str, count: int, v: Tensor, ctx: Context) -> _Table:
        rows, weights = call.state.get(f"{name}/rows"), call.state.get(f"{name}/weights")
        if rows is not None and weights is not None and len(rows) == len(weights) == count:
            return _Table(rows.clone(), weights)
        found = [
            _inner_row(call, i, v, ctx) if name == "inner" else _outer_row(call, i, ctx) for i in range(count)
        ]
        weights = torch.tensor(shares([samples for _, samples in found]), dtype=torch.float64)
        return _Table(torch.stack([row for row, _ in found]), weights)


class _Table:
    """The last row seen of each batch, and each batch's share of the samples."""

    def __init__(self, rows: Tensor, weights: Tensor) -> None:
        self._rows, self._weights = rows, weights

    def scale(self, i: int) -> float:
        """Divides by the probability of the draw, so that the expectation is the average over samples."""
        return float(self._weights[i]) * len(self._weights)

    def reduced(self, i: int, row: Tensor) -> Tensor:
        """SAGA's estimate of the average row from batch ``i``, drawn uniformly, whose row is now ``row``."""
        weights = self._weights.tolist()
        estimate: Tensor = self.scale(i) * (row - self._rows[i]) + weighted(list(self._rows), weights)
        self._rows[i] = row
        return estimate

    def state(self, name: str) -> Tensors:
        """To be carried."""
        return {f"{name}/rows": self._rows, f"{name}/weights": self._weights}


def _inner_row(call: Call, i: int, v: Tensor, ctx: Context) -> tuple[Tensor, int]:
    sample = call.oracle.inner(i, ctx, v)
    return torch.cat([sample.hv, sample.mixed]), sample.samples


def _outer_row(call: Call, j: int, ctx: Context) -> tuple[Tensor, int]:
    sample = call.oracle.outer_at(j, ctx)
    call.outer_loss = sample.value
    return torch.cat([sample.slope, sample.direct]), sample.samples
