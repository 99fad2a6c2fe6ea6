"""Peer groups in threads of one process, over real gloo groups: means, repairs, joiners."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError, PeersLostError, UnreachableError
from chronos_common.fleet import FleetConfig, GroupConfig
from chronos_common.wire import DeadlineConfig
from chronos_worker.peers import ModuleState, PeerConfig, PeerGroup, StoreLink
from chronos_worker.peers.buckets import layout
from chronos_worker.peers.state import checksum
from tests.support.polling import poll

BUDGET = DeadlineConfig(budget_seconds=5.0)
FLEET = FleetConfig(heartbeat_seconds=0.2, timeout_seconds=5.0)


def hash_store() -> Any:
    return torch._C._distributed_c10d.HashStore()


class Trainee:
    """A member with a model that differs from the others' at first."""

    def __init__(self, store: Any, name: str, first: int, **config: Any) -> None:
        torch.manual_seed(ord(name))
        self.name = name
        self.model = torch.nn.Linear(3, 2)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.1)
        self.group = PeerGroup(
            StoreLink(store, name, config=GroupConfig(first_members=first, grace_seconds=2.0), fleet=FLEET),
            state=ModuleState(self.model, self.optimizer),
            config=PeerConfig(**{"bucket_bytes": 16, **config}),
            deadlines=BUDGET,
        )

    def gradients(self) -> list[Tensor]:
        for number, parameter in enumerate(self.model.parameters()):
            parameter.grad = torch.full_like(parameter, ord(self.name) + number + self.group.steps)
        return [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]

    def step(self) -> None:
        self.group.step(self.gradients, self.optimizer.step)

    @property
    def digest(self) -> tuple[int, int]:
        return checksum(ModuleState(self.model, self.optimizer).capture()[0])


@contextmanager
def trainees(names: str, **config: Any) -> Iterator[tuple[list[Trainee], Callable[..., list[Any]], Any]]:
    """Members, a way to let all of them do something at once, and their store."""
    store = hash_store()
    everyone = [Trainee(store, name, len(names), **config) for name in names]
    with ThreadPoolExecutor(len(names) + 1) as pool:

        def together(work: Callable[[Trainee], Any], *others: Trainee) -> list[Any]:
            return [
                future.result(30.0) for future in [pool.submit(work, one) for one in (*everyone, *others)]
            ]

        try:
            together(lambda one: one.group.join())
            yield everyone, together, store
        finally:
            for one in everyone:
                one.group.leave()


@pytest.mark.parametrize("compression", ["none", "bf16", "int8"])
def test_a_mean_is_that_of_all_members_and_the_same_everywhere(compression: str) -> None:
    generator = torch.Generator().manual_seed(1)
    given = {
        name: [
            torch.randn(7, 300, generator=generator),
            torch.randn(40, 30, generator=generator).t(),
            torch.randn(5, generator=generator, dtype=torch.float64),
            torch.randn((), generator=generator),
        ]
        for name in "abc"
    }
    wanted = [torch.stack(tensors).mean(dim=0) for tensors in zip(*given.values(), strict=True)]
    with trainees("abc", compression=compression, bucket_bytes=4000) as (_, together, _):
        means: dict[str, list[Tensor]] = {}

        def reduce(one: Trainee) -> None:
            means[one.name] = [tensor.clone() for tensor in given[one.name]]
            one.group.all_reduce_mean(means[one.name])

        together(reduce)
    for name in "bc":
        assert all(map(torch.equal, means["a"], means[name]))
    tolerance = {"none": 1e-6, "bf16": 0.03, "int8": 0.05}[compression]
    for mean, exact in zip(means["a"], wanted, strict=True):
        torch.testing.assert_close(mean, exact, atol=tolerance, rtol=0.0)


@pytest.mark.parametrize("compression", ["bf16", "int8"])
def test_what_a_compressed_mean_leaves_out_is_not_lost(compression: str) -> None:
    value = torch.linspace(-1.0, 1.0, 1000) ** 3
    rounds = 10
    with trainees("ab", compression=compression, bucket_bytes=4000) as (_, together, _):

        def total(one: Trainee) -> Tensor:
            found = torch.zeros_like(value)
            for _ in range(rounds):
                mean = [value * (1.0 if one.name == "a" else 0.3)]
                one.group.all_reduce_mean(mean)
                found += mean[0]
            return found

        found = together(total)[0]
    exact = rounds * 0.65 * value
    once = 0.004 if compression == "bf16" else 0.008
    assert (found - exact).abs().max() < 3 * once  # not ten times


