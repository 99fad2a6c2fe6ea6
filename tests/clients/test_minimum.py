"""Each client alone creates a run and drives it to its minimum, as the coordinator sees it too."""

from __future__ import annotations

import uuid

import numpy as np
import pytest

from chronos_common.codec import decode
from chronos_common.engine import Replica
from chronos_common.tensors import Array
from chronos_common.wire import CoordinatorClient
from tests.support.foreign_clients import ForeignClient

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

TOLERANCE = 1e-6
SEVERAL_CHUNKS = 150_000
"""Float64 values that take more than one chunk of 1 MiB."""


def minimum(dimensions: int) -> Array:
    at = np.arange(dimensions)
    return (1 + at % 5 / 16) * ((7 * at % 11 - 5) / 5)


def run_id(client: ForeignClient) -> str:
    return f"{client.language}-{uuid.uuid4().hex[:8]}"


@pytest.mark.parametrize("dimensions", [1, 8, SEVERAL_CHUNKS])
async def test_the_run_reaches_its_minimum(
    client: ForeignClient, address: str, python_client: CoordinatorClient, dimensions: int
) -> None:
    name = run_id(client)
    ended = await client.run(address, f"--run-id={name}", f"--dimensions={dimensions}")
    assert (ended.status, ended.problem) == (0, "")
    outcome = ended.outcome
    assert outcome["reached"]
    assert outcome["verified"]
    view = await python_client.get_run(name)
    checkout = await python_client.checkout(name)
    assert checkout.snapshot is not None
    assert np.abs(decode(checkout.snapshot)["u"] - minimum(dimensions)).max() <= TOLERANCE
    assert view.status == "stopped"
    assert view.version == outcome["version"] == outcome["accepted"]
    assert view.metrics["outer_loss"] < 1e-6


@pytest.mark.parametrize("client", ["node"], indirect=True)
@pytest.mark.parametrize(
    ("down", "flags"),
    [
        ("int8", ()),
        ("topk10", ("--learning-rate=0.1", "--max-versions=600")),
        ("topk10+int8", ("--learning-rate=0.2", "--max-versions=600")),
    ],
)
async def test_deltas_lead_to_what_the_coordinator_holds(
    client: ForeignClient, address: str, python_client: CoordinatorClient, down: str, flags: tuple[str, ...]
) -> None:
    name = run_id(client)
    ended = await client.run(
        address, f"--run-id={name}", "--dimensions=2000", f"--down={down}", "--quiet", *flags
    )
    assert (ended.status, ended.problem) == (0, "")
    assert ended.outcome["reached"]
    assert ended.outcome["deltas"] >= ended.outcome["version"] - 1
    config = (await python_client.get_run(name)).config
    replica = Replica(config.parameters)
    checkout = await python_client.checkout(name)
    held = replica.take(checkout.version, checkout.digest, checkout.parts)
    assert np.abs(held["u"] - minimum(2000)).max() <= TOLERANCE
