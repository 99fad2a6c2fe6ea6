"""Inner steps of a fixed duration, and one worker that is slower: so that the cores do not decide who wins.

Every inner step ends a fixed time after it began; what its computation leaves of that time is slept away. The
hypergradient sleeps a fixed time besides its computation. The worker that has the last of all shards sleeps
``SLOWDOWN`` times as long, as one on an older device would compute. All arms of the comparison are paced alike.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from chronos_common.problem import Context, InnerProblem, InnerState, Tensors

SLOWDOWN = 4.0
WORKERS = 4


@dataclass(kw_only=True)
class Pacer:
    """Sleeps so that steps last as long as they should.

    Attributes:
        step_seconds: of one inner step of a worker that is not slow; 0 sleeps never.
        hypergradient_seconds: that a hypergradient sleeps.
    """

    step_seconds: float = 0.0
    hypergradient_seconds: float = 0.0
    _began: float = 0.0
    _cpu_began: float = 0.0
    _cpu: list[float] = field(default_factory=list)

    def begin_step(self) -> None:
        """An inner step begins."""
        self._began, self._cpu_began = time.monotonic(), time.thread_time()

    def end_step(self, ctx: Context) -> None:
        """Waits until the step has lasted its time."""
        self._cpu.append(time.thread_time() - self._cpu_began)
        if self.step_seconds:
            _sleep(self._began + self.step_seconds * _factor(ctx) - time.monotonic())

    def hypergradient(self, ctx: Context) -> None:
        """Sleeps the hypergradient's share."""
        _sleep(self.hypergradient_seconds * _factor(ctx))

    def cpu_share(self) -> float:
        """CPU time of the steps since the last call, as a share of what they last for a worker that is not slow."""
        steps, self._cpu = self._cpu, []
        return sum(steps) / (len(steps) * self.step_seconds) if steps and self.step_seconds else 0.0


class Paced(InnerProblem):
    """A problem at the pace of ``self.pacer``; to be named before the class that it paces."""

    pacer: Pacer

    def inner_batch(self, step: int, ctx: Context) -> Any:
        """The batch; a step begins."""
        self.pacer.begin_step()
        return super().inner_batch(step, ctx)

    def inner_update(self, inner: InnerState, grads: Tensors, outer: Tensors, ctx: Context) -> InnerState:
        """The update; a step ends, unless it is one that unrolling repeats."""
        updated = super().inner_update(inner, grads, outer, ctx)
        if not any(value.requires_grad for value in updated.params.values()):
            self.pacer.end_step(ctx)
        return updated

    def outer_batch(self, step: int, ctx: Context) -> Any:
        """The batch of a hypergradient, which sleeps for it."""
        self.pacer.hypergradient(ctx)
        return super().outer_batch(step, ctx)

    def evaluate(self, inner: InnerState | None, outer: Tensors, ctx: Context) -> dict[str, float]:
        """The problem's figures, and ``cpu_share``."""
        return dict(super().evaluate(inner, outer, ctx)) | {"cpu_share": self.pacer.cpu_share()}


def _factor(ctx: Context) -> float:
    return SLOWDOWN if ctx.shard.index == WORKERS - 1 else 1.0


def _sleep(seconds: float) -> None:
    if seconds > 0.0:
        time.sleep(seconds)
