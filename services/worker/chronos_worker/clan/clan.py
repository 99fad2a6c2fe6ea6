"""The clan as a training script sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import Dataset

from chronos_common.clan import Allele, ClanConfig, RoundClosed, found, preset
from chronos_common.errors import ConfigurationError, InvalidRequestError
from chronos_worker.clan import checkpoint
from chronos_worker.clan.connection import ClanConnection
from chronos_worker.clan.course import Course
from chronos_worker.clan.genes import Binding, bound_genes
from chronos_worker.clan.held import Held
from chronos_worker.clan.joining import ElasticCourse
from chronos_worker.clan.keeper import Replicated, RoundKeeper
from chronos_worker.clan.launched import default_transport, is_launched, wanted_members
from chronos_worker.clan.loader import ClanLoader
from chronos_worker.clan.member import Member
from chronos_worker.clan.pending import attach_waiting
from chronos_worker.clan.progress import Progress
from chronos_worker.clan.served import Served
from chronos_worker.clan.transport import Solo, Transport
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
        coordinator: who folds the rounds; ``None``: every member the same. The address of a coordinator, or a
            :class:`ClanConnection` to one, makes the clan elastic: members may die and come, and there is no
            ``transport`` to choose. It is joined by the first :meth:`round`, :meth:`save` or :meth:`resume`.
        clan: id of the clan on the coordinator.
        worker: stable name of this worker there.
        member: the place that it wants; ``None``: any.

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
        coordinator: RoundKeeper | ClanConnection | str | None = None,
        clan: str = "",
        worker: str = "",
        member: int | None = None,
    ) -> None:
        if isinstance(coordinator, str):
            coordinator = ClanConnection(address=coordinator, clan=clan, worker=worker, member=member)
        apart = isinstance(coordinator, ClanConnection)
        self._transport = Solo() if apart else transport or default_transport(model)
        if apart:
            _require_servable(algorithm, population_size)
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
        self._served: Served | None = None
        if isinstance(coordinator, ClanConnection):
            coordinator = self._served = Served(coordinator, coordinator.definition(algorithm, alleles, seed))
            self._transport = coordinator.transport
        self._weights = Weights(model, optimizer, algorithm.averaging > 0.0)
        self._progress = Progress(algorithm, self._weights, binding, self._transport)
        self._keeper = coordinator or Replicated(found(algorithm, alleles, seed), self._transport)
        self._held = Held(self._weights, self._progress)
        if self._served is not None:
            self._course: Course = ElasticCourse(self._held, self._progress, self._served)
        else:
            self._course = Course(self._held, self._progress, self._keeper, self._transport)
            self._weights.take(self._weights.received(self._transport, 0), self._weights.tensors())
        attach_waiting(self)

    @property
    def finished(self) -> bool:
        """Whether ``total_steps`` are made; the model then holds the best member's averaged weights."""
        return self._keeper.finished

    @property
    def living(self) -> int:
        """How many members take part now."""
        return self._transport.size

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
        self._held.loaders.append(made)
        return made

    def round(self) -> Member:
        """Begins the next round, or takes up the one that runs; after the last one, a member that is done."""
        self._course.join()
        return Member(self._progress, self._progress.running if self.finished else self._course.begin())

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
        self._course.close(float(validation_loss))
        if self._held.decision is None:
            raise InvalidRequestError("the round has ended without a decision")
        return self._held.decision

    @property
    def last_decision(self) -> RoundClosed | None:
        """That ended the last round."""
        return self._held.decision

    def finish(self) -> None:
        """Ends a training whose ``total_steps`` were left open; every rank then holds the same averaged weights.

        They are those of the member that was best in the last round that closed, trained on since. All ranks call
        it, at the same step; after the last of ``total_steps`` it changes nothing.
        """
        if not self.finished and not self._progress.ended:
            self._course.finish()

    def save(self, folder: str | Path) -> None:
        """Writes this member's checkpoint, between any two steps: tensors as safetensors, the rest as JSON."""
        path, plan = Path(folder), self._progress.plan
        self._course.join()
        parts = {
            "rounds": self._keeper.to_json(),
            "round": -1 if plan is None else plan.round,
            "step": self._progress.step,
            "loaders": [[loader.epoch, loader.offset] for loader in self._held.loaders],
        }
        tensors = {**self._held.tensors(), **checkpoint.randomness()}
        checkpoint.write(path, self._transport.rank, tensors, parts)

    def resume(self, folder: str | Path) -> bool:
        """Takes up this member's checkpoint, if the folder has one; to be called after :meth:`loader`.

        Returns:
            Whether there was one.

        Raises:
            CorruptStateError: it cannot be read, or is of another model.
            InvalidRequestError: the members' checkpoints were not made at the same step.
        """
        self._course.join()
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
        self._held.load(tensors)
        self._held.place_loaders(parts["loaders"], owes=False)
        if parts["round"] >= 0 and not self.finished:
            plan = self._keeper.begin()
            if plan.round == parts["round"]:
                self._progress.begin(plan, int(parts["step"]))
        checkpoint.restore_randomness(tensors)
        return True

    def close(self) -> None:
        """Leaves a clan on a coordinator, as its end does by itself; the others go on."""
        if self._served is not None:
            self._served.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _require_servable(algorithm: str | ClanConfig, population_size: int | None) -> None:
    if isinstance(algorithm, str):
        if not population_size:
            raise ConfigurationError(
                "a clan on a coordinator cannot count its members; say how many there shall be: population_size",
                field="population_size",
            )
    elif algorithm.average_every > 1:
        raise ConfigurationError(
            f"average_every is {algorithm.average_every}; on a coordinator, where members may die and come, gradients "
            "are shared in every step: leave it at 1, or start the members with torchrun"
        )
