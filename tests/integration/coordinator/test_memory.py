"""The memory and warm starts over gRPC, with a real store."""

from __future__ import annotations

import math
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from chronos_common.engine import RunConfig
from chronos_common.errors import (
    ChronosError,
    ConfigurationError,
    InvalidRequestError,
    MalformedPayloadError,
    MemoryOffError,
    NameMismatchError,
    NonFiniteError,
    PayloadTooLargeError,
    RunExistsError,
    RunNotActiveError,
    RunNotFoundError,
    ShapeMismatchError,
)
from chronos_common.outer import OuterConfig, OuterSpec
from chronos_common.outer.memory import MemoryConfig
from chronos_common.pb.chronos.v1 import memory_pb2 as pb
from chronos_common.pb.chronos.v1.memory_pb2_grpc import MemoryServiceStub
from chronos_common.wire import CoordinatorClient
from chronos_coordinator.app import CoordinatorApp
from tests.support.clients import BUDGET, Committer, app_settings, running
from tests.support.serving import RUN, payload, run_config, value_of


def remembering(**more: Any) -> RunConfig:
    return replace(run_config(max_versions=20), memory=MemoryConfig(**more))


def x(value: float, size: int = 2) -> dict[str, Any]:
    return {"x": np.full(size, value)}


async def publish(app: CoordinatorApp, client: CoordinatorClient, run_id: str, versions: int) -> None:
    """Version after version, each measured."""
    worker = await Committer(client, run_id=run_id).register()
    for version in range(versions):
        await client.checkout(run_id, worker_id="w1", incarnation=worker.incarnation)
        await client.commit(
            run_id,
            worker_id="w1",
            incarnation=worker.incarnation,
            seq=version + 1,
            prev_applied=version,
            base=version,
            payload=payload(0.5 / (1 + version)),
            metrics={"outer_loss": 1.0 / (1 + version)},
        )


async def test_what_a_run_has_seen_is_there_to_ask(app: CoordinatorApp, client: CoordinatorClient) -> None:
    await client.create_run(remembering(), payload(), run_id=RUN)
    await publish(app, client, RUN, 4)
    view = await client.describe_memory(RUN, window=2)
    assert (view.entries, view.counts.stored, view.max_entries) == (4, 4, 1000)
    assert view.counts.predictions == 3
    assert view.mean_cosine == pytest.approx(1.0)
    assert (view.trend.first, view.trend.last) == (1 / 3, 0.25)
    assert (view.trend.best, view.trend.best_version) == (0.25, 3)
    near = await client.retrieve_similar(RUN, k=2, with_arrays=True)
    assert [found.version for found in near] == [3, 2]
    assert near[0].gradient["x"].tolist() == [0.125, 0.125]
    assert not (await client.retrieve_similar(RUN, x(0.0), k=1, metric="cosine"))[0].values
    prediction = await client.predict_gradient(RUN, x(0.0), k=1)
    assert prediction.gradient["x"].tolist() == [0.5, 0.5]
    assert prediction.neighbours == 1


async def test_what_is_told_is_durable_and_steers_the_run(
    app: CoordinatorApp, client: CoordinatorClient
) -> None:
    await client.create_run(remembering(), payload(), run_id=RUN)
    assert await client.store_memory(RUN, x(3.0), x(1.0), 0.25, source="notebook") == 1
    assert await client.forbid_region(RUN, x(-0.5), radius=0.1, reason="burst") == 1
    await publish(app, client, RUN, 1)  # a step to -.5, of which half is taken
    assert value_of((await client.checkout(RUN)).snapshot) == -0.25
    view = await client.describe_memory(RUN)
    assert view.forbidden == ((0, 0.1, "burst"),)
    assert view.counts.shortened == 1
    report = await client.verify_run(RUN)
    assert report.clean


