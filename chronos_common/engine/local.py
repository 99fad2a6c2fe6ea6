"""A whole run in one process: the same arithmetic as a served one, without versions in flight (torch).

It is a plain loop on purpose and shares no code with the round machine: a served run with one worker and
quorum 1 has to arrive at the same numbers by the other way, and a test compares them. With compression it
leaves out, owes and publishes what the worker and the coordinator would.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from chronos_common.compression import Pipeline, compress
from chronos_common.engine.compression import CompressionConfig
from chronos_common.engine.config import RunConfig, WorkSpec
from chronos_common.engine.downlink import decide_version, first_guard, shares_of, step_master
from chronos_common.errors import ConfigurationError
from chronos_common.hypergradient import (
    Carry,
    HypergradientEstimator,
    InnerUpdate,
    OuterSpace,
    compute_update,
    make_estimator,
)
from chronos_common.outer import OptimizerState, OuterConfig, OuterSpec, make_optimizer
from chronos_common.problem import InnerProblem, InnerState, Tensors
from chronos_common.tensors import Array, Arrays
from chronos_common.versions import LeaseConfig, RoundConfig


@dataclass(frozen=True, kw_only=True)
class LocalVersion:
    """One outer step.

    Attributes:
        version: the version that the step made, from 1.
        metrics: figures of the update, measured at the version before: ``outer_loss``, ``inner_loss`` and,
            where it was asked for, what the problem's ``evaluate`` gives.
        diagnostics: figures of the hypergradient estimator.
        seconds: since the run began.
    """

    version: int
    metrics: Mapping[str, float]
    diagnostics: Mapping[str, float]
    seconds: float


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalResult:
    """What :func:`optimize` found.

    Attributes:
        outer: λ in natural coordinates, on the device of the run: what a served run would have published.
        stored: the same in stored coordinates u (u = log λ where ``scale="log"``).
        master: x, which the optimiser stepped; equal to ``stored`` without compression of the downlink.
        inner: the last solved θ of each task by name, computed at the version before the last.
        optimizer_state: memory of the outer optimiser.
        version: outer steps taken.
        history: one entry for each of them.
    """

    outer: Tensors
    stored: dict[str, Array]
    master: dict[str, Array]
    inner: dict[str, InnerState]
    optimizer_state: OptimizerState
    version: int
    history: tuple[LocalVersion, ...] = field(default_factory=tuple)

    @property
    def metrics(self) -> dict[str, float]:
        """The newest value of every metric."""
        newest: dict[str, float] = {}
        for entry in self.history:
            newest |= entry.metrics
        return newest


def optimize(
    problem: InnerProblem,
    *,
    estimator: str | HypergradientEstimator = "implicit",
    outer: OuterConfig | None = None,
    versions: int = 100,
    inner_steps: int = 100,
    seed: int = 0,
    evaluate_every: int = 1,
    warm_start: bool = True,
    compression: CompressionConfig | None = None,
    device: torch.device | str = "cpu",
    on_version: Callable[[LocalVersion], object] | None = None,
) -> LocalResult:
    """Optimise the outer parameters of ``problem`` in this process.

    Args:
        problem: what to optimise.
        estimator: a name of the table of estimators, or an estimator; its own optimiser is not used.
        outer: the outer optimiser; default Adam at rate 0.1, in stored coordinates.
        versions: outer steps, at least 0.
        inner_steps: inner steps for each outer step, at least 1.
        seed: seed of all randomness.
        evaluate_every: call the problem's ``evaluate`` at every so many versions; 0 is never.
        warm_start: go on from the last θ; False starts every inner loop from ``init_inner``, which a
            problem whose starting point is an outer parameter needs.
        compression: as in a served run; nothing is left out by default.
        device: where to compute.
        on_version: called after every outer step.

    Raises:
        ConfigurationError: an argument out of its range, no instance of a problem, or an unknown estimator
            or optimiser.
        ProblemError: the problem broke its contract; ``MissingPartError``, ``OuterParameterUnusedError`` and
            ``DivergenceError`` are branches of it.
    """
    _require_instance(problem)
    _require_range(versions, inner_steps, evaluate_every)
    method = make_estimator(estimator) if isinstance(estimator, str) else estimator
    space, device = OuterSpace.of(problem), torch.device(device)
    uplink, outer_loop = _ends(space, outer, compression)
    carry: Carry | None = None
    history: list[LocalVersion] = []
    began = time.monotonic()
    for base in range(versions):
        update = compute_update(
            problem,
            method,
            outer_loop.published,
            num_inner_steps=inner_steps,
            seed=seed,
            base_version=base,
            device=device,
            carry=carry if warm_start else None,
            evaluate=bool(evaluate_every) and base % evaluate_every == 0,
        )
        carry = update.carry
        outer_loop.step(uplink.send(update.gradient), base + 1)
        history.append(_entry(update, base + 1, time.monotonic() - began))
        if on_version is not None:
            on_version(history[-1])
    return LocalResult(
        outer=space.natural(outer_loop.published, device),
        stored=outer_loop.published,
        master=outer_loop.master,
        inner={} if carry is None else carry.inner,
        optimizer_state=outer_loop.memory,
        version=versions,
        history=tuple(history),
    )


def describe_run(
    problem: InnerProblem,
    *,
    work: WorkSpec,
    outer: OuterConfig | None = None,
    rounds: RoundConfig | None = None,
    leases: LeaseConfig | None = None,
    compression: CompressionConfig | None = None,
    max_versions: int = 0,
) -> tuple[RunConfig, dict[str, Array]]:
    """What a coordinator needs to create a run of ``problem``: its definition, and u at version 0.

    Args:
        problem: gives the outer parameters and their starting values.
        work: what workers do; it names the problem, so that they can build it themselves.
        outer: the outer optimiser; default Adam at rate 0.1.
        rounds: staleness, quorum and in-flight rules.
        leases: lease times.
        compression: of both directions; default ``CompressionConfig.default``.
        max_versions: the run finishes at this version; 0 is only when it is stopped.

    Raises:
        ProblemError: a declaration of an outer parameter is not valid.
        ConfigurationError: settings that cannot work, or no instance of a problem.
    """
    _require_instance(problem)
    space = OuterSpace.of(problem)
    if compression is None:
        compression = CompressionConfig.default(spec.shape for spec in space.specs)
    config = RunConfig(
        parameters=space.specs,
        outer=OuterConfig() if outer is None else outer,
        rounds=RoundConfig() if rounds is None else rounds,
        leases=LeaseConfig() if leases is None else leases,
        work=work,
        compression=compression,
        max_versions=max_versions,
    )
    return config, space.initial()


def _require_instance(problem: object) -> None:
    if isinstance(problem, InnerProblem):
        return
    if isinstance(problem, type) and issubclass(problem, InnerProblem):
        raise ConfigurationError(
            f"{problem.__name__} is a class; pass an instance of it: {problem.__name__}(...)"
        )
    raise ConfigurationError(f"a problem must be an InnerProblem, not {type(problem).__name__}")


def _require_range(versions: int, inner_steps: int, evaluate_every: int) -> None:
    for name, value, least in (
        ("versions", versions, 0),
        ("inner_steps", inner_steps, 1),
        ("evaluate_every", evaluate_every, 0),
    ):
        if value < least:
            raise ConfigurationError(f"{name} is {value}; it must be at least {least}")


class _Uplink:
    """What a worker would send of each update, and owe with the next."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._residual: dict[str, Array] = {}

    def send(self, update: Arrays) -> Arrays:
        compressed = compress(self._pipeline, update, self._residual)
        self._residual = compressed.residual
        return compressed.transmitted


