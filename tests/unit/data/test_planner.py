from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_common.data import Caps, Groups, PlanConfig, Planner, Speeds, StepPlan, rebalance
from chronos_common.errors import CapacityError, ConfigurationError

KINDS = st.sampled_from(["static", "dynamic", "guided"])
RANDOMNESS = st.sampled_from(["strict", "window:1", "window:3", "noisy:0", "noisy:0.7", "auto"])
SIZES = st.lists(
    st.one_of(
        st.integers(1, 40).map(float),
        st.floats(1e-3, 1e3),
        st.sampled_from([1.0, 7.0, 1e300, 1e-300, 5e-324]),
    ),
    min_size=1,
    max_size=120,
)
ALPHAS = st.sampled_from([0.0, 1e-3, 0.5, 30.0, 1e12])
BETAS = st.one_of(st.floats(0.5, 2), st.sampled_from([1e-6, 1e-3, 1.0, 1e3, 1e-300, 1e300]))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Planner, Speeds]:
    sizes = draw(SIZES)
    workers = draw(st.integers(1, min(9, len(sizes))))
    config = PlanConfig(
        batch_size=draw(st.integers(1, 70)),
        kind=draw(KINDS),
        randomness=draw(RANDOMNESS),
        shuffle=draw(st.booleans()),
        seed=draw(st.integers(-3, 2**40)),
        workers=workers,
    )
    if draw(st.booleans()):
        return Planner(sizes, config), Speeds.equal(workers)
    alpha = draw(st.lists(ALPHAS, min_size=workers, max_size=workers))
    beta = draw(st.lists(BETAS, min_size=workers, max_size=workers))
    return Planner(sizes, config), Speeds(alpha=np.array(alpha), beta=np.array(beta))


def same(one: StepPlan, other: StepPlan) -> bool:
    return all(
        getattr(one, name).tobytes() == getattr(other, name).tobytes()
        for name in ("indices", "offsets", "seconds")
    ) and (one.epoch, one.step) == (other.epoch, other.step)


@given(cases(), st.integers(0, 3))
def test_every_sample_exactly_once_and_many_steps_at_once_are_the_same_as_one_by_one(
    case: tuple[Planner, Speeds], epoch: int
) -> None:
    planner, speeds = case
    plans = planner.plans(epoch, 0, planner.steps, speeds)
    taken = np.concatenate([plan.indices for plan in plans])
    assert sorted(taken.tolist()) == list(range(planner.samples))
    for step, plan in enumerate(plans):
        assert plan.offsets[0] == 0
        assert plan.offsets[-1] == len(plan.indices)
        assert (plan.counts >= 0).all()
        assert sorted(plan.indices.tolist()) == sorted(planner.batch(epoch, step).tolist())
    for step in {0, planner.steps // 2, planner.steps - 1}:
        assert same(plans[step], planner.plan(epoch, step, speeds))
    if planner.config.kind == "static":
        assert all(np.ptp(plan.counts) <= 1 for plan in plans)


@given(SIZES, st.integers(1, 8), st.integers(0, 12), st.floats(0.3, 3), KINDS)
def test_caps_hold_or_the_step_is_refused(
    sizes: list[float], workers: int, count: int, slack: float, kind: str
) -> None:
    found = np.array(sizes)
    config = PlanConfig(batch_size=len(sizes), kind=kind)  # type: ignore[arg-type]
    memory = np.full(workers, found.sum() / workers * slack)
    caps = Caps(count=np.full(workers, count), memory=memory)
    if workers > len(sizes):
        return
    planner = Planner(found, config)
    try:
        plan = planner.plan(0, 0, Speeds.equal(workers), caps)
    except CapacityError as error:
        assert error.details["samples"] == len(sizes)
        possible = (
            not count or count * workers >= len(sizes)
        ) and slack * found.sum() / workers >= found.sum()
        assert not possible
        return
    for worker in range(workers):
        mine = found[plan.share(worker)]
        if len(mine):
            assert not count or len(mine) <= count
            held = len(mine) * mine.max() if kind == "guided" else mine.sum()
            assert held <= memory[worker] * (1 + 1e-12)
