"""What may be asked of a planner, in any order and with anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronos_common.data import Groups, PlanConfig, Planner, Speeds, StepPlan, rebalance
from chronos_common.data.ahead import Ahead
from chronos_common.data.order import shuffled
from chronos_common.errors import ConfigurationError

SIZES = np.rint(np.exp(np.random.default_rng(4).normal(3, 1, 407))) + 1
CONFIG = PlanConfig(batch_size=16, seed=9)
ASKED = st.lists(
    st.one_of(
        st.tuples(st.just("next"), st.integers(1, 9)),
        st.tuples(st.just("jump"), st.integers(0, 25)),
        st.tuples(st.just("epoch"), st.integers(0, 2)),
        st.tuples(st.just("speeds"), st.integers(0, 2)),
    ),
    max_size=8,
)


def content(plan: StepPlan) -> tuple[Any, ...]:
    return plan.epoch, plan.step, *(a.tobytes() for a in (plan.indices, plan.offsets, plan.seconds))


@given(ASKED)
@settings(max_examples=40)
def test_whatever_was_asked_before_a_plan_is_the_same(asked: list[tuple[str, int]]) -> None:
    warm, cold = Planner(SIZES, CONFIG), Planner(SIZES, CONFIG)
    alpha, beta = np.zeros(5), np.ones(5)
    speeds = Speeds(alpha=alpha, beta=beta)
    epoch = step = 0
    for what, number in asked:
        if what == "epoch":
            epoch = number
        elif what == "jump":
            step = number
        elif what == "speeds":
            beta[number] += 0.25  # in place: the same object, other speeds
        else:
            for _ in range(number):
                plan = warm.plan(epoch, step % warm.steps, speeds)
                assert content(plan) == content(cold.plans(epoch, step % warm.steps, 1, speeds)[0])
                plan.indices[:] = 0  # whoever writes into a plan spoils no other
                step += 1


def test_steps_asked_for_in_turn_are_made_together() -> None:
    made: list[tuple[int, int, int]] = []
    planner = Planner(SIZES, CONFIG)

    def plans(epoch: int, first: int, count: int, speeds: Speeds) -> Any:
        made.append((epoch, first, count))
        return planner.plans(epoch, first, count, speeds)

    ahead = Ahead(plans, planner.steps)
    for step in range(planner.steps):
        ahead.plan(0, step, Speeds.equal(3))
    assert made == [(0, 0, 1), (0, 1, 2), (0, 3, 4), (0, 7, 8), (0, 15, 8), (0, 23, 3)]
    ahead.plan(1, 0, Speeds.equal(3))
    ahead.plan(1, 1, Speeds.equal(4))
    assert made[6:] == [(1, 0, 1), (1, 1, 1)]


@pytest.mark.parametrize("workers", [1, 7, 300])
def test_strict_leaves_the_shuffle_as_it_is(workers: int) -> None:
    planner = Planner(SIZES, CONFIG)
    plain = shuffled(len(SIZES), CONFIG.seed, 3)
    for plan in planner.plans(3, 0, planner.steps, Speeds.equal(workers)):
        batch = plain[plan.step * 16 : (plan.step + 1) * 16]
        assert planner.batch(3, plan.step).tolist() == batch.tolist()
        assert sorted(plan.indices.tolist()) == sorted(batch.tolist())


@pytest.mark.parametrize("epoch", [2**31, 2**63, 2**64 + 1, np.int64(5), np.uint8(200)])
@pytest.mark.parametrize("kind", ["dynamic", "guided"])
def test_any_epoch_can_be_planned(epoch: int, kind: Any) -> None:
    planner = Planner(SIZES, PlanConfig(batch_size=16, kind=kind))
    plans = planner.plans(epoch, 0, planner.steps, Speeds.equal(3))
    assert sorted(np.concatenate([plan.indices for plan in plans]).tolist()) == list(range(len(SIZES)))
    assert content(plans[0]) == content(Planner(SIZES, planner.config).plan(int(epoch), 0, Speeds.equal(3)))


def test_sizes_belong_to_the_planner() -> None:
    sizes = SIZES.copy()
    planner = Planner(sizes, PlanConfig(batch_size=16, cost="quadratic"))
    before = content(planner.plan(0, 0, Speeds.equal(3)))
    sizes[:] = 1
    assert content(planner.plan(0, 0, Speeds.equal(3))) == before

    def greedy(given: np.ndarray[Any, Any]) -> Any:
        given *= 2
        return given

    with pytest.raises(ValueError, match="read-only"):
        Planner(sizes, CONFIG, cost=greedy)
    assert (sizes == 1).all()


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.uint64])
def test_nodes_may_have_any_numbers_of_any_kind(dtype: Any) -> None:
    far = 200 if dtype is np.uint8 else 10**12
    nodes = (np.arange(len(SIZES)) % 3 == 0).astype(dtype) * dtype(far)
    groups = Groups(samples=nodes, workers=np.array([0, far, 0, 0], dtype=dtype))
    planner = Planner(SIZES, PlanConfig(batch_size=16, randomness="window:4", workers=4), groups)
    plans = planner.plans(0, 0, planner.steps, Speeds.equal(4))
    assert sorted(np.concatenate([plan.indices for plan in plans]).tolist()) == list(range(len(SIZES)))
    assert all((nodes[plan.share(1)] == far).all() for plan in plans)


def test_fewer_samples_than_workers_in_the_last_step() -> None:
    planner = Planner(np.arange(1.0, 1028.0), PlanConfig(batch_size=1024))
    for speeds in (Speeds.equal(512), Speeds(alpha=np.linspace(0, 1, 512), beta=np.linspace(0.5, 2, 512))):
        last = planner.plan(0, 1, speeds)
        assert (last.counts.sum(), last.counts.max()) == (3, 1)


@pytest.mark.parametrize("ratio", [1e9, 1e15])
@pytest.mark.parametrize("kind", ["static", "dynamic", "guided"])
def test_a_sample_a_billion_times_another_stands_alone(kind: Any, ratio: float) -> None:
    sizes = np.r_[np.ones(63), ratio]
    plan = Planner(sizes, PlanConfig(batch_size=64, kind=kind)).plan(0, 0, Speeds.equal(4))
    holder = int(plan.seconds.argmax())
    assert plan.seconds[holder] <= ratio * 1.001 + 15 if kind != "guided" else plan.counts[holder] == 1


ONES = np.ones(2)
PLANNER = Planner(SIZES, CONFIG)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("sizes are not real", lambda: Planner(["a", "b"], CONFIG)),
        ("sizes are not real", lambda: Planner([1, 2j], CONFIG)),
        ("costs are not real", lambda: Planner(SIZES, CONFIG, cost=lambda sizes: np.asarray(sizes * 1j))),
        ("betas are not real", lambda: PLANNER.plan(0, 0, Speeds(alpha=ONES, beta=np.array(["1", "2"])))),
        ("beta nan", lambda: PLANNER.plan(0, 0, Speeds(alpha=ONES, beta=ONES * np.nan))),
        ("beta nan", lambda: PLANNER.plan(0, 0, Speeds(alpha=ONES, beta=np.array([1.0, None])))),
        ("epoch is 0.5", lambda: PLANNER.plan(0.5, 0, Speeds.equal(2))),  # type: ignore[arg-type]
        ("step is '1'", lambda: PLANNER.plans(0, "1", 1, Speeds.equal(2))),  # type: ignore[arg-type]
        ("count is -1", lambda: PLANNER.plans(0, 0, -1, Speeds.equal(2))),
        ("from 407 to 407", lambda: PLANNER.rebalance(0, 0, np.array([407]), Speeds.equal(2), ONES)),
        ("from -1 to 3", lambda: PLANNER.rebalance(0, 0, np.array([3, -1]), Speeds.equal(2), ONES)),
        ("twice", lambda: PLANNER.rebalance(0, 0, np.array([3, 3]), Speeds.equal(2), ONES)),
        ("float64", lambda: PLANNER.rebalance(0, 0, np.array([3.5]), Speeds.equal(2), ONES)),
        ("3 indices and 2 sizes", lambda: rebalance(np.arange(3), ONES, Speeds.equal(2), ONES)),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(message: str, call: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError, match=message):
        call()
