"""Clan training as a strategy of Lightning: ``Trainer(strategy=ClanStrategy(round_length=1000), devices=8)``."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from lightning.pytorch.strategies import DDPStrategy, StrategyRegistry
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from chronos_common.errors import ConfigurationError
from chronos_worker.clan.clan import Clan
from chronos_worker.clan.integrations.epochs import EpochLoader
from chronos_worker.clan.integrations.settings import completed
from chronos_worker.clan.member import Member
from chronos_worker.clan.transport import Distributed

TIMEOUT: Final = timedelta(minutes=30)


class ClanStrategy(DDPStrategy):
    """Every process that Lightning or torchrun starts is a member; the model is never wrapped.

    Gradients are averaged after each backward pass in the phases that share them. At the end of a round the
    trainer validates, out of its own turn, and what the module logs as ``monitor`` is the member's fitness: log
    it without ``sync_dist``, which would give all members the same. All members validate on the whole loader.
    A checkpoint has every member's part in a folder beside it, ``NAME.ckpt.clan``, which ``fit(ckpt_path=...)``
    takes up; its weights are those of rank 0.

    Args:
        monitor: what the module logs in ``validation_step``; less is better.
        timeout: of collectives.
        process_group_backend: gloo or NCCL, if Lightning's choice is not right.
        start_method: how Lightning starts the processes that torchrun did not.
        settings: of :class:`chronos_worker.clan.Clan`. By default ``total_steps`` are what the trainer will make,
            and the genes those of the optimiser.
    """

    strategy_name = "clan"

    def __init__(
        self,
        *,
        monitor: str = "val_loss",
        timeout: timedelta = TIMEOUT,
        process_group_backend: str | None = None,
        start_method: str = "popen",
        **settings: Any,
    ) -> None:
        super().__init__(
            timeout=timeout, process_group_backend=process_group_backend, start_method=start_method
        )
        self._monitor, self._clan_settings = monitor, settings
        self._loader: EpochLoader | None = None
        self._resumed_from: Path | None = None
        self._validating = self._wants_fitness = False
        self._usual_interval: Any = None
        self.clan: Clan | None = None
        self.member: Member | None = None

    def setup(self, trainer: Any) -> None:
        """No samplers by rank either: members validate on the whole, and a clan chooses what they train on."""
        trainer._accelerator_connector.use_distributed_sampler = False
        super().setup(trainer)

    def configure_ddp(self) -> None:
        """Does not wrap: that would share every gradient, and overwrite the population with rank 0's weights."""

    def process_dataloader(self, dataloader: object) -> object:
        """The training loader by phases; others as they are.

        Raises:
            ConfigurationError: it is not a ``DataLoader`` with a map-style data set.
        """
        if not self.lightning_module.trainer.training:
            return dataloader
        if not isinstance(dataloader, DataLoader):
            raise ConfigurationError(
                f"the training loader is a {type(dataloader).__name__}; a clan needs a DataLoader"
            )
        self._loader = EpochLoader(dataloader, self.world_size)
        return self._loader

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        self._resumed_from = _folder(checkpoint_path)
        loaded: dict[str, Any] = super().load_checkpoint(checkpoint_path, weights_only)
        return loaded

    def on_train_start(self) -> None:
        """Founds the clan, once the trainer knows its steps and has restored what it keeps."""
        trainer = self.lightning_module.trainer
        self._require_possible(trainer)
        steps = trainer.estimated_stepping_batches
        optimizer: Any = self.optimizers[0]
        own = completed(self._clan_settings, optimizer, int(steps) if 0 < steps < sys.maxsize else None)
        self.clan = Clan(self.lightning_module, optimizer, transport=Distributed(), **own)
        if self._loader is not None:
            self._loader.attach(self.clan)
        if self._resumed_from is not None and self._resumed_from.is_dir():
            self.clan.resume(self._resumed_from)
        self._usual_interval = trainer.val_check_batch
        self.member = self.clan.round()
        self._ask_if_done()

    def backward(self, closure_loss: Tensor, optimizer: Any, *args: Any, **kwargs: Any) -> Tensor:
        with nullcontext() if self.member is None else self.member.sync_context():
            loss: Tensor = super().backward(closure_loss, optimizer, *args, **kwargs)
        return loss

    def optimizer_step(
        self, optimizer: Optimizer, closure: Callable[[], Any], model: Any = None, **kwargs: Any
    ) -> Any:
        if self.member is None or self.clan is None or self.clan.finished:
            return super().optimizer_step(optimizer, closure, model, **kwargs)
        if (
            self.member.done
        ):  # resumed between a round's last step and its validation: this batch changes nothing
            found = closure()
            optimizer.zero_grad()
        else:
            found = super().optimizer_step(optimizer, closure, model, **kwargs)
            self.member.step()
        self._ask_if_done()
        return found

    def on_validation_start(self) -> None:
        self._validating = True

    def on_validation_end(self) -> None:
        self._close_round()
        self._validating = False

    def on_train_end(self) -> None:
        if self.clan is not None:
            self.clan.finish()
        self._restore_interval()

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        super().save_checkpoint(checkpoint, filepath, storage_options)
        if self.clan is not None:
            self._close_round()
            self.clan.save(_folder(filepath))

    def remove_checkpoint(self, filepath: Any) -> None:
        super().remove_checkpoint(filepath)
        if self.is_global_zero:
            shutil.rmtree(_folder(filepath), ignore_errors=True)

    @classmethod
    def register_strategies(cls, strategy_registry: Any) -> None:
        strategy_registry.register(
            cls.strategy_name, cls, description="clan training with its defaults", override=True
        )

    def _require_possible(self, trainer: Any) -> None:
        """Raises ConfigurationError for what would not be a clan's training."""
        if len(self.optimizers) != 1 or self.lr_scheduler_configs:
            raise ConfigurationError(
                f"configure_optimizers returns {len(self.optimizers)} optimisers and {len(self.lr_scheduler_configs)} "
                "schedulers; a clan needs one optimiser, and its genes and its schedule take the scheduler's place"
            )
        if not trainer.enable_validation or trainer.check_val_every_n_epoch not in (None, 1):
            raise ConfigurationError(
                "members are compared by their validation loss: give fit() a validation loader, and leave "
                "limit_val_batches and check_val_every_n_epoch alone"
            )

    def _ask_if_done(self) -> None:
        """Has the trainer validate after this batch, when it was the last of a round."""
        if self.member is not None and self.clan is not None and self.member.done and not self.clan.finished:
            self._wants_fitness = True
            self.lightning_module.trainer.val_check_batch = 1

    def _close_round(self) -> None:
        if not (self._wants_fitness and self._validating) or self.clan is None:
            return
        metrics = self.lightning_module.trainer.callback_metrics
        if self._monitor not in metrics:
            raise ConfigurationError(
                f"validation logged no {self._monitor!r}; call self.log({self._monitor!r}, loss) in validation_step, "
                "or name what it logs: ClanStrategy(monitor=...)"
            )
        self._wants_fitness = False
        self.clan.step(float(metrics[self._monitor]))
        self.member = self.clan.round()
        self._restore_interval()

    def _restore_interval(self) -> None:
        if self._usual_interval is not None:
            self.lightning_module.trainer.val_check_batch = self._usual_interval


def _folder(path: Any) -> Path:
    return Path(f"{path}.clan")


ClanStrategy.register_strategies(StrategyRegistry)
