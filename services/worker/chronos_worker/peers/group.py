"""``PeerGroup``: several processes that train together, and go on without those that die."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError, PeersLostError
from chronos_common.fleet import Epoch
from chronos_common.runtime import get_logger
from chronos_common.wire import DeadlineConfig
from chronos_worker.peers.buckets import FlatBuffers, layout
from chronos_worker.peers.catching_up import Companion, Standing, catch_up
from chronos_worker.peers.collectives import Collectives, enter
from chronos_worker.peers.config import PeerConfig, collective_seconds, enter_seconds, epoch_seconds
from chronos_worker.peers.likeness import compare
from chronos_worker.peers.links import GroupLink
from chronos_worker.peers.reductions import Reduction, make_reduction
from chronos_worker.peers.state import PeerState
from chronos_worker.peers.stores import TCPStore
from chronos_worker.peers.watching import Watcher

T = TypeVar("T")

_log = get_logger(__name__)


class PeerGroup:
    """One member of an elastic group; a context manager that joins and leaves.

    ::

        with PeerGroup(link, state=ModuleState(model, optimizer)) as group:
            while group.steps < 1000:
                group.step(gradients, optimizer.step)

    Never wrap the model in ``DistributedDataParallel``: it has its own idea of who belongs, and broadcasts rank 0's
    weights.

    Args:
        link: to whoever keeps the group.
        state: what joiners take over; ``None`` if they need nothing.
        config: how tensors are exchanged.
        deadlines: the one budget that every time limit follows from.
        device: where the tensors lie.
        companion: has more to say when the members of an epoch meet.
    """

    def __init__(
        self,
        link: GroupLink,
        *,
        state: PeerState | None = None,
        config: PeerConfig | None = None,
        deadlines: DeadlineConfig | None = None,
        device: torch.device | str = "cpu",
        companion: Companion | None = None,
    ) -> None:
        self.config = PeerConfig() if config is None else config
        self.steps = 0
        """Steps that are applied; set it before joining to go on from a checkpoint."""
        self.epoch = Epoch()
        """The composition that this member is in, or was in last."""
        self._link = link
        self._state, self._companion = state, companion
        self._deadlines = DeadlineConfig() if deadlines is None else deadlines
        self._device = torch.device(device)
        self._reduction = make_reduction(self.config.compression)
        # What a step's sums leave out belongs to gradients, and to nothing else that is averaged.
        self._outside = make_reduction(self.config.compression)
        self._fresh = True
        self._prepared: Callable[[], None] | None = None
        self._collectives: Collectives | None = None
        self._buffers: FlatBuffers | None = None
        self._store: TCPStore | None = None
        self._watcher: Watcher | None = None

    # --- membership ------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.join()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def join(self) -> None:
        """Joins, and returns when this member is in an epoch and up to date.

        Raises:
            UnreachableError: there were too few members for too long.
            ConfigurationError: its store cannot listen.
            ChronosError: the keeper of the group refuses this member.
        """
        if self._watcher is not None:
            raise ConfigurationError("this member has joined already; make another PeerGroup")
        self._store = self._own_store()
        self._watcher = Watcher(self._link, f"{self.config.host}:{self._store.port}")
        try:
            self._watcher.start()
            self._settle()
        except BaseException:
            self.leave()
            raise

    def _own_store(self) -> TCPStore:
        try:
            return TCPStore(
                self.config.host,
                self.config.store_port,
                is_master=True,
                wait_for_workers=False,
                timeout=timedelta(seconds=enter_seconds(self._deadlines, self.config)),
            )
        except RuntimeError as error:
            raise ConfigurationError(
                f"this member's store cannot listen on {self.config.host}, port {self.config.store_port}: {error}; "
                "every group on a machine needs a port of its own, or 0"
            ) from error

    def leave(self) -> None:
        """Leaves; the others go on without this member."""
        if self._watcher is not None:
            self._watcher.close()
        if self._collectives is not None:
            self._collectives.abandon()
            self._collectives = None

    @property
    def rank(self) -> int:
        """This member's place in the epoch that it is in, or was in last."""
        rank = self.epoch.rank(self._watching().peer)
        if rank is None:
            raise ConfigurationError("this member has been in no epoch yet; join first")
        return rank

    @property
    def size(self) -> int:
        """Members of the epoch that this one is in, or was in last."""
        return len(self.epoch.members)

    @property
    def members(self) -> tuple[str, ...]:
        """Names of the members, in order of rank."""
        return tuple(member.name for member in self.epoch.members)

    # --- work ------------------------------------------------------------------------------------

    def step(
        self, gradients: Callable[[], Sequence[Tensor]], apply: Callable[[], object] = lambda: None
    ) -> None:
        """One step of data-parallel training: everybody's mean gradient, applied by everybody or by nobody.

        When a member dies the living do the step again. After a return ``steps`` is larger by one at least: a
        member that fell behind may find itself further on, in the state of the others.

        Args:
            gradients: computes this member's gradients, say into ``parameter.grad``; the tensors become their
                means. Asked again when the state has changed under way.
            apply: takes the step, say ``optimizer.step``.

        Raises:
            PeersLostError: the step failed ``max_attempts`` times.
            UnreachableError: there were too few members for too long.
            ConfigurationError: members gave tensors of different numbers, shapes or dtypes, or are at different
                steps; all of them hear of it, and nothing is applied.
        """
        held: tuple[int, Sequence[Tensor]] | None = None

        def prepare(collectives: Collectives) -> tuple[Sequence[Tensor], list[Tensor], int]:
            nonlocal held
            if held is None or held[0] != self.steps:
                held = (self.steps, gradients())
            # The gradients stay as they are until the step is certain: it may have to be done again.
            return held[1], self._sums(held[1], collectives, self._reduction), collectives.size

        def commit(result: tuple[Sequence[Tensor], list[Tensor], int]) -> None:
            self._take(*result, self._reduction)
            apply()

        self.transact(prepare, commit)

    def transact(self, prepare: Callable[[Collectives], T], commit: Callable[[T], object]) -> None:
        """One step of any kind.

        Args:
            prepare: uses the epoch's collectives; changes nothing, since it may be called again, in another epoch.
            commit: applies the result, without collectives. Called by all members or by none.

        Raises:
            PeersLostError, UnreachableError: as :meth:`step`.
        """
        began = self.steps
        failures = 0
        while self.steps == began:
            collectives = self._settle()
            if self.steps != began:
                return
            try:
                result = prepare(collectives)
                self._prepared = partial(_apply_result, commit, result)
                grown = self._agree(collectives)
            except PeersLostError as error:
                failures += 1
                if failures >= self.config.max_attempts:
                    raise
                self._give_up(collectives, error)
                continue
            except ConfigurationError:
                self._prepared = None
                raise
            self._apply_or_fall_behind(collectives)
            if grown:
                self._collectives = None
                collectives.abandon()

    def all_reduce_mean(self, tensors: Sequence[Tensor]) -> None:
        """Replaces tensors by their means over the members, in a few flat buckets. Outside of a step.

        Raises:
            PeersLostError: a member is gone; what was done stays undone here, and may be done elsewhere. The next
                step goes on with the living.
            ConfigurationError: as :meth:`step`.
        """
        collectives = self._settle()
        try:
            sums = self._sums(tensors, collectives, self._outside)
        except PeersLostError as error:
            self._outside.rollback()
            self._give_up(collectives, error)
            raise
        self._take(tensors, sums, collectives.size, self._outside)

    # --- parts -----------------------------------------------------------------------------------

    def _sums(
        self, tensors: Sequence[Tensor], collectives: Collectives, reduction: Reduction
    ) -> list[Tensor]:
        """Packs every bucket while the members' layouts are compared, begins each, then finishes each; flat sums."""
        buckets = layout(tensors, self.config.buffer_bytes)
        require_alike = compare(tensors, buckets, self.config.compression, collectives, self._device)
        if self._buffers is None or self._buffers.buckets != buckets:
            self._buffers = FlatBuffers(buckets, self._device)
        packed = [self._buffers.pack(index, tensors) for index in range(len(buckets))]
        require_alike()
        begun = [reduction.start(index, flat, collectives) for index, flat in enumerate(packed)]
        stages = [goes_on() for goes_on in begun]
        return [finish() for finish in stages]

    def _take(
        self, tensors: Sequence[Tensor], sums: Sequence[Tensor], size: int, reduction: Reduction
    ) -> None:
        if self._buffers is None:
            raise ConfigurationError("there are no buffers: nothing was reduced")
        for index, flat in enumerate(sums):
            self._buffers.unpack(index, flat, tensors, size)
        reduction.commit()

    def _agree(self, collectives: Collectives) -> bool:
        """Tells all that this step is prepared, and hears it of all; whether the group has grown meanwhile."""
        watcher = self._watching()
        grown = watcher.grown(collectives.epoch)
        told = torch.tensor([int(grown), self.steps], dtype=torch.int64, device=self._device)
        collectives.wait(collectives.all_reduce(told))
        anyone, total = (int(value) for value in told.tolist())
        if total != self.steps * collectives.size:
            raise ConfigurationError(
                f"members of epoch {collectives.epoch.number} are at different steps; is every call of step() "
                "made by all of them?"
            )
        return anyone > 0

    def _apply(self) -> None:
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            prepared()
            self.steps += 1

    def _apply_or_fall_behind(self, collectives: Collectives) -> None:
        """Applies the step; a member that cannot is brought up to date by those who have, if it goes on."""
        try:
            self._apply()
        except Exception:
            lost = PeersLostError("this member could not apply a step", epoch=collectives.epoch.number)
            self._give_up(collectives, lost)
            raise

    def _give_up(self, collectives: Collectives, error: PeersLostError) -> None:
        _log.info("epoch lost", epoch=collectives.epoch.number, steps=self.steps, problem=str(error))
        self._collectives = None
        collectives.abandon()
        if self._prepared is None:
            self._reduction.rollback()
            self._buffers = None  # collectives that are still under way may write into them
        self._watching().report(collectives.epoch)

    def _settle(self) -> Collectives:
        """The collectives of an epoch that this member has entered, up to date."""
        while self._collectives is None:
            watcher = self._watching()
            epoch = watcher.next_epoch(self.epoch.number, epoch_seconds(self._deadlines, self.config))
            self.epoch = epoch
            collectives = None
            try:
                collectives = self._enter(epoch)
                self._catch_up(collectives)
            except PeersLostError as error:
                _log.info("epoch did not come about", epoch=epoch.number, problem=str(error))
                if collectives is not None:
                    collectives.abandon()
                watcher.report(epoch)
                continue
            self._collectives = collectives
            watcher.entered(epoch)
            _log.info("epoch entered", epoch=epoch.number, rank=collectives.rank, members=self.members)
        return self._collectives

    def _enter(self, epoch: Epoch) -> Collectives:
        watcher = self._watching()
        rank = epoch.rank(watcher.peer)
        if rank is None:
            raise PeersLostError(f"epoch {epoch.number} is without this member", epoch=epoch.number)
        return enter(
            epoch,
            rank,
            device=self._device,
            host=self.config.host,
            require=watcher.require,
            enter_seconds=enter_seconds(self._deadlines, self.config),
            collective_seconds=collective_seconds(self._deadlines, self.config),
        )

    def _catch_up(self, collectives: Collectives) -> None:
        """Applies what is prepared if others have, and takes over a state if this member lacks one."""
        standing = Standing(
            steps=self.steps,
            fresh=self._fresh and not self.steps,
            apply_prepared=None if self._prepared is None else self._apply,
        )
        self.steps = catch_up(
            collectives,
            standing,
            self._state,
            config=self.config,
            device=self._device,
            companion=self._companion,
        )
        self._prepared = None
        self._reduction.rollback()
        self._fresh = False

    def _watching(self) -> Watcher:
        if self._watcher is None:
            raise ConfigurationError("this member has not joined; use the group in a with-block")
        return self._watcher


def _apply_result(commit: Callable[[T], object], result: T) -> None:
    commit(result)
