from __future__ import annotations

import hashlib
import itertools
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_common.data import Caps, Groups, PlanConfig, Planner, Speeds, StepPlan, rebalance
from chronos_common.data.costs import CostModel
from chronos_common.data.plan import Kind
from chronos_common.errors import CapacityError, ConfigurationError

KINDS: tuple[Kind, ...] = ("static", "dynamic", "guided")
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
        kind=draw(st.sampled_from(KINDS)),
        randomness=draw(RANDOMNESS),
        shuffle=draw(st.booleans()),
        seed=draw(st.integers(0, 2**40)),
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


@given(SIZES, st.integers(1, 8), st.integers(0, 12), st.floats(0.3, 3), st.sampled_from(KINDS))
def test_caps_hold_or_the_step_is_refused(
    sizes: list[float], workers: int, count: int, slack: float, kind: Kind
) -> None:
    found = np.array(sizes)
    config = PlanConfig(batch_size=len(sizes), kind=kind)
    memory = np.full(workers, found.sum() / workers * slack)
    caps = Caps(count=np.full(workers, count), memory=memory)
    if workers > len(sizes):
        return
    planner = Planner(found, config)
    room = found.sum() / workers * slack
    try:
        plan = planner.plan(0, 0, Speeds.equal(workers), caps)
    except CapacityError:
        # One worker alone has room for all of them, so that there was a way.
        assert kind != "dynamic" or 0 < count < len(sizes) or room < found.sum()
        return
    for worker in range(workers):
        mine = found[plan.share(worker)]
        if len(mine):
            assert not count or len(mine) <= count
            held = len(mine) * mine.max() if kind == "guided" else mine.sum()
            assert not memory[worker] or held <= memory[worker] * (1 + 1e-12)


