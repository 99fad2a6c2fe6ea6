"""One contract for all transports: lockstep threads; gloo process groups and elastic peer groups in threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import torch
from torch import distributed as dist

from chronos_common.errors import ConfigurationError, ProcessError
from chronos_common.fleet import GroupConfig
from chronos_worker.clan import Distributed, Solo, Transport, run_members
from chronos_worker.clan.transport import Elastic
from chronos_worker.clan.transport.flat import buckets, mean_in_place, received
from chronos_worker.clan.transport.gradients import share_gradients
from chronos_worker.peers import PeerConfig, StoreLink
from chronos_worker.peers.state import Snapshot

SIZE = 3


def lockstep(body: Callable[[Transport], Any]) -> list[Any]:
    return run_members(SIZE, body)


def gloo(body: Callable[[Transport], Any]) -> list[Any]:
    """A raw gloo group for each thread: what the ranks of a job have, without their processes."""
    store, results = dist.HashStore(), {}

    def run(rank: int) -> None:
        group = dist.ProcessGroupGloo(store, rank, SIZE, timedelta(seconds=30))
        results[rank] = body(Distributed(group))

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(SIZE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[rank] for rank in range(SIZE)]


class Place:
    """A seat that nobody contests, and nothing to take over."""

    def __init__(self, place: int) -> None:
        self.place = place

    def take(self, address: str, lacking: bool) -> str:
        return ""

    def keep_only(self, names: Sequence[str]) -> None:
        assert len(names) == SIZE

    def capture(self) -> Snapshot:
        return {}, {}

    def restore(self, snapshot: Snapshot) -> None:
        raise AssertionError("all came together")


def elastic(body: Callable[[Transport], Any]) -> list[Any]:
    """An elastic group whose ranks are not the places."""
    store, all_done = torch._C._distributed_c10d.HashStore(), threading.Barrier(SIZE)

    def run(place: int) -> Any:
        link = StoreLink(store, f"w{SIZE - place}", config=GroupConfig(first_members=SIZE))
        transport, seat = Elastic(link, config=PeerConfig(replicas=False)), Place(place)
        transport.join(seat, seat, "start")
        try:
            found = body(transport)
            all_done.wait(30.0)  # who leaves before makes the others meet anew
            return found
        finally:
            transport.leave()

    with ThreadPoolExecutor(SIZE) as pool:
        return list(pool.map(run, range(SIZE)))


@pytest.fixture(params=[lockstep, gloo, elastic])
def together(request: pytest.FixtureRequest) -> Callable[[Callable[[Transport], Any]], list[Any]]:
    found: Callable[[Callable[[Transport], Any]], list[Any]] = request.param
    return found


def test_everyone_knows_its_rank_and_how_many_there_are(together: Any) -> None:
    assert together(lambda transport: (transport.rank, transport.size)) == [
        (rank, SIZE) for rank in range(SIZE)
    ]


def test_the_mean_is_the_same_for_all(together: Any) -> None:
    def body(transport: Transport) -> list[float]:
        flat = torch.arange(4, dtype=torch.float64) + 10.0 * transport.rank
        transport.mean(flat)
        return flat.tolist()

    assert together(body) == [[10.0, 11.0, 12.0, 13.0]] * SIZE


def test_a_broadcast_is_the_sources(together: Any) -> None:
    def body(transport: Transport) -> list[list[float]]:
        found = []
        for source in (2, 0):
            flat = torch.full((2,), float(transport.rank))
            transport.broadcast(flat, source)
            found.append(flat.tolist())
        return found

    assert together(body) == [[[2.0, 2.0], [0.0, 0.0]]] * SIZE


def test_a_gathering_keeps_the_order_and_every_number(together: Any) -> None:
    values = [0.1, float("inf"), -3.0]
    assert together(lambda transport: transport.gather(values[transport.rank])) == [values] * SIZE


def test_tensors_of_several_kinds_go_through_few_vectors(together: Any) -> None:
    def body(transport: Transport) -> Any:
        tensors = [torch.ones(2, 3) * transport.rank, torch.ones(2, dtype=torch.float64) * transport.rank]
        copies = received(tensors, transport, 2)
        mean_in_place(tensors, transport)
        return [tensor.unique().tolist() for tensor in (*tensors, *copies)]

    assert together(body) == [[[1.0], [1.0], [2.0], [2.0]]] * SIZE


def test_a_member_whose_gradients_are_not_finite_is_left_out_by_all(together: Any) -> None:
    def body(transport: Transport) -> Any:
        sick = transport.rank == 1
        gradients = [torch.full((20_000,), 1.0 + transport.rank), torch.ones(2, dtype=torch.float64)]
        gradients[1][0] = float("nan") if sick else 5.0
        share_gradients(gradients, transport)
        return [tensor.tolist()[:2] for tensor in gradients]

    assert together(body) == [[[2.0, 2.0], [5.0, 1.0]]] * SIZE


def test_a_member_alone_hears_itself() -> None:
    flat = torch.tensor([2.0])
    solo = Solo()
    solo.mean(flat)
    solo.broadcast(flat, 0)
    assert flat.tolist() == [2.0]
    assert solo.gather(0.5) == [0.5]


def test_buckets_respect_kind_order_and_limit() -> None:
    tensors = [torch.zeros(3), torch.zeros(2, dtype=torch.float64), torch.zeros(3), torch.zeros(100)]
    found = [[tensor.numel() for tensor in bucket] for bucket in buckets(tensors, limit_bytes=24)]
    assert found == [[3, 3], [2], [100]]


def test_lockstep_members_have_a_stream_of_randomness_each() -> None:
    torch.manual_seed(1)
    alone = torch.rand(2).tolist()

    def body(transport: Transport) -> list[float]:
        first = torch.rand(()).item()
        transport.gather(0.0)
        return [first, torch.rand(()).item()]

    torch.manual_seed(1)
    assert run_members(SIZE, body) == [alone] * SIZE


def test_lockstep_raises_what_a_member_raised_and_frees_the_others() -> None:
    def body(transport: Transport) -> None:
        if transport.rank == 1:
            raise KeyError("mine")
        transport.gather(0.0)

    with pytest.raises(KeyError, match="mine"):
        run_members(SIZE, body)


def test_lockstep_tells_members_that_wait_for_one_that_has_ended() -> None:
    def body(transport: Transport) -> None:
        if transport.rank:
            transport.gather(0.0)

    with pytest.raises(ProcessError, match="ended"):
        run_members(SIZE, body)
    with pytest.raises(ConfigurationError):
        run_members(0, body)


def test_without_a_process_group_the_error_says_what_to_call() -> None:
    with pytest.raises(ConfigurationError, match="init_process_group"):
        Distributed()
