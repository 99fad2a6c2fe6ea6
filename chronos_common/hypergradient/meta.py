"""Stepping λ in one process: the outer values, the optimiser's memory, and a version number."""

from __future__ import annotations

import dataclasses

import torch

from chronos_common.hypergradient.outer_space import OuterSpace
from chronos_common.outer import (
    OptimizerState,
    OuterConfig,
    OuterOptimizer,
    make_optimizer,
    require_steppable,
    step_within,
)
from chronos_common.problem import Tensors
from chronos_common.tensors import Array, require_finite


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class MetaState:
    """One version of the outer problem.

    Attributes:
        stored: outer parameters in stored coordinates u.
        optimizer: the outer optimiser's state.
        version: number of steps that led here.
    """

    stored: dict[str, Array]
    optimizer: OptimizerState
    version: int = 0


class MetaOptimizer:
    """Steps :class:`MetaState` by natural hypergradients.

    Args:
        optimizer: a configured or ready numpy optimiser; None is gradient descent at rate 0.1.
    """

    def __init__(self, optimizer: OuterConfig | OuterOptimizer | None = None) -> None:
        if optimizer is None:
            optimizer = OuterConfig(name="sgd", learning_rate=0.1)
        self._optimizer = make_optimizer(optimizer) if isinstance(optimizer, OuterConfig) else optimizer

    def step(self, meta: MetaState | None, outer: Tensors, gradient: Tensors, space: OuterSpace) -> MetaState:
        """The state after one step from ``outer`` along ``gradient`` (dL/dλ), within the bounds.

        ``meta`` is the state after the step before. If it does not stand at ``outer``, because the caller
        moved λ by other means, its optimiser memory is kept and its values are replaced.

        Raises:
            NonFiniteError: the step, or what the optimiser remembers of it, overflows.
        """
        if meta is None:
            stored = space.stored(outer)
            require_steppable(self._optimizer, space.specs)
            meta = MetaState(stored=stored, optimizer=self._optimizer.init(stored))
        elif not _stands_at(meta, outer, space):
            meta = dataclasses.replace(meta, stored=space.stored(outer))
        step = step_within(
            self._optimizer, space.specs, meta.stored, space.gradient(gradient, outer), meta.optimizer
        )
        require_finite({**step.params, **step.state.arrays()}, "a step of the outer optimiser")
        return MetaState(stored=step.params, optimizer=step.state, version=meta.version + 1)


def _stands_at(meta: MetaState, outer: Tensors, space: OuterSpace) -> bool:
    """Whether ``outer`` came from ``meta``: then its u is used, as exp and log are not exact inverses."""
    natural = space.natural(meta.stored, torch.device("cpu"))
    return all(torch.equal(natural[name], value.cpu()) for name, value in outer.items())
