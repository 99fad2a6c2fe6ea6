"""The training loops of ClanTune's API page as a script; its imports are the only lines that name Chronos.

``python -m tests.support.clan_page`` or ``torchrun -m tests.support.clan_page``. What the page leaves to the reader (a
model, data, the validation loss) stands before the loops; what comes out is in the globals at the end.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import AdamW
from torch.utils.data import DataLoader, TensorDataset

from chronos_worker.clan import Clan, clan_loader


def labelled(size: int, seed: int) -> TensorDataset:
    x = torch.randn(size, 5, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, (x[:, 0] > x[:, 1]).long())


class MyModel(nn.Sequential):
    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Linear(5, 2))


def get_validation_loss(model: nn.Module, val_loader: DataLoader[tuple[torch.Tensor, ...]]) -> float:
    model.eval()
    with torch.no_grad():
        found = [cross_entropy(model(x), y).item() for x, y in val_loader]
    model.train()
    losses.append(sum(found) / len(found))
    return losses[-1]


train_dataset = labelled(32 * 2200, 1)
val_loader = DataLoader(labelled(512, 2), batch_size=256)
losses: list[float] = []

# ---------------------------------------------------------------- only the optimiser changes

model = MyModel()
optimizer = AdamW(model.parameters(), lr=1e-5, weight_decay=0.01)
loader = clan_loader(train_dataset, batch_size=32)

clan = Clan(
    model=model,
    optimizer=optimizer,
    round_length=1000,
    duty_cycle=0.15,
    autobind=["adamw"],
)

member = clan.round()

for batch, labels in loader:
    logits = member.model(batch)
    loss = cross_entropy(logits, labels)

    with member.sync_context():
        loss.backward()  # type: ignore[no-untyped-call]  # torch's stubs

    member.optimizer.step()
    member.optimizer.zero_grad()
    member.step()

    if member.done:
        validation_loss = get_validation_loss(member.model, val_loader)
        clan.step(validation_loss)
        member = clan.round()

first = [*losses, get_validation_loss(model, val_loader)]
genes = set(member.genome.alleles)

# ---------------------------------------------------------------- gradient accumulation evolves

losses = []
train_dataset = labelled(32 * 1020, 3)
model = MyModel()
optimizer = AdamW(model.parameters(), lr=1e-5, weight_decay=0.01)
loader = clan_loader(train_dataset, batch_size=32)

clan = Clan(
    model=model,
    optimizer=optimizer,
    round_length=1000,
    duty_cycle=0.15,
    autobind=["adamw", "gradient_accumulation"],
)

member = clan.round()

accum_steps = 0
for batch, labels in loader:
    logits = member.model(batch)
    loss = cross_entropy(logits, labels)

    num_grad_accum = member.get_gene("num_grad_accum")
    loss = loss / num_grad_accum

    with member.sync_context():
        loss.backward()

    accum_steps += 1
    if accum_steps >= num_grad_accum:
        member.optimizer.step()
        member.optimizer.zero_grad()
        accum_steps = 0

    member.step()

    if member.done:
        validation_loss = get_validation_loss(member.model, val_loader)
        clan.step(validation_loss)
        member = clan.round()

if __name__ == "__main__":
    print(f"validation losses {first} and {losses}")  # noqa: T201
