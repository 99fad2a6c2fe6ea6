"""The clan as a training script sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import Dataset

from chronos_common.clan import Allele, ClanConfig, RoundClosed, found, preset
from chronos_common.errors import InvalidRequestError
from chronos_worker.clan import checkpoint
from chronos_worker.clan.genes import Binding, bound_genes
from chronos_worker.clan.keeper import Replicated, RoundKeeper
from chronos_worker.clan.launched import default_transport, is_launched, wanted_members
from chronos_worker.clan.loader import ClanLoader
from chronos_worker.clan.member import Member
from chronos_worker.clan.pending import attach_waiting
from chronos_worker.clan.progress import Progress
from chronos_worker.clan.transport import Transport
from chronos_worker.clan.weights import Weights


class Clan:
    """This process's member of a population, and the rounds that it takes part in.

    All members begin with the weights of member 0. Never wrap the model in ``DistributedDataParallel``: it would share
    every gradient, and overwrite the population with rank 0's weights.

    Args:
        model: of this member.
        optimizer: over its parameters, with settings to start from. It obeys the genes from now on: a scheduler of
            the learning rate beside it would be overwritten at each step.
        genes: by name. A name such as ``"lr"`` or ``"betas/0"`` is a setting of the optimiser; others (dropout) are
            for the training loop to read with :meth:`Member.get_gene`.
        autobind: makes genes of the optimiser's settings: ``"adamw"``, ``"adam"``, ``"sgd"``,
            ``"gradient_accumulation"``.
        round_length: steps of a round.
        duty_cycle: share of it in which members compete, where a specialised gene is declared.
        population_size: members; by default as many as the transport has. More than one without a transport, in
            a process that torchrun did not start, take turns in it: :class:`chronos_worker.clan.folded.FoldedClan`.
        total_steps: of the training; without it the rate falls with the square root of the time, and rounds go on
            until :meth:`finish`.
        algorithm: a preset's name (``clan_plus``, ``published``, ``pbt``, ``data_parallel_cosine``), or a
            configuration of your own, which holds the four settings before this one.
        seed: of genomes, mutations and shuffles, the same for all members.
        transport: to the other members; by default the default process group, which is made where torchrun started
            this process, or a clan of one without it.
        coordinator: who folds the rounds; ``None``: every member the same.

    Raises:
        ConfigurationError: settings that cannot work.
    """

    def __new__(cls, *arguments: Any, **settings: Any) -> Clan:
        """One member of many processes, or all members in this one."""
        chosen = cls
        alone = (
            settings.get("transport") is None and settings.get("coordinator") is None and not is_launched()
        )
        size = wanted_members(settings.get("population_size"), settings.get("algorithm", ""))
        if cls is Clan and alone and size > 1:
            from chronos_worker.clan.folded import FoldedClan

            chosen = FoldedClan
        return super().__new__(chosen)

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        genes: Mapping[str, Allele] | None = None,
        autobind: Sequence[str] = (),
        round_length: int = 1000,
        duty_cycle: float = 0.15,
        population_size: int | None = None,
        total_steps: int | None = None,
        algorithm: str | ClanConfig = "clan_plus",
        seed: int = 0,
        transport: Transport | None = None,
        coordinator: RoundKeeper | None = None,
    ) -> None:
        self._transport = transport or default_transport(model)
        if isinstance(algorithm, str):
            algorithm = preset(
                algorithm,
                population_size=population_size or self._transport.size,
                round_length=round_length,
                duty_cycle=duty_cycle,
                total_steps=total_steps,
            )
        self.config, self._seed = algorithm, seed
        alleles = bound_genes(optimizer, autobind, genes or {})
        binding = Binding(optimizer, sorted(alleles), algorithm.rate_gene)
        self._weights = Weights(model, optimizer, algorithm.averaging > 0.0)
        self._progress = Progress(algorithm, self._weights, binding, self._transport)
        self._keeper = coordinator or Replicated(found(algorithm, alleles, seed), self._transport)
        self._loaders: list[ClanLoader] = []
        self._kept: dict[str, Tensor] = {}
        self.last_decision: RoundClosed | None = None
        self._weights.load(dict(zip(self._names(), self._weights.received(self._transport, 0), strict=True)))
        attach_waiting(self)

    @property
    def finished(self) -> bool:
        """Whether ``total_steps`` are made; the model then holds the best member's averaged weights."""
        return self._keeper.finished

    @property
    def keeper(self) -> RoundKeeper:
        """Who folds the rounds; that of ``coordinator=None`` has the whole ``state``, the family tree included."""
        return self._keeper

    def loader(self, dataset: Dataset[Any], batch_size: int, **options: Any) -> ClanLoader:
        """Batches of this member: its own share while gradients are shared, the common ones while members compete.

        Args:
            dataset: map-style, with a length.
            batch_size: samples of one member in one step.
            options: for torch's ``DataLoader``.

        Raises:
            ConfigurationError: see :class:`ClanLoader`.
        """
        made = ClanLoader(self._progress, self._transport, dataset, batch_size, self._seed, **options)
        self._loaders.append(made)
        return made

    def round(self) -> Member:
        """Begins the next round, or takes up the one that runs; after the last one, a member that is done."""
        if self.finished:
            return Member(self._progress, self._progress.running)
        plan = self._keeper.begin()
        if self._progress.plan is None or plan.round != self._progress.plan.round:
            if plan.phases[0].kind == "fan_out":
                self._kept = {name: tensor.clone() for name, tensor in self._weights.named()}
            self._progress.begin(plan)
        return Member(self._progress, plan)

    def step(self, validation_loss: float | Tensor) -> RoundClosed:
        """Ends the round with this member's fitness, and becomes whom the selection makes of it.

        Args:
            validation_loss: of ``member.model`` on data that all members share; less is better, NaN is the worst.

        Raises:
            InvalidRequestError: the round has steps left, or there is none.
        """
        if not self._progress.done or self.finished:
            raise InvalidRequestError(
                "the round is not done; call member.step() for each batch until member.done, and clan.step() once then"
            )
        decision = self._keeper.close(float(validation_loss))
        if decision.finished:
            self._weights.load(self._clone_of(decision.ranking[0]))
            self._progress.ended = True
        else:
            self._weights.hide_average()
            self._become(decision)
        self.last_decision = decision
        return decision

    def finish(self) -> None:
        """Ends a training whose ``total_steps`` were left open; every rank then holds the same averaged weights.

        They are those of the member that was best in the last round that closed, trained on since. All ranks call
        it, at the same step; after the last of ``total_steps`` it changes nothing.
        """
        if self.finished or self._progress.ended:
            return
        self._weights.show_average()
        best = 0 if self.last_decision is None else self.last_decision.ranking[0]
        self._weights.load(self._clone_of(best))
        self._progress.ended = True

    def save(self, folder: str | Path) -> None:
        """Writes this member's checkpoint, between any two steps: tensors as safetensors, the rest as JSON."""
        path, plan = Path(folder), self._progress.plan
        shown = self._progress.plan is not None and self._progress.done and not self.finished
        if shown:
            self._weights.hide_average()
        kept = {f"kept.{name}": tensor for name, tensor in self._kept.items()}
        parts = {
            "rounds": self._keeper.to_json(),
            "round": -1 if plan is None else plan.round,
            "step": self._progress.step,
            "loaders": [[loader.epoch, loader.offset] for loader in self._loaders],
        }
        tensors = {**dict(self._weights.named()), **kept, **checkpoint.randomness()}
        checkpoint.write(path, self._transport.rank, tensors, parts)
        if shown:
            self._weights.show_average()

    def resume(self, folder: str | Path) -> bool:
        """Takes up this member's checkpoint, if the folder has one; to be called after :meth:`loader`.

        Returns:
            Whether there was one.

        Raises:
            CorruptStateError: it cannot be read, or is of another model.
            InvalidRequestError: the members' checkpoints were not made at the same step.
        """
        path, rank = Path(folder), self._transport.rank
        present = self._transport.gather(float(checkpoint.exists(path, rank)))
        if not all(present):
            return False
        tensors, parts = checkpoint.read(path, rank)
        for number in (parts["round"], parts["step"]):
            if len(set(self._transport.gather(float(number)))) > 1:
                raise InvalidRequestError(
                    f"the members' checkpoints in {path} are of different steps; resume from a folder that all "
                    "members wrote at the same step"
                )
        self._keeper.restore(parts["rounds"])
        kinds = ("parameter.", "buffer.", "average.", "optimizer.")
        self._weights.load({name: tensor for name, tensor in tensors.items() if name.startswith(kinds)})
        self._kept = {name[5:]: tensor for name, tensor in tensors.items() if name.startswith("kept.")}
        for loader, (epoch, offset) in zip(self._loaders, parts["loaders"], strict=False):
            loader.epoch, loader.offset = int(epoch), int(offset)
        if parts["round"] >= 0 and not self.finished:
            plan = self._keeper.begin()
            if plan.round == parts["round"]:
                self._progress.begin(plan, int(parts["step"]))
        checkpoint.restore_randomness(tensors)
        return True

    def _become(self, decision: RoundClosed) -> None:
        weights, rank = self._weights, self._transport.rank
        soup = weights.mean_of(self._transport, decision.soup) if decision.soup else None
        moved = {move.target: move.source for move in decision.moves}
        for source in sorted(set(moved.values())):
            copies = weights.received(self._transport, source)
            if moved.get(rank) == source:
                mine = copies
        if rank in moved:
            weights.take(mine, weights.tensors())
        if decision.restart:
            weights.load(self._kept)
        if soup is not None:
            weights.take(soup, weights.souped())

    def _clone_of(self, source: int) -> dict[str, Tensor]:
        return dict(zip(self._names(), self._weights.received(self._transport, source), strict=True))

    def _names(self) -> list[str]:
        return [name for name, _ in self._weights.named()]