def test_a_gradient_that_is_not_finite_is_everybodys_to_see_and_not_for_ever() -> None:
    with trainees("ab", compression="int8") as (_, together, _):

        def twice(one: Trainee) -> list[bool]:
            bad = [torch.full((10,), float("nan") if one.name == "b" else 1.0)]
            good = [torch.ones(10)]
            one.group.all_reduce_mean(bad)
            one.group.all_reduce_mean(good)
            return [bool(bad[0].isnan().all()), bool((good[0] - 1.0).abs().max() < 0.1)]

        assert together(twice) == [[True, True], [True, True]]


def test_what_one_kind_of_mean_owes_is_not_added_to_another() -> None:
    with trainees("ab", compression="int8", bucket_bytes=1 << 20) as (_, together, _):

        def work(one: Trainee) -> list[bool]:
            for size in (1000, 1000):
                one.group.step(lambda size=size: [torch.linspace(-1e3, 1e3, size) ** 3])  # type: ignore[misc]
            means = [[torch.ones(1000)], [torch.ones(7)], [torch.ones(1000)]]
            for mean in means:
                one.group.all_reduce_mean(mean)
            return [bool((mean[0] - 1.0).abs().max() < 0.1) for mean in means]

        assert together(work) == [[True] * 3] * 2


@pytest.mark.parametrize(
    "odd",
    [
        [torch.ones(1000)],
        [torch.ones(2, 5)],
        [torch.ones(10, dtype=torch.float64)],
        [torch.ones(10), torch.ones(10)],
        [],
    ],
    ids=["longer", "shape", "dtype", "number", "none"],
)
def test_tensors_that_differ_between_members_are_a_typed_error_on_all(odd: list[Tensor]) -> None:
    with trainees("abc") as (everyone, together, _):

        def work(one: Trainee) -> list[int]:
            with pytest.raises(ConfigurationError, match="different numbers, shapes"):
                one.group.step(lambda: odd if one.name == "b" else [torch.ones(10)])
            one.step()  # and they can go on
            return [one.group.steps, one.group.epoch.number]

        assert together(work) == [[1, everyone[0].group.epoch.number]] * 3
        assert len({one.digest for one in everyone}) == 1


def test_a_member_that_cannot_apply_a_step_is_brought_up_to_date_and_stops_nobody() -> None:
    with trainees("abc") as (everyone, together, _):

        def work(one: Trainee) -> None:
            def fail() -> None:
                raise FloatingPointError

            if one.name == "b":
                with pytest.raises(FloatingPointError):
                    one.group.step(one.gradients, fail)
            while one.group.steps < 3:
                one.step()

        together(work)
        assert [one.group.steps for one in everyone] == [3, 3, 3]
        assert len({one.digest for one in everyone}) == 1


def test_replicas_begin_and_stay_equal_bit_for_bit() -> None:
    with trainees("abc") as (everyone, together, _):
        together(lambda one: [one.step() for _ in range(3)])
        assert len({one.digest for one in everyone}) == 1
        assert [one.group.steps for one in everyone] == [3, 3, 3]


def cut_short(one: Trainee) -> None:
    """This member never hears that the step was prepared everywhere, as when a peer dies at that moment."""
    agree = one.group._agree

    def lost(collectives: Any) -> bool:
        agree(collectives)
        one.group._agree = agree  # type: ignore[method-assign]
        raise PeersLostError("a peer was lost in the worst moment")

    one.group._agree = lost  # type: ignore[method-assign]


@pytest.mark.parametrize("replicas", [True, False])
def test_a_step_that_only_some_have_applied_is_applied_by_the_others(replicas: bool) -> None:
    with trainees("abc", replicas=replicas) as (everyone, together, _):
        together(lambda one: one.step())
        before = [one.digest for one in everyone]
        assert len(set(before)) == (1 if replicas else 3)
        applied: list[str] = []
        cut_short(everyone[1])

        def count(one: Trainee) -> None:
            for _ in range(2):

                def apply() -> None:
                    applied.append(one.name)
                    one.optimizer.step()

                one.group.step(one.gradients, apply)

        together(count)
        # Nobody applied a step twice, nobody left one out, and the members hold what they would have held.
        assert sorted(applied) == sorted("abc" * 2)
        assert [one.group.steps for one in everyone] == [3, 3, 3]
        assert {one.group.epoch.number for one in everyone} == {2}
        with trainees("abc", replicas=replicas) as (undisturbed, together_again, _):
            together_again(lambda one: [one.step() for _ in range(3)])
            for one, same in zip(everyone, undisturbed, strict=True):
                if (
                    not replicas
                ):  # which of them is rank 0, and gives its start to the others, is a matter of chance
                    assert one.digest == same.digest
        assert len({one.digest for one in everyone}) == (1 if replicas else 3)


