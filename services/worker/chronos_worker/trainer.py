"""One checkout in, one update out, by the deadline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch

from chronos_common.engine import WorkSpec
from chronos_common.errors import ChronosError, ConfigurationError, DivergenceError, ProblemError
from chronos_common.hypergradient import (
    Carry,
    HypergradientEstimator,
    InnerUpdate,
    compute_update,
    make_estimator,
)
from chronos_common.problem import InnerProblem, Shard, load_problem, parse_config
from chronos_common.runtime import get_logger
from chronos_common.tensors import Arrays, require_finite
from chronos_common.versions import HYPERGRADIENT
from chronos_worker.lifecycle import Clock
from chronos_worker.pace import TimeEstimate

Compute = Callable[..., InnerUpdate]
"""``chronos_common.hypergradient.compute_update``, or a function with its arguments."""

_log = get_logger(__name__)

FIRST_RESERVE: Final = 0.25
"""Share of the time that is kept for hypergradient and commit while nothing is known about them."""

MAX_RESERVE: Final = 0.5
"""Largest share that is ever kept: one slow hypergradient (the first one loads libraries) must not shrink
the next inner loops to a single step. A commit past its deadline is still judged by its base."""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What a checkout asks for.

    Attributes:
        version: the version.
        stored: its outer parameters in stored coordinates.
        shard: this worker's share of the data, (index, count).
        started: when the lease began, in seconds of the clock.
        seconds: how long it lasts; 0 for no deadline.
        share: how much of the inner loop is to be done, in (0, 1].
    """

    version: int
    stored: Arrays
    shard: tuple[int, int]
    started: float
    seconds: float
    share: float = 1.0


class Trainer:
    """Computes the updates of one run, each from where the last one left θ.

    The inner loop is cut short so that the commit arrives by the deadline: time is kept free for what
    follows it, as long as the last hypergradients and commits took, and for one more inner step. At least
    one step is always done.

    Args:
        problem: the run's problem.
        estimator: the run's estimator.
        work: what the run asks of workers.
        device: where to compute.
        clock: monotonic seconds.
        compute: the function from a version to an update.
    """

    def __init__(
        self,
        problem: InnerProblem,
        estimator: HypergradientEstimator,
        work: WorkSpec,
        *,
        device: torch.device,
        clock: Clock,
        compute: Compute = compute_update,
    ) -> None:
        self._problem = problem
        self._estimator = estimator
        self._work = work
        self._device = device
        self._clock = clock
        self._compute = compute
        self._carry: Carry | None = None
        self._unproven = False
        self._step = TimeEstimate()
        self._tail = TimeEstimate()
        self.commit = TimeEstimate()
        """How long commits take; whoever commits tells."""

    def forget(self) -> None:
        """Drops θ and the estimator's warm start: the next update begins afresh."""
        self._carry = None

    @property
    def carry(self) -> Carry | None:
        """Where the next update goes on from; ``None`` where it begins afresh."""
        return None if self._work.cold_start else self._carry

    def resume(self, carry: Carry) -> None:
        """Goes on from where an earlier process stood; a warm start that does not fit is dropped when it shows."""
        self._carry, self._unproven = carry, True

    def update(self, assignment: Assignment, interrupted: Callable[[], bool]) -> InnerUpdate:
        """The update of one checkout.

        Args:
            assignment: what to work on, and until when.
            interrupted: asked between inner steps; True ends the inner loop as the deadline does.

        Raises:
            DivergenceError: something was not finite.
            ChronosError: the problem or the version does not fit; another version will not help.
        """
        try:
            update = self._update(assignment, interrupted)
        except ProblemError as error:
            if not self._unproven or isinstance(error, DivergenceError):
                raise
            _log.warning("the kept warm start does not fit the problem; starting afresh", problem=str(error))
            self._carry = None
            update = self._update(assignment, interrupted)
        self._unproven = False
        return update

    def _update(self, assignment: Assignment, interrupted: Callable[[], bool]) -> InnerUpdate:
        cut = self._cut(assignment)
        asked = self._clock()
        steps, wanted = 0, max(1, round(assignment.share * self._work.inner_steps))

        def should_stop() -> bool:
            nonlocal asked, steps
            now = self._clock()
            self._step.observe(now - asked)
            asked, steps = now, steps + 1
            if steps < wanted and now + self._step.mean < cut and not interrupted():
                return False
            steps = 0  # the next task's begin
            return True

        every = self._work.evaluate_every
        index, count = assignment.shard
        try:
            update = self._compute(
                self._problem,
                self._estimator,
                assignment.stored,
                num_inner_steps=self._work.inner_steps,
                seed=self._work.seed,
                base_version=assignment.version,
                shard=Shard(index=index, count=max(1, count)),
                device=self._device,
                carry=self.carry,
                should_stop=should_stop,
                evaluate=bool(every) and assignment.version % every == 0,
            )
        except ChronosError:
            raise
        except BaseException as error:
            # No signal reaches the thread that computes: whatever comes here, sys.exit too, is the problem's doing.
            raise ProblemError(
                f"problem {self._work.problem!r} raised {type(error).__name__}: {error}",
                problem=self._work.problem,
            ) from error
        self._tail.observe(self._clock() - asked)
        require_finite(update.gradient, f"the hypergradient at version {assignment.version}")
        self._carry = update.carry
        return update

    def _cut(self, assignment: Assignment) -> float:
        """When the inner loop has to end, in seconds of the clock."""
        if assignment.seconds <= 0.0:
            return float("inf")
        known = self._tail.known and self.commit.known
        reserve = self._tail.bound + self.commit.bound if known else FIRST_RESERVE * assignment.seconds
        return assignment.started + assignment.seconds - min(reserve, MAX_RESERVE * assignment.seconds)


def load_trainer(work: WorkSpec, *, allow: Sequence[str], device: torch.device, clock: Clock) -> Trainer:
    """The trainer that a run asks for.

    Raises:
        ProblemNotAllowedError: the problem is not on the allow-list; the message says what to do.
        ProblemError: the problem cannot be imported or built.
        ConfigurationError: a configuration that does not fit, or work that this worker cannot do.
    """
    if not work.problem:
        raise ConfigurationError(
            "the run names no problem: its clients compute updates themselves, and this worker cannot help"
        )
    if work.kind != HYPERGRADIENT:
        raise ConfigurationError(
            f"the run wants updates of kind {work.kind!r}; this worker computes hypergradients"
        )
    estimator = make_estimator(work.estimator, **parse_config(work.estimator_config))
    try:
        problem = load_problem(work.problem, work.problem_config, allow=allow)
    except ChronosError:
        raise
    except BaseException as error:  # as above
        raise ProblemError(
            f"problem {work.problem!r} raised {type(error).__name__} while it was built: {error}",
            problem=work.problem,
        ) from error
    return Trainer(problem, estimator, work, device=device, clock=clock)