class _OuterLoop:
    """What a coordinator would make of it: master, optimiser, and the published value that follows."""

    def __init__(
        self,
        initial: dict[str, Array],
        outer: OuterConfig,
        compression: CompressionConfig,
        specs: Sequence[OuterSpec],
    ) -> None:
        self._optimizer = make_optimizer(outer)
        self._compression, self._specs = compression, specs
        self._guard = first_guard(compression)
        self.master = self.published = initial
        self.memory = self._optimizer.init(initial)

    def step(self, gradient: Arrays, version: int) -> None:
        before, memory = self.master, self.memory
        step = step_master(
            self._optimizer, self._specs, before, gradient, memory, guard=self._guard, version=version
        )
        self.master, self.memory = step.params, step.state
        if not step.moved:
            return
        decided, self._guard = decide_version(
            self._compression,
            self._specs,
            before=before,
            master=self.master,
            published=self.published,
            guard=self._guard,
            shares=shares_of(self._optimizer, memory, step),
        )
        self.published = decided.published


def _ends(
    space: OuterSpace, outer: OuterConfig | None, compression: CompressionConfig | None
) -> tuple[_Uplink, _OuterLoop]:
    outer = OuterConfig() if outer is None else outer
    compression = CompressionConfig() if compression is None else compression
    uplink = _Uplink(Pipeline(compression.up))
    return uplink, _OuterLoop(space.initial(), outer, compression, space.specs)


def _entry(update: InnerUpdate, version: int, seconds: float) -> LocalVersion:
    return LocalVersion(
        version=version, metrics=update.metrics, diagnostics=update.diagnostics, seconds=seconds
    )