def test_replicas_that_differ_are_found_out_and_repaired() -> None:
    with trainees("abc") as (everyone, together, _):
        together(lambda one: one.step())
        spoilt = next(one for one in everyone if one.group.rank == 1)
        with torch.no_grad():
            spoilt.model.weight[0, 0] += 1.0
        cut_short(everyone[0])
        together(lambda one: [one.step() for _ in range(2)])
        assert len({one.digest for one in everyone}) == 1


def test_a_joiner_is_given_model_optimizer_and_step_and_disturbs_nobody() -> None:
    with trainees("ab") as (everyone, together, store):
        together(lambda one: [one.step() for _ in range(2)])
        joiner = Trainee(store, "z", 2)
        joins = threading.Thread(target=joiner.group.join)
        joins.start()
        try:
            poll(lambda: all(one.group._watching().grown(one.group.epoch) for one in everyone), "growth")
            together(lambda one: one.step())  # in the old epoch, to its end
            assert [one.group.steps for one in everyone] == [3, 3]
            together(lambda one: [one.step() for _ in range(2)], joiner_when(joiner, joins))
            assert joiner.group.members[-1] == "z"
            assert len({one.digest for one in (*everyone, joiner)}) == 1
            assert [one.group.steps for one in (*everyone, joiner)] == [5, 5, 5]
        finally:
            joins.join(30.0)
            joiner.group.leave()


def joiner_when(joiner: Trainee, joins: threading.Thread) -> Any:
    """The joiner, whose first call waits until it has joined."""

    class Joined:
        def step(self) -> None:
            joins.join(30.0)
            joiner.step()

    return Joined()


def test_who_leaves_is_not_waited_for() -> None:
    with trainees("abc") as (everyone, together, _):
        together(lambda one: one.step())
        everyone[2].group.leave()
        remaining = everyone[:2]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda one: one.step(), remaining))
        assert [one.group.size for one in remaining] == [2, 2]
        assert {one.group.steps for one in remaining} == {2}


def test_one_member_alone_needs_no_process_group() -> None:
    with trainees("a", compression="int8") as (everyone, together, _):
        together(lambda one: one.step())
        assert (everyone[0].group.rank, everyone[0].group.size, everyone[0].group.steps) == (0, 1, 1)


def test_a_store_listens_where_it_is_told_to_and_says_so_when_it_cannot() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port {port}"):
            Trainee(hash_store(), "a", 1, store_port=port).group.join()
    with Trainee(hash_store(), "a", 1, store_port=port).group:
        socket.create_connection(("127.0.0.1", port)).close()


def test_too_few_members_is_an_error_in_the_end() -> None:
    lonely = Trainee(hash_store(), "a", 2)
    lonely.group.config = PeerConfig(give_up_seconds=0.2)
    with pytest.raises(UnreachableError, match="too few members"):
        lonely.group.join()


def test_what_has_no_mean_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="tensor 1"):
        layout([torch.ones(2), torch.ones(2, dtype=torch.int64)], 1024)


def test_buckets_cover_every_number_once() -> None:
    tensors = [torch.ones(10), torch.ones(0), torch.ones(3, 5).t(), torch.ones(4, dtype=torch.float64)]
    buckets = layout(tensors, 32)
    assert all(bucket.numel * bucket.dtype.itemsize <= 64 for bucket in buckets)
    covered = sorted(piece for bucket in buckets for piece in bucket.pieces)
    assert covered == [(0, 0, 8), (0, 8, 10), (2, 0, 15), (3, 0, 4)]


@pytest.mark.parametrize(
    "changes",
    [
        {"compression": "zip"},
        {"bucket_bytes": 0},
        {"max_attempts": 0},
        {"replicas": 1},
        {"store_port": 70_000},
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        PeerConfig(**changes)
