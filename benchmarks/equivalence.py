"""Do the parts compute what they say?

Hypergradients against closed forms and central differences, and a served run against the single-process loop.

    python -m benchmarks.equivalence [--quick] [--json FILE] [--check]
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks._harness import Options, Report, run
from chronos_common.codec import decode, encode
from chronos_common.compression import DEFAULT_DOWN, PipelineConfig
from chronos_common.engine import CompressionConfig, WorkSpec
from chronos_common.engine.local import describe_run, optimize
from chronos_common.hypergradient import (
    HypergradientEstimator,
    ImplicitDifferentiation,
    UnrolledDifferentiation,
)
from chronos_common.outer import OuterConfig
from chronos_common.problem import InnerProblem, InnerState, ModuleProblem, OuterParameter, Tensors
from chronos_common.tensors import Array
from chronos_common.versions import LeaseConfig, RoundConfig
from chronos_common.wire import SyncCoordinatorClient
from chronos_coordinator import EmbeddedCoordinator
from chronos_worker import Worker, WorkerConfig
from examples.ridge import Ridge, normal

SEEDS = range(5)
FEATURES = 20


def relative(value: Tensor, truth: Tensor) -> float:
    """‖value − truth‖ / ‖truth‖."""
    return float((value - truth).norm() / truth.norm())


def ridge_errors(features: int, seed: int) -> tuple[float, float]:
    """Relative errors on ridge: CG at the exact inner solution with damping 0, and the full unroll from 0."""
    ridge = Ridge(features, seed)
    truth = ridge.hypergradient(ridge.start)
    _, solved = ridge.solve(init=ridge.solution(ridge.start), num_steps=0)
    implicit = ImplicitDifferentiation(cg_steps=4 * features, damping=0.0, tolerance=1e-14)
    exact = implicit.compute_hypergradient(solved, ridge).gradient["decay"]

    rates = torch.linalg.eigvalsh(ridge.hessian(ridge.start))
    contraction = float((1 - ridge.inner_learning_rate * rates).abs().max())
    steps = int(np.ceil(np.log(1e-9) / np.log(contraction)))
    _, trajectory = ridge.solve(num_steps=steps)
    unrolled = UnrolledDifferentiation().compute_hypergradient(trajectory, ridge).gradient["decay"]
    return relative(exact, truth), relative(unrolled, truth)


def small_network(seed: int) -> ModuleProblem:
    """Two smooth layers, float64, one weight decay per tensor: not convex, and regularised to converge."""
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()

    def data(size: int, key: int) -> tuple[Tensor, Tensor]:
        x = normal(size, 3, seed=key)
        return x, (x + 0.3 * normal(size, 3, seed=key + 1)).argmax(dim=1)

    return ModuleProblem(
        module,
        data(30, 10 * seed),
        data(20, 10 * seed + 5),
        outer={"decay": OuterParameter(torch.full((4,), 0.2, dtype=torch.float64), scale="log")},
        regulariser=lambda params, outer: torch.stack(
            [d * p.square().sum() for d, p in zip(outer["decay"], params.values(), strict=True)]
        ).sum(),
        learning_rate=0.3,
    )


def network_errors(seed: int) -> tuple[float, float]:
    """Relative errors of both estimators against central differences through the whole inner loop."""
    problem = small_network(seed)
    solved, _ = problem.solve(num_steps=2000)
    _, trajectory = problem.solve(init=solved, num_steps=400)
    truth = central_differences(problem, trajectory.outer, solved, steps=400)
    estimators: tuple[HypergradientEstimator, ...] = (
        ImplicitDifferentiation(cg_steps=200, damping=0.0, tolerance=1e-13),
        UnrolledDifferentiation(),
    )
    errors = [
        relative(estimator.compute_hypergradient(trajectory, problem).gradient["decay"], truth)
        for estimator in estimators
    ]
    return errors[0], errors[1]


def central_differences(
    problem: InnerProblem, outer: Tensors, start: InnerState, *, steps: int, width: float = 1e-5
) -> Tensor:
    """dL_out/d decay by second-order differences through ``steps`` inner steps from ``start``."""

    def loss(decay: Tensor) -> float:
        inner, trajectory = problem.solve({"decay": decay}, start, steps)
        ctx = trajectory.ctx.at(step=trajectory.end_step, training=False)
        with torch.no_grad():
            batch = problem.outer_batch(trajectory.end_step, ctx)
            return float(problem.outer_loss(inner, trajectory.outer, batch, ctx))

    at = outer["decay"]
    slopes = []
    for i in range(at.numel()):
        step = torch.zeros_like(at)
        step[i] = width
        slopes.append((loss(at + step) - loss(at - step)) / (2 * width))
    return torch.tensor(slopes, dtype=at.dtype)


LOSSLESS = CompressionConfig()
COMPRESSED = CompressionConfig(
    up=PipelineConfig(name=DEFAULT_DOWN, dense_below_elements=0),
    down=PipelineConfig(name=DEFAULT_DOWN, dense_below_elements=0),
)


def served_difference(seed: int, versions: int, compression: CompressionConfig) -> float:
    """Largest |difference| in u between a served run (one worker, quorum 1) and the plain loop."""
    outer = OuterConfig(name="adam", learning_rate=0.1)
    local = optimize(
        Ridge(FEATURES, seed),
        outer=outer,
        versions=versions,
        inner_steps=20,
        seed=seed,
        compression=compression,
    )
    served = serve(seed, versions, outer, compression)
    return max(float(np.abs(served[name] - value).max()) for name, value in local.stored.items())


def serve(seed: int, versions: int, outer: OuterConfig, compression: CompressionConfig) -> dict[str, Array]:
    """The final u of a run with one worker and quorum 1, over real gRPC and SQLite."""
    config, start = describe_run(
        Ridge(FEATURES, seed),
        work=WorkSpec(
            problem="examples.ridge:Ridge",
            problem_config=json.dumps({"features": FEATURES, "seed": seed}),
            inner_steps=20,
            seed=seed,
        ),
        outer=outer,
        rounds=RoundConfig(quorum=1),
        # On a busy machine a deadline would cut an inner loop short, which the plain loop never does.
        leases=LeaseConfig(initial_seconds=60.0, min_seconds=60.0),
        compression=compression,
        max_versions=versions,
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedCoordinator(folder) as coordinator,
        SyncCoordinatorClient(coordinator.address) as client,
        Worker(
            WorkerConfig(coordinator=coordinator.address, worker_id="one", problems=("examples.ridge:*",))
        ),
    ):
        run_id = client.create_run(config, encode("identity", start)).run_id
        for _ in client.watch_run(run_id):
            pass
        if not client.verify_run(run_id).clean:
            raise AssertionError("the journal of the served run does not verify")
        payload = client.checkout(run_id).snapshot
        if payload is None:
            raise AssertionError("a checkout without a known version has no snapshot")
        return decode(payload)


def measure(options: Options) -> Report:
    """Every comparison for every seed."""
    seeds = SEEDS[:2] if options.quick else SEEDS
    versions = 30 if options.quick else 100
    report = Report(benchmark="equivalence", seeds=list(seeds))
    torch.set_num_threads(1)
    for seed in options.progress.track(seeds, description="equivalence"):
        implicit, unrolled = ridge_errors(FEATURES, seed)
        network_implicit, network_unrolled = network_errors(seed)
        report.rows.append(
            {
                "seed": seed,
                "ridge_cg": implicit,
                "ridge_unrolled": unrolled,
                "mlp_cg": network_implicit,
                "mlp_unrolled": network_unrolled,
                "served_minus_local": served_difference(seed, versions, LOSSLESS),
                "served_minus_local_compressed": served_difference(seed, versions, COMPRESSED),
            }
        )
    bounds = {
        "ridge_cg": 1e-8,
        "ridge_unrolled": 1e-6,
        "mlp_cg": 1e-4,
        "mlp_unrolled": 1e-4,
        "served_minus_local": 1e-12,
        "served_minus_local_compressed": 0.0,
    }
    for name, bound in bounds.items():
        report.require(f"{name}, worst seed", max(row[name] for row in report.rows), "<=", bound)
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    return run("equivalence", __doc__ or "", measure, argv)


if __name__ == "__main__":
    sys.exit(main())
