"""The collectives of one epoch: a process group of its own, every wait of which ends when the epoch does."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from chronos_common.errors import PeersLostError
from chronos_common.fleet import Epoch
from chronos_common.runtime import get_logger
from chronos_worker.peers.stores import PrefixStore, TCPStore

POLL_SECONDS: Final = 0.01
"""How often a wait looks whether the epoch still stands."""

T = TypeVar("T")
Work = Any
"""A collective on its way (``torch.distributed.Work``); ``None`` where there is nobody else."""

_log = get_logger(__name__)


class Collectives:
    """Exchanges tensors with the members of an epoch.

    A failed or abandoned epoch is never used again: what is still on its way in it may write into its buffers at
    any time.

    Args:
        epoch: the composition.
        rank: this member's place.
        backend: the process group; ``None`` where this member is alone.
        require: raises ``PeersLostError`` when the epoch is over.
        seconds: longest time that one wait may take.
    """

    def __init__(
        self, epoch: Epoch, rank: int, backend: Any, require: Callable[[Epoch], None], seconds: float
    ) -> None:
        self.epoch = epoch
        self.rank = rank
        self.size = len(epoch.members)
        self._backend = backend
        self._require = require
        self._seconds = seconds
        self._flying: list[Work] = []

    def all_reduce(self, tensor: Tensor) -> Work:
        """Begins to replace a tensor by the sum over all members."""
        return self._begin(lambda group: group.allreduce([tensor], dist.AllreduceOptions()))

    def all_gather(self, out: Tensor, tensor: Tensor) -> Work:
        """Begins to fill the rows of ``out`` with the members' tensors, in order of rank."""
        if self._backend is None:
            out.view(-1).copy_(tensor.view(-1))
        return self._begin(lambda group: group._allgather_base(out.view(-1), tensor.view(-1)))

    def all_to_all(self, out: Tensor, tensor: Tensor) -> Work:
        """Begins to send row i of ``tensor`` to rank i; row j of ``out`` is what rank j sent."""
        if self._backend is None:
            out.copy_(tensor)
        return self._begin(lambda group: group.alltoall_base(out, tensor, [], [], dist.AllToAllOptions()))

    def broadcast(self, tensor: Tensor, source: int) -> Work:
        """Begins to replace a tensor by the one of rank ``source``."""
        options = dist.BroadcastOptions()
        options.rootRank = source
        return self._begin(lambda group: group.broadcast([tensor], options))

    def wait(self, *works: Work) -> None:
        """Returns when collectives are done.

        Raises:
            PeersLostError: a member is gone, the epoch is over, or time is.
        """
        deadline = time.monotonic() + self._seconds
        for work in works:
            if work is not None:
                self._wait(work, deadline)
        for work in works:
            if work in self._flying:
                self._flying.remove(work)

    def gathered(self, numbers: Sequence[int], device: torch.device) -> list[list[int]]:
        """Everybody's numbers, in order of rank."""
        return self.gathering(numbers, device)()

    def gathering(self, numbers: Sequence[int], device: torch.device) -> Callable[[], list[list[int]]]:
        """Begins what :meth:`gathered` does; the result waits for it."""
        own = torch.tensor(numbers, dtype=torch.int64, device=device)
        out = own.new_zeros((self.size, len(numbers)))
        work = self.all_gather(out, own)

        def finish() -> list[list[int]]:
            self.wait(work)
            return [[int(value) for value in row] for row in out.tolist()]

        return finish

    def abandon(self) -> None:
        """Gives the epoch up: nobody waits any more, not even for the process group to notice."""
        backend, self._backend = self._backend, None
        if backend is None:
            return
        if backend.name() == "nccl":
            backend.abort()
        flying, self._flying = self._flying, []
        # Its destructor waits for collectives under way, which end when the sockets of the dead do, or in time.
        # No daemon: an interpreter that ends while C++ holds one of its threads is aborted.
        threading.Thread(target=_outlive, args=(backend, flying), name="peers-abandoned").start()

    # --- parts -----------------------------------------------------------------------------------

    def _begin(self, start: Callable[[Any], Work]) -> Work:
        self._require(self.epoch)
        if self._backend is None:
            return None
        try:
            work = start(self._backend)
        except RuntimeError as error:
            raise self._lost(error) from error
        self._flying.append(work)
        return work

    def _wait(self, work: Work, deadline: float) -> None:
        done = threading.Event()
        if self._backend is not None and self._backend.name() == "nccl":
            self._poll(work, deadline)
        else:
            work.get_future().add_done_callback(lambda _: done.set())
            while not done.wait(POLL_SECONDS):
                self._check(deadline)
        try:
            work.wait()
        except RuntimeError as error:
            raise self._lost(error) from error

    def _poll(self, work: Work, deadline: float) -> None:
        """NCCL's futures are done once a kernel is enqueued: only the device knows when it has run."""
        while not work.is_completed():
            self._check(deadline)
            time.sleep(POLL_SECONDS / 100)

    def _check(self, deadline: float) -> None:
        self._require(self.epoch)
        if time.monotonic() > deadline:
            raise self._lost(TimeoutError(f"a collective took longer than {self._seconds:g} s"))

    def _lost(self, error: Exception) -> PeersLostError:
        reason = str(error).split("\n")[0][:200]
        return PeersLostError(
            f"a collective of epoch {self.epoch.number} failed: {reason}", epoch=self.epoch.number
        )