HOSTILE: list[tuple[Any, Any, float, type[ChronosError]]] = [
    (x(math.nan), x(1.0), 0.0, NonFiniteError),
    (x(1.0), x(math.inf), 0.0, NonFiniteError),
    (x(1.0), x(1.0), math.nan, NonFiniteError),
    ({}, x(1.0), 0.0, NameMismatchError),
    (x(1.0), {}, 0.0, NameMismatchError),
    (x(1.0, size=3), x(1.0), 0.0, ShapeMismatchError),
    (x(1.0, size=2000), x(1.0), 0.0, PayloadTooLargeError),
]


@pytest.mark.parametrize(("values", "gradient", "loss", "error"), HOSTILE)
async def test_what_cannot_be_remembered_is_refused_by_type_and_changes_nothing(
    client: CoordinatorClient, values: Any, gradient: Any, loss: float, error: type[ChronosError]
) -> None:
    await client.create_run(remembering(), payload(), run_id=RUN)
    before = await client.describe_memory(RUN)
    with pytest.raises(error):
        await client.store_memory(RUN, values, gradient, loss)
    if not math.isnan(loss) and gradient is not HOSTILE[1][1] and gradient:
        with pytest.raises(error):
            await client.forbid_region(RUN, values)
    after = await client.describe_memory(RUN)
    assert (after.entries, after.counts) == (before.entries, before.counts)
    assert (await client.verify_run(RUN)).entries == 1


async def test_bytes_that_are_no_payload_and_questions_that_make_no_sense(
    app: CoordinatorApp, client: CoordinatorClient
) -> None:
    await client.create_run(remembering(), payload(), run_id=RUN)
    for radius in (-1.0, math.inf, math.nan):
        with pytest.raises((InvalidRequestError, NonFiniteError)):
            await client.forbid_region(RUN, x(1.0), radius=radius)
    with pytest.raises(InvalidRequestError, match="distance, cosine"):
        await client.retrieve_similar(RUN, metric="manhattan")
    with pytest.raises(MalformedPayloadError):
        await client.call(
            client.memory().StoreMemory, pb.StoreMemoryRequest(run_id=RUN, values=b"x", gradient=b"")
        )
    async with grpc.aio.insecure_channel(app.address) as channel:
        answer = await MemoryServiceStub(channel).PredictGradient(pb.PredictGradientRequest(run_id=RUN))
        assert (answer.neighbours, answer.HasField("loss"), answer.HasField("nearest")) == (0, False, False)


async def test_runs_without_one_ended_ones_and_those_that_are_not_there(client: CoordinatorClient) -> None:
    await client.create_run(run_config(), payload(), run_id="plain")
    for ask in (
        client.describe_memory("plain"),
        client.store_memory("plain", x(1.0), x(1.0), 0.0),
        client.predict_gradient("plain"),
    ):
        with pytest.raises(MemoryOffError, match="plain"):
            await ask
    await client.create_run(remembering(), payload(), run_id=RUN)
    await client.stop_run(RUN)
    with pytest.raises(RunNotActiveError):
        await client.forbid_region(RUN, x(1.0))
    assert (await client.describe_memory(RUN)).entries == 0
    with pytest.raises(RunNotFoundError):
        await client.describe_memory("nowhere")


async def test_policies_survive_the_wire_and_bad_ones_are_refused(client: CoordinatorClient) -> None:
    policy = MemoryConfig(
        max_entries=7,
        max_bytes=9999,
        decay=0.5,
        neighbours=3,
        sketch_dimensions=4,
        half_after=2,
        forbidden_radius=0.25,
        max_forbidden=5,
        forbidden="report",
        seed=11,
    )
    config = replace(run_config(), memory=policy)
    assert (await client.create_run(config, payload(), run_id=RUN)).config == config
    with pytest.raises(ConfigurationError, match="max_bytes"):
        await client.create_run(replace(run_config(), memory=policy).__class__(
            parameters=config.parameters, memory=MemoryConfig(max_bytes=1)
        ), payload(), run_id="other")  # fmt: skip


