"""Clan training inside of Lightning and of Hugging Face's Trainer: ``python -m tests.support.clan_trainers FOLDER``.

Both are imported once; then two ranks for each, and a process of its own for what one process does alone, are forked.
Each writes what it saw to FOLDER/NAME-RANK.json. The ranks find each other as those of torchrun do.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from chronos_common.clan import ClanConfig, FanOutConfig
from chronos_common.errors import ConfigurationError
from chronos_worker.clan import Clan, Replicated
from chronos_worker.clan.integrations.lightning import ClanStrategy
from chronos_worker.clan.integrations.transformers import ClanCallback

STEPS, SAVED = 26, 13
Seen = dict[str, Any]


def algorithm(ranks: int) -> ClanConfig:
    """Two fan-outs of 5 steps, then rounds of 4."""
    return ClanConfig(
        population_size=ranks, round_length=4, total_steps=STEPS, fan_out=FanOutConfig(share=0.2)
    )


def samples(size: int, seed: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(size, 4, generator=torch.Generator().manual_seed(seed))
    return x, x @ torch.tensor([[1.0], [-2.0], [0.5], [0.0]])


def seen(clan: Clan | None, model: Any, gradients: list[tuple[str, float]]) -> Seen:
    assert clan is not None
    assert isinstance(clan.keeper, Replicated)
    return {
        "finished": clan.finished,
        "rounds": clan.keeper.state.round,
        "lineage": [birth.genome_id for birth in clan.keeper.state.births],
        "weights": [parameter.tolist() for parameter in model.parameters()],
        "gradients": gradients,
        "loss": mse_loss(model.line(samples(32, 2)[0]), samples(32, 2)[1]).item(),
    }


class Module(pl.LightningModule):
    def __init__(self, monitor: str = "val_loss") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.line, self.monitor = nn.Linear(4, 1), monitor
        self.gradients: list[tuple[str, float]] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return mse_loss(self.line(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log(self.monitor, mse_loss(self.line(batch[0]), batch[1]))

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        strategy: Any = self.trainer.strategy
        gradient = self.line.weight.grad
        assert gradient is not None
        self.gradients.append((strategy.member.phase.kind, gradient.sum().item()))

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=0.02)


def fit(folder: Path, devices: int, resumed: Path | None = None, monitor: str = "val_loss") -> Seen:
    module = Module(monitor)
    strategy = ClanStrategy(algorithm=algorithm(devices))
    kept = ModelCheckpoint(dirpath=folder, filename="{step}", every_n_train_steps=SAVED, save_top_k=-1)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy=strategy,
        max_steps=STEPS,
        callbacks=[kept],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=1,
    )
    train = DataLoader(TensorDataset(*samples(64, 1)), batch_size=4, shuffle=True)
    valid = DataLoader(TensorDataset(*samples(32, 2)), batch_size=32)
    trainer.fit(module, train, valid, ckpt_path=resumed)
    return {**seen(strategy.clan, module, module.gradients), "steps": trainer.global_step}


def lightning_case(folder: Path, ranks: int) -> Seen:
    whole = fit(folder, ranks)
    again = fit(folder / "again", ranks, folder / f"step={SAVED}.ckpt")
    try:
        fit(folder / "other", ranks, monitor="accuracy")
    except ConfigurationError as error:
        refused = str(error)
    return {"whole": whole, "again": again, "refused": refused}


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.line = nn.Linear(4, 1)

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        found = self.line(x)
        return {"loss": mse_loss(found, labels), "logits": found}


class Watch(TrainerCallback):
    def __init__(self, clan: ClanCallback) -> None:
        self.clan = clan
        self.gradients: list[tuple[str, float]] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        assert self.clan.member is not None
        gradient = kwargs["model"].line.weight.grad.sum().item()
        self.gradients.append((self.clan.member.phase.kind, gradient))


def trained(folder: Path, ranks: int, resumed: Path | None = None, **arguments: Any) -> Seen:
    model, callback = Line(), ClanCallback(resume_from=resumed, algorithm=algorithm(ranks))
    watch = Watch(callback)
    train, valid = (
        [{"x": x, "labels": y} for x, y in zip(*samples(size, seed), strict=True)]
        for size, seed in ((64, 1), (32, 2))
    )
    settings = TrainingArguments(
        output_dir=str(folder),
        use_cpu=True,
        max_steps=STEPS,
        per_device_train_batch_size=4,
        per_device_eval_batch_size=8,
        learning_rate=0.02,
        warmup_steps=5,
        save_steps=SAVED,
        report_to=[],
        disable_tqdm=True,
        logging_strategy="no",
        **arguments,
    )
    trainer = Trainer(
        model=model, args=settings, train_dataset=train, eval_dataset=valid, callbacks=[callback, watch]
    )
    trainer.train(resume_from_checkpoint=None if resumed is None else str(resumed))
    assert trainer.model_wrapped is model
    found = seen(callback.clan, model, watch.gradients)
    return {
        **found,
        "steps": trainer.state.global_step,
        "evaluated": trainer.evaluate()["eval_loss"],
    }


def transformers_case(folder: Path, ranks: int) -> Seen:
    whole = trained(folder, ranks)
    again = trained(folder / "again", ranks, folder / f"checkpoint-{SAVED}")
    try:
        trained(folder / "other", ranks, load_best_model_at_end=True, eval_strategy="steps", eval_steps=SAVED)
    except ConfigurationError as error:
        refused = str(error)
    return {"whole": whole, "again": again, "refused": refused}


CASES = {"lightning": lightning_case, "transformers": transformers_case}


def rank_of(name: str, rank: int, ranks: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    if ranks > 1:
        os.environ |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "GROUP_RANK": "0",
            "WORLD_SIZE": str(ranks),
            "LOCAL_WORLD_SIZE": str(ranks),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "TORCHELASTIC_RUN_ID": name,
        }
    place = Path(folder) / f"{name}-{ranks}"
    found = CASES[name](place, ranks)
    (Path(folder) / f"{name}-{ranks}-{rank}.json").write_text(json.dumps(found), encoding="utf-8")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def main(folder: str) -> int:
    context = multiprocessing.get_context("fork")
    failed = 0
    for ranks in (2, 1):
        for name in CASES:
            port = free_port()
            members = [
                context.Process(target=rank_of, args=(name, rank, ranks, port, folder))
                for rank in range(ranks)
            ]
            for member in members:
                member.start()
            for member in members:
                member.join()
            failed += sum(member.exitcode != 0 for member in members)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