def enter(
    epoch: Epoch,
    rank: int,
    *,
    device: torch.device,
    host: str,
    require: Callable[[Epoch], None],
    enter_seconds: float,
    collective_seconds: float,
) -> Collectives:
    """Meets the other members of an epoch.

    Args:
        epoch: the composition.
        rank: this member's place.
        device: where the tensors lie: NCCL carries them on CUDA, gloo elsewhere.
        host: this machine's address.
        require: raises ``PeersLostError`` when the epoch is over.
        enter_seconds: how long it may take.
        collective_seconds: how long one collective may take.

    Raises:
        PeersLostError: not all of them came, or the epoch is over.
    """

    def meet() -> Any:
        seconds = timedelta(seconds=enter_seconds)
        address, _, port = epoch.members[0].address.rpartition(":")
        server = TCPStore(address, int(port), is_master=False, timeout=seconds, wait_for_workers=False)
        store = PrefixStore(f"epoch/{epoch.number}", server)
        return _backend(store, rank, len(epoch.members), device, host, enter_seconds, collective_seconds)

    backend = None
    if len(epoch.members) > 1:
        backend = _abandonable(meet, lambda: require(epoch), enter_seconds, epoch.number)
    return Collectives(epoch, rank, backend, require, collective_seconds)


def _backend(
    store: Any, rank: int, size: int, device: torch.device, host: str, enter: float, collective: float
) -> Any:
    if device.type == "cuda":
        options = dist.ProcessGroupNCCL.Options()
        options._timeout = timedelta(seconds=collective)
        return dist.ProcessGroupNCCL(store, rank, size, options)
    gloo = dist.ProcessGroupGloo._Options()  # type: ignore[attr-defined]
    gloo._timeout = timedelta(seconds=max(enter, collective))
    gloo._devices = [dist.ProcessGroupGloo.create_device(hostname=host)]
    return dist.ProcessGroupGloo(store, rank, size, gloo)


def _abandonable(work: Callable[[], T], check: Callable[[], None], seconds: float, number: int) -> T:
    """The result of something that cannot be interrupted, or ``PeersLostError`` when it is not worth the wait."""
    results: queue.SimpleQueue[tuple[T | None, Exception | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put((work(), None))
        except Exception as error:  # noqa: BLE001 - raised by whoever waits
            results.put((None, error))

    threading.Thread(target=run, name=f"peers-meet-{number}").start()
    deadline = time.monotonic() + seconds
    while True:
        check()
        try:
            result, error = results.get(timeout=POLL_SECONDS)
        except queue.Empty:
            if time.monotonic() > deadline:
                error = TimeoutError(f"not all members came within {seconds:g} s")
            else:
                continue
        if error is not None:
            raise PeersLostError(f"epoch {number} did not come about: {error}", epoch=number) from error
        return result  # type: ignore[return-value]


def _outlive(backend: Any, flying: list[Work]) -> None:
    for work in flying:
        try:
            work.wait()
        except RuntimeError as error:
            _log.debug("an abandoned collective ended", problem=str(error)[:200])
    del backend
