"""Members are threads of this process of which exactly one runs at a time, in order of rank.

The turn passes on when a member waits for the others. So a training with several members is as deterministic as one
with a single member, torch's default generator included: every member has its own stream of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError, ProcessError
from chronos_worker.clan.transport.base import T

Result = TypeVar("Result")


class Lockstep:
    """One member's end of a :func:`run_members`."""

    def __init__(self, group: _Group, rank: int) -> None:
        self._group = group
        self.rank = rank
        self.size = group.size
        self.share = rank

    def together(self, prepare: Callable[[], T], commit: Callable[[T], object], point: str) -> None:
        commit(prepare())

    def mean(self, flat: Tensor) -> None:
        parts = self._group.exchange(self.rank, flat.clone())
        total = parts[0].clone()
        for part in parts[1:]:
            total += part
        flat.copy_(total.div_(self.size))

    def broadcast(self, flat: Tensor, source: int) -> None:
        flat.copy_(self._group.exchange(self.rank, flat.clone())[source])

    def gather(self, value: float) -> list[float]:
        parts = self._group.exchange(self.rank, torch.tensor([value], dtype=torch.float64))
        return [float(part) for part in parts]


def run_members(size: int, body: Callable[[Lockstep], Result]) -> list[Result]:
    """Runs a training script's body once for each member, and returns what each returned, by rank.

    Every member begins with the state that torch's default generator has now; afterwards it has that of member 0.

    Args:
        size: members.
        body: takes the member's transport; to be handed to :class:`Clan`.

    Raises:
        ConfigurationError: no members.
        Exception: whatever a member raised first.
    """
    if size < 1:
        raise ConfigurationError(f"a clan of {size} members was asked for; it must be 1 or more")
    group = _Group(size)
    results: dict[int, Result] = {}

    def run(rank: int) -> None:
        try:
            group.enter(rank)
            results[rank] = body(Lockstep(group, rank))
        except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that asked for the run
            group.fail(error)
        finally:
            group.leave(rank)

    threads = [threading.Thread(target=run, args=(rank,), name=f"clan-{rank}") for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if group.failure is not None:
        raise group.failure
    torch.set_rng_state(group.randomness[0])
    return [results[rank] for rank in range(size)]


class _Group:
    """Whose turn it is, and what the members have said in the running exchange."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.failure: BaseException | None = None
        self.randomness = [torch.get_rng_state() for _ in range(size)]
        self._turn = 0
        self._said: list[Tensor] = []
        self._ended = 0
        self._changed = threading.Condition()

    def enter(self, rank: int) -> None:
        """Waits for the first turn."""
        with self._changed:
            self._wait(rank)

    def exchange(self, rank: int, tensor: Tensor) -> list[Tensor]:
        """Says something, lets the others run, and returns what all have said."""
        with self._changed:
            if self._ended:
                raise ProcessError(
                    f"member {rank} waits for the others, of which {self._ended} ended; all must run the same steps"
                )
            if rank == 0:
                self._said = []
            said = self._said
            said.append(tensor)
            self._pass_on(rank)
            self._wait(rank)
            return said

    def leave(self, rank: int) -> None:
        """The member has ended."""
        with self._changed:
            self._ended += 1
            if self.failure is None:
                self._pass_on(rank)

    def fail(self, error: BaseException) -> None:
        """A member has raised: nobody waits any longer."""
        with self._changed:
            self.failure = self.failure or error
            self._changed.notify_all()

    def _pass_on(self, rank: int) -> None:
        self.randomness[rank] = torch.get_rng_state()
        self._turn = (rank + 1) % self.size
        self._changed.notify_all()

    def _wait(self, rank: int) -> None:
        self._changed.wait_for(lambda: self._turn == rank or self.failure is not None)
        if self.failure is not None:
            raise ProcessError(f"member {rank} stops: another member has failed with {self.failure!r}")
        torch.set_rng_state(self.randomness[rank])
