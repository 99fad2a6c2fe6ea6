"""What a member has beside its place, and hands over to who comes: tensors, and where in the training it stands."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import Tensor

from chronos_common.clan import RoundClosed
from chronos_common.clan.records import decision_from_json
from chronos_worker.clan.loader import ClanLoader
from chronos_worker.clan.progress import Progress
from chronos_worker.clan.weights import Weights
from chronos_worker.peers.state import Snapshot

KEPT = "kept."


class Held:
    """One member's state; a ``PeerState``.

    Attributes:
        loaders: of this member, in the order of their making, the same for all members.
        kept: the tensors that the fan-out began with.
        decision: that ended the last round.
        fitness: that this member reported last.
        ranked: whether the last decision counts with the weights that it has.
        moved: where the member is that this one took over, until it goes on there.
    """

    def __init__(self, weights: Weights, progress: Progress) -> None:
        self.weights, self._progress = weights, progress
        self.loaders: list[ClanLoader] = []
        self.kept: dict[str, Tensor] = {}
        self.decision: RoundClosed | None = None
        self.fitness = math.inf
        self.ranked = True
        self.moved: Mapping[str, Any] = {}

    def tensors(self) -> dict[str, Tensor]:
        """All of them by name, with the member's own weights also while the averaged ones are shown."""
        kept = {KEPT + name: tensor for name, tensor in self.kept.items()}
        return {**self.weights.own(), **kept}

    def capture(self) -> Snapshot:
        progress, plan = self._progress, self._progress.plan
        values = {
            "round": -1 if plan is None else plan.round,
            "step": progress.step,
            "contexts": progress.contexts,
            "ended": progress.ended,
            "consensus": {} if plan is None else dict(plan.consensus),
            "loaders": [[loader.epoch, loader.offset] for loader in self.loaders],
            "decision": None if self.decision is None else asdict(self.decision),
            "fitness": self.fitness if math.isfinite(self.fitness) else None,
        }
        return self.tensors(), values

    def restore(self, snapshot: Snapshot) -> None:
        tensors, self.moved = snapshot
        self.weights.forget_aside()
        self.load(tensors)
        decision, fitness = self.moved["decision"], self.moved["fitness"]
        self.decision = None if decision is None else decision_from_json(decision)
        self.fitness = math.inf if fitness is None else float(fitness)
        self.ranked = False

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes over what :meth:`tensors` gave.

        Raises:
            CorruptStateError: of another model.
        """
        kinds = ("parameter.", "buffer.", "average.", "optimizer.")
        self.weights.load({name: tensor for name, tensor in tensors.items() if name.startswith(kinds)})
        self.kept = {
            name.removeprefix(KEPT): tensor.clone()
            for name, tensor in tensors.items()
            if name.startswith(KEPT)
        }

    def place_loaders(self, loaders: list[Any], *, owes: bool) -> None:
        """This member's loaders where those of another are; ``owes``: which has its batch of this step already."""
        for loader, (epoch, offset) in zip(self.loaders, loaders, strict=False):
            loader.epoch, loader.offset, loader.owes = int(epoch), int(offset), owes
