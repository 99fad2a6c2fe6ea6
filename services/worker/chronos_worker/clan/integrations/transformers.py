"""Clan training in the Trainer of Hugging Face: ``Trainer(..., callbacks=[ClanCallback(round_length=1000)])``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accelerate.data_loader import SeedableRandomSampler
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from torch.nn.parallel import DistributedDataParallel
from transformers import TrainerCallback

from chronos_common.errors import ConfigurationError, StoreError
from chronos_worker.clan.clan import Clan
from chronos_worker.clan.integrations.settings import completed
from chronos_worker.clan.member import Member

_SEEDS_APART = 1_000_003
_SUPPORTED = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)


class ClanCallback(TrainerCallback):
    """Every process that torchrun starts is a member, with a Trainer that believes to be alone.

    So accelerate wraps no model, evaluates on the whole of ``eval_dataset``, and shuffles by a seed of the member's
    own; members draw their samples independently in all phases. Gradients are averaged after clipping. At the end of
    a round the Trainer evaluates, whatever ``eval_strategy`` says, and ``fitness`` is the member's fitness. The
    clan's rate takes the place of the Trainer's schedule. Rank 0 writes the Trainer's checkpoints, and all write the
    clan's into the folder ``clan`` inside of them.

    Args:
        fitness: a key of the metrics of evaluation; less is better.
        resume_from: the checkpoint to resume the clan from, if it is not ``output_dir/checkpoint-STEP``.
        settings: of :class:`chronos_worker.clan.Clan`. By default ``total_steps`` are what the Trainer will make,
            and the genes those of the optimiser.
    """

    def __init__(
        self, *, fitness: str = "eval_loss", resume_from: str | Path | None = None, **settings: Any
    ) -> None:
        self._fitness, self._resume_from, self._settings = fitness, resume_from, settings
        self.clan: Clan | None = None
        self.member: Member | None = None

    def on_init_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The Trainer is made, and has prepared nothing yet.

        Raises:
            ConfigurationError: settings that cannot be a clan's.
        """
        shared = PartialState()
        if shared.distributed_type not in _SUPPORTED or args.fsdp or args.deepspeed:
            raise ConfigurationError(
                f"a clan's members hold whole models, and accelerate was set up for {shared.distributed_type}; start "
                "with torchrun, without fsdp, deepspeed or an accelerate configuration"
            )
        if args.load_best_model_at_end:
            raise ConfigurationError(
                "load_best_model_at_end would replace the best member's averaged weights; set it to False"
            )
        if shared.process_index:
            args.save_only_model = True
        for each in (shared, AcceleratorState()):
            each.distributed_type, each.num_processes = DistributedType.NO, 1

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Founds the clan.

        Raises:
            ConfigurationError: the model is wrapped, samples do not come at random, or settings cannot work.
            StoreError: the Trainer resumes, and the clan's part is missing.
        """
        model, optimizer = kwargs["model"], kwargs["optimizer"]
        if isinstance(model, DistributedDataParallel):
            raise ConfigurationError(
                "the model is wrapped in DistributedDataParallel; hand the bare model to the Trainer"
            )
        optimizer = getattr(optimizer, "optimizer", optimizer)
        for group in optimizer.param_groups:  # a scheduler with a warm-up has set it to 0
            group["lr"] = group.get("initial_lr", group["lr"])
        _shuffle_apart(kwargs["train_dataloader"], args.process_index)
        self.clan = Clan(model, optimizer, **completed(self._settings, optimizer, state.max_steps))
        if state.global_step:
            own = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            folder = Path(own if self._resume_from is None else self._resume_from) / "clan"
            if not self.clan.resume(folder):
                raise StoreError(
                    f"the Trainer resumes at step {state.global_step}, but {folder} has no checkpoint of every member; "
                    "name the folder with ClanCallback(resume_from=...)"
                )
        self.member = self.clan.round()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Gradients become the mean, in the phases that share them."""
        if self.member is not None:
            with self.member.sync_context():
                pass

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Counts the step; writes the genes over what the Trainer's scheduler has set."""
        if self.member is None or self.clan is None or self.clan.finished:
            return
        self.member.step()
        control.should_evaluate = control.should_evaluate or self.member.done

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ends a round that is done.

        Raises:
            ConfigurationError: evaluation gave no fitness.
        """
        if self.member is None or self.clan is None or not self.member.done or self.clan.finished:
            return
        metrics = kwargs["metrics"]
        if self._fitness not in metrics:
            raise ConfigurationError(
                f"evaluation gave {', '.join(metrics)}, but no {self._fitness!r}; name one with "
                "ClanCallback(fitness=...)"
            )
        self.clan.step(metrics[self._fitness])
        self.member = self.clan.round()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Every member's part, into the Trainer's checkpoint."""
        if self.clan is not None:
            self.clan.save(Path(args.output_dir) / f"checkpoint-{state.global_step}" / "clan")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """All hold the same weights, those of the best member, even if the Trainer stopped early."""
        if self.clan is not None:
            self.clan.finish()


def _shuffle_apart(loader: Any, rank: int) -> None:
    """Gives the member's sampler a seed of its own; accelerate adds the number of the epoch to it."""
    sampler = getattr(getattr(loader, "batch_sampler", None), "sampler", None)
    if not isinstance(sampler, SeedableRandomSampler):
        raise ConfigurationError(
            f"samples come from a {type(sampler).__name__}, the same for all members; a clan needs a data set with a "
            "length, the random train_sampling_strategy and accelerate's use_seedable_sampler, which are the defaults"
        )
    sampler.initial_seed += rank * _SEEDS_APART