async def test_the_memory_is_measured(tmp_path: Path) -> None:
    async with (
        running(app_settings(tmp_path, metrics_port=0)) as app,
        CoordinatorClient(app.address, deadlines=BUDGET) as client,
    ):
        await client.create_run(remembering(max_entries=2), payload(), run_id=RUN)
        await publish(app, client, RUN, 4)
        url = f"http://127.0.0.1:{app.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=5.0) as answer:  # noqa: ASYNC210  # a page of this process
            lines = dict(
                line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if "memory" in line
            )
        assert float(lines[f'chronos_memory_entries{{run="{RUN}"}}']) == 2
        assert float(lines[f'chronos_memory_bytes{{run="{RUN}"}}']) > 0
        assert float(lines[f'chronos_memory_cosine{{run="{RUN}"}}']) == pytest.approx(1.0)
        assert float(lines[f'chronos_memory_events{{event="evicted",run="{RUN}"}}']) == 2


# --- warm starts -------------------------------------------------------------------------------------


async def finish(app: CoordinatorApp, client: CoordinatorClient, run_id: str, versions: int = 3) -> None:
    await client.create_run(run_config(max_versions=versions), payload(), run_id=run_id)
    await publish(app, client, run_id, versions)


async def test_a_run_begins_where_another_one_ended(app: CoordinatorApp, client: CoordinatorClient) -> None:
    await finish(app, client, "source")
    ended = await client.checkout("source")
    view = await client.create_run(run_config(), payload(), run_id=RUN, warm_start="source")
    assert (view.version, view.digest, view.warm_from) == (0, ended.digest, "source")
    assert value_of((await client.checkout(RUN)).snapshot) == value_of(ended.snapshot) != 0.0
    again = await client.create_run(run_config(), payload(), run_id=RUN, warm_start="source")
    assert again.digest == ended.digest
    with pytest.raises(RunExistsError):
        await client.create_run(run_config(), payload(1.0), run_id=RUN, warm_start="source")
    assert (await client.verify_run(RUN)).clean


async def test_auto_takes_the_best_finished_run_or_begins_cold(
    app: CoordinatorApp, client: CoordinatorClient
) -> None:
    cold = await client.create_run(run_config(), payload(), run_id="cold", warm_start="auto")
    assert cold.warm_from == ""
    await finish(app, client, "short", 2)
    await finish(app, client, "long", 4)
    view = await client.create_run(run_config(), payload(), run_id=RUN, warm_start="auto")
    assert view.warm_from == "long"
    offers = await client.find_warm_starts(run_config())
    assert [(found.run_id, found.outer_loss) for found in offers] == [("long", 0.25), ("short", 0.5)]


async def test_a_source_that_cannot_be_used_is_refused_with_the_reason(
    app: CoordinatorApp, client: CoordinatorClient
) -> None:
    await finish(app, client, "source")
    await client.create_run(run_config(), payload(), run_id="empty")
    bounded = RunConfig(
        parameters=(OuterSpec(name="x", shape=(2,), dtype="float64", lower=-9.0),),
        outer=OuterConfig(name="sgd"),
    )
    with pytest.raises(ConfigurationError, match=r"has lower None, here it is -9\.0"):
        await client.create_run(bounded, payload(), run_id=RUN, warm_start="source")
    with pytest.raises(ConfigurationError, match="no version"):
        await client.create_run(run_config(), payload(), run_id=RUN, warm_start="empty")
    with pytest.raises(RunNotFoundError):
        await client.create_run(run_config(), payload(), run_id=RUN, warm_start="nowhere")
    with pytest.raises(RunNotFoundError):
        await client.get_run(RUN)
    (refused,) = await client.find_warm_starts(bounded)
    assert refused.similarity == 0.0
    assert "lower" in refused.problem


async def test_the_optimiser_goes_along_where_that_is_wanted(
    app: CoordinatorApp, client: CoordinatorClient
) -> None:
    adam = replace(run_config(max_versions=3), outer=OuterConfig(name="adam"))
    await client.create_run(adam, payload(), run_id="source")
    await publish(app, client, "source", 3)
    steps = {}
    for keep in (False, True):
        name = f"kept-{keep}"
        await client.create_run(adam, payload(), run_id=name, warm_start="source", warm_start_optimizer=keep)
        await publish(app, client, name, 1)
        steps[keep] = value_of((await client.checkout(name)).snapshot)
    assert steps[False] != steps[True]