def frames(count: int, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Like those of UCF-101."""
    found: np.ndarray[tuple[int], np.dtype[np.float64]] = np.rint(
        np.exp(np.random.default_rng(seed).normal(5.1, 0.5, count))
    ).clip(29, 1776)
    return found


def over_perfect(planner: Planner, speeds: Speeds) -> float:
    plans = planner.plans(0, 0, planner.steps, speeds)
    return sum(float(plan.seconds.max()) for plan in plans) / sum(
        float((plan.seconds / speeds.beta).sum() / (1 / speeds.beta).sum()) for plan in plans
    )


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_equal_workers_finish_together(kind: Literal["static", "dynamic"]) -> None:
    planner = Planner(frames(20 * 2048), PlanConfig(batch_size=2048, kind=kind))
    assert over_perfect(planner, Speeds.equal(64)) < 1.0005


def test_half_of_the_workers_at_half_speed_take_half_as_much() -> None:
    speeds = Speeds(alpha=np.zeros(64), beta=np.repeat([1.0, 2.0], 32))
    assert over_perfect(Planner(frames(10 * 2048), PlanConfig(batch_size=2048)), speeds) < 1.0005


def test_who_starts_late_takes_less() -> None:
    speeds = Speeds(alpha=np.array([0.0, 0.0, 100.0, 1e9]), beta=np.ones(4))
    plan = Planner(np.ones(400), PlanConfig(batch_size=400)).plan(0, 0, speeds)
    assert plan.seconds[:3].max() == 167
    assert (plan.counts[3], plan.seconds[3]) == (0, 1e9)


def test_a_speed_a_million_times_another_is_balanced() -> None:
    speeds = Speeds(alpha=np.zeros(8), beta=10.0 ** np.linspace(-6, 0, 8))
    assert over_perfect(Planner(frames(4096), PlanConfig(batch_size=4096)), speeds) < 1.001


@pytest.mark.parametrize("seed", range(30))
def test_segments_are_the_best_for_equal_workers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = np.sort(rng.integers(1, 60, int(rng.integers(1, 9))).astype(float))[::-1]
    workers = int(rng.integers(1, len(sizes) + 1))
    config = PlanConfig(batch_size=len(sizes), kind="guided", cost="padded")
    plan = Planner(sizes, config).plan(0, 0, Speeds.equal(workers))
    best = min(
        max((b - a) * sizes[a] for a, b in itertools.pairwise([0, *cuts, len(sizes)]) if b > a)
        for cuts in itertools.combinations_with_replacement(range(len(sizes) + 1), workers - 1)
    )
    assert plan.seconds.max() == pytest.approx(best, rel=1e-5)


def test_the_longest_segment_goes_round() -> None:
    planner = Planner(frames(640), PlanConfig(batch_size=64, kind="guided"))
    sizes = frames(640)
    plans = planner.plans(0, 0, 4, Speeds.equal(4))
    longest = [int(np.argmax([sizes[plan.share(worker)].max() for worker in range(4)])) for plan in plans]
    assert sorted(longest) == [0, 1, 2, 3]


@pytest.mark.parametrize("randomness", ["strict", "window:8", "auto"])
def test_partners_meet_again_as_seldom_as_by_chance(randomness: str) -> None:
    planner = Planner(frames(64 * 64), PlanConfig(batch_size=64, randomness=randomness, workers=8))
    met = expected = 0.0
    before: set[tuple[int, int]] = set()
    for epoch in range(6):
        pairs = {
            pair
            for plan in planner.plans(epoch, 0, planner.steps, Speeds.equal(8))
            for worker in range(8)
            for pair in itertools.combinations(sorted(plan.share(worker).tolist()), 2)
        }
        met += len(pairs & before)
        expected += len(pairs) * len(before) / (4096 * 4095 / 2)
        before = pairs
    assert expected > 60
    assert 0.6 < met / expected < 1.5


def test_large_samples_come_together_in_a_window() -> None:
    sizes = np.concatenate([np.full(8 * 64 - 4, 1.0), np.full(4, 12.0)])
    tail = {
        randomness: over_perfect(
            Planner(sizes, PlanConfig(batch_size=64, randomness=randomness, workers=8, seed=3)),
            Speeds.equal(8),
        )
        for randomness in ("strict", "window:8", "noisy:0.5")
    }
    assert tail["window:8"] < tail["strict"] - 0.05


def test_auto_is_strict_until_a_sample_exceeds_a_share() -> None:
    config = PlanConfig(batch_size=64, randomness="auto", workers=8)
    assert Planner(frames(6400), config).randomness == "strict"
    heavy = 1 + np.random.default_rng(0).pareto(1.5, 6400)
    chosen = Planner(heavy, config)
    assert chosen.randomness != "strict"
    assert over_perfect(chosen, Speeds.equal(8)) < 1.01


def test_samples_stay_on_their_node_and_nodes_weigh_the_same_in_every_step() -> None:
    sizes = frames(32 * 256)
    nodes = np.random.default_rng(1).permutation(np.arange(len(sizes)) % 4)
    groups = Groups(samples=nodes, workers=np.array([0, 0, 0, 1, 1, 2, 3, 3]))
    config = PlanConfig(batch_size=256, randomness="window:32", workers=8)
    planner = Planner(sizes, config, groups)
    plans = planner.plans(0, 0, planner.steps, Speeds.equal(8))
    for plan in plans:
        for worker in range(8):
            assert (nodes[plan.share(worker)] == groups.workers[worker]).all()
    parts = np.array(
        [[sizes[mine[nodes[mine] == node]].sum() for node in range(4)] for mine in (p.indices for p in plans)]
    )
    assert (np.ptp(parts, axis=0) < 0.01 * parts.mean(axis=0)).all()
    assert sorted(np.concatenate([plan.indices for plan in plans]).tolist()) == list(range(len(sizes)))


def test_returned_samples_go_to_who_has_least_to_do() -> None:
    sizes = frames(64)
    found = rebalance(
        np.arange(100, 164), sizes, Speeds.equal(3), np.array([0.0, 2000.0, 1e6]), epoch=2, step=5
    )
    assert (found.epoch, found.step) == (2, 5)
    assert sorted(found.indices.tolist()) == list(range(100, 164))
    assert found.seconds[0] == pytest.approx(found.seconds[1], rel=2e-3)
    assert (found.seconds[2], found.counts[2]) == (1e6, 0)
    assert rebalance(np.arange(0), sizes[:0], Speeds.equal(2), np.zeros(2)).counts.tolist() == [0, 0]


def test_a_plan_is_the_same_bytes_as_ever() -> None:
    digest = hashlib.sha256()
    speeds = Speeds(alpha=np.arange(8) / 100, beta=1 + np.arange(8) / 7)
    for kind in KINDS:
        for randomness in ("strict", "window:4", "noisy:0.5"):
            config = PlanConfig(batch_size=128, kind=kind, randomness=randomness, workers=8)
            for plan in Planner((np.arange(1000) * 7919) % 997 + 1.0, config).plans(1, 0, 8, speeds):
                digest.update(plan.indices.astype("<i8").tobytes() + plan.offsets.astype("<i8").tobytes())
    assert digest.hexdigest() == "f67ea2b7aeb9649daf3a860bdaa0f3c1624b52b82f299e3bad107b46318d27ca"


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_bad_sizes_are_named(bad: float) -> None:
    with pytest.raises(ConfigurationError, match="sample 2 has the size"):
        Planner([1.0, 2.0, bad, 4.0], PlanConfig(batch_size=2))


@pytest.mark.parametrize(
    "cost", [lambda sizes: sizes[1:], lambda sizes: sizes - 2, lambda sizes: sizes * np.nan]
)
def test_bad_costs_are_refused(cost: CostModel) -> None:
    with pytest.raises(ConfigurationError, match="cost"):
        Planner([1.0, 2.0, 3.0], PlanConfig(batch_size=2), cost=cost)


def test_costs_decide_and_worthless_samples_go_round() -> None:
    squares = Planner(frames(512), PlanConfig(batch_size=512, cost="quadratic"))
    assert over_perfect(squares, Speeds.equal(4)) < 1.001
    plan = Planner(np.ones(512), PlanConfig(batch_size=512), cost=lambda sizes: sizes * 0).plan(
        0, 0, Speeds.equal(4)
    )
    assert plan.counts.tolist() == [128] * 4


@pytest.mark.parametrize(
    "fields",
    [
        {"randomness": "window:0"},
        {"randomness": "window:x", "workers": 2},
        {"randomness": "noisy:-1"},
        {"randomness": "noisy:nan"},
        {"randomness": "strict:1"},
        {"randomness": "auto"},
        {"cost": "padded"},
        {"workers": -1},
        {"batch_size": 0},
    ],
)
def test_configurations_that_cannot_be_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        PlanConfig(**{"batch_size": 4, **fields})


def test_what_cannot_be_planned_is_refused() -> None:
    planner = Planner(np.ones(6), PlanConfig(batch_size=4))
    one = np.ones(1)
    for call in (
        lambda: planner.plan(0, 2, Speeds.equal(2)),
        lambda: planner.plan(-1, 0, Speeds.equal(2)),
        lambda: planner.plan(0, 0, Speeds.equal(7)),
        lambda: planner.plan(0, 0, Speeds.equal(0)),
        lambda: planner.plan(0, 0, Speeds(alpha=one, beta=-one)),
        lambda: planner.plan(0, 0, Speeds(alpha=one * np.nan, beta=one)),
        lambda: planner.plan(0, 0, Speeds.equal(1), Caps(count=np.array([1, 2]), memory=np.zeros(2))),
        lambda: Planner([], PlanConfig(batch_size=4)),
        lambda: Planner(np.ones(3), PlanConfig(batch_size=4, drop_last=True)),
        lambda: Planner(np.ones(3), PlanConfig(batch_size=4, cost="cubic")),
        lambda: Planner(
            np.ones(2), PlanConfig(batch_size=4), Groups(samples=np.array([0, 1]), workers=np.array([0]))
        ),
    ):
        with pytest.raises(ConfigurationError):
            call()
