"""Levels and simplices under compressed downlinks: what waits costs nothing, what is owed is not lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chronos_common.codec import dense_bytes, encode
from chronos_common.engine import Created, RunConfig, RunEngine, from_parts, replay, start, to_parts, verify
from chronos_common.outer import OuterConfig, OuterSpec
from chronos_common.tensors import digest
from chronos_common.versions import RoundConfig
from tests.support.levels import levels, publications, replica_of, take
from tests.support.runs import RUN, Client, compressed

SIZE = 4096


def wide(outer: OuterConfig, down: str = "topk10+int8") -> RunConfig:
    """A slow and a fast vector of the same size."""
    return RunConfig(
        parameters=tuple(OuterSpec(name=n, shape=(SIZE,), dtype="float32") for n in ("fast", "slow")),
        outer=outer,
        rounds=RoundConfig(quorum=1),
        compression=compressed(down),
    )


def wide_client(run_config: RunConfig) -> Client:
    client = Client.__new__(Client)
    zeros = {spec.name: np.zeros(spec.shape, np.float32) for spec in run_config.specs}
    first = Created(config=run_config.to_json(), payload=encode("identity", zeros))
    client.engine, client.events, client.now = RunEngine(RUN, start(first)), [first], 0.0
    client.checkout("a")
    return client


def noise(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=SIZE).astype(np.float32) for name in ("fast", "slow")}


@pytest.mark.parametrize("down", ["topk10+int8", "int8", "topk10"])
def test_deltas_of_parameters_that_wait_cost_nothing_and_the_flush_has_saved_for(down: str) -> None:
    client = wide_client(wide(levels(10, pattern="slow"), down))
    replica = replica_of(client)
    sizes = []
    for version in range(1, 31):
        client.commit("a", noise(version))
        answer, values = take(client, replica)
        sizes.append(sum(len(part.payload) for part in answer.parts))
        assert digest(values) == digest(client.engine.state.published)
        if version % 10:
            before = client.engine.state.published["slow"]
            assert before.tobytes() == values["slow"].tobytes()
    alone = wide_client(wide(levels(1, pattern="slow"), down))
    for version in range(1, 31):
        alone.commit("a", noise(version))
    always = [len(event.payload or b"") for event in publications(alone)]
    quiet, flushes = [s for n, s in enumerate(sizes, 1) if n % 10], sizes[9::10]
    assert max(quiet) < 0.52 * max(always) + 100  # half of the parameters, and the head of an empty array
    assert sum(sizes) <= 1.05 * sum(always)
    assert max(flushes) < dense_bytes(client.engine.config.specs)
    assert verify(client.events).clean


def test_what_a_flush_left_out_goes_with_the_next_one() -> None:
    """Error feedback over a level's own clock: nothing of it is lost, and nothing travels in between."""
    client = wide_client(wide(levels(4, pattern="slow")))
    zeros = {name: np.zeros(SIZE, np.float32) for name in ("fast", "slow")}
    first = {**zeros, "slow": np.cos(np.arange(SIZE, dtype=np.float32))}
    owed = []
    for version in range(1, 41):
        client.commit("a", first if version == 1 else zeros)
        state = client.engine.state
        owed.append(float(np.abs(state.master["slow"] - state.published["slow"]).sum()))
    flushes = owed[3::4]
    assert owed[:3] == [0, 0, 0]
    assert flushes[0] > 0  # 40 % of the values
    assert flushes[3] < 0.02 * flushes[0]
    for begin in range(3, 36, 4):
        assert len(set(owed[begin : begin + 4])) == 1
    assert verify(client.events).clean


def test_the_guard_watches_only_what_steps() -> None:
    """What int8 left of a large slow step is large beside the fast ones; nothing is slowed down for it."""
    client = wide_client(wide(levels(20, pattern="slow"), "int8"))
    for version in range(1, 60):
        scale = {"fast": np.float32(1e-3), "slow": np.float32(1e3)}
        client.commit("a", {name: array * scale[name] for name, array in noise(version).items()})
        guard = client.engine.state.guard
        assert guard is not None
        assert (guard.above, guard.rate_scale) == (0, 1.0)
        assert guard.ratio < 0.1


def test_a_run_is_replayed_and_restored_in_mid_period() -> None:
    client = wide_client(
        wide(levels(7, pattern="slow", optimizer=OuterConfig(name="adamw"), target_change=0.3))
    )
    for version in range(1, 25):
        client.commit("a", noise(version))
    texts = [to_parts(event) for event in client.events]
    again = replay(from_parts(*parts) for parts in texts)
    assert again.journal == client.engine.state.journal
    assert digest(again.master) == digest(client.engine.state.master)
    assert again.optimizer_state.digest() == client.engine.state.optimizer_state.digest()


def test_a_simplex_holds_through_compressed_versions() -> None:
    run_config = RunConfig(
        parameters=(OuterSpec(name="mix", shape=(8, 512), dtype="float32", simplex=True),),
        outer=OuterConfig(name="exponentiated_gradient", learning_rate=0.5),
        rounds=RoundConfig(quorum=1),
        compression=compressed("topk10+int8"),
    )
    assert RunConfig.from_json(run_config.to_json()) == run_config
    uniform = {"mix": np.full((8, 512), 1 / 512, np.float32)}
    client = Client.__new__(Client)
    first = Created(config=run_config.to_json(), payload=encode("identity", uniform))
    client.engine, client.events, client.now = RunEngine(RUN, start(first)), [first], 0.0
    client.checkout("a")
    replica = replica_of(client)
    for seed in range(20):
        gradient = np.random.default_rng(seed).normal(size=(8, 512)).astype(np.float32)
        client.commit("a", {"mix": gradient})
        _, values = take(client, replica)
        for rows in (values["mix"], client.engine.state.master["mix"]):
            assert (rows >= 0).all()
            np.testing.assert_allclose(rows.sum(axis=-1), 1.0, rtol=1e-5)
    assert any(event.is_delta for event in publications(client))
    assert verify(client.events).clean
