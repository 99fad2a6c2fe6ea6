"""Trainings until early stopping on the loss of validation, as the rows about convergence define it.

Learning rates and seeds of one model, data set, optimiser and batch size train together: their weights are stacked
(``torch.func``), and each draws batches in an order of its own. Who has stopped leaves the stack.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from benchmarks.predicting.curves.data import DATA, Data
from benchmarks.predicting.curves.models import MODELS
from chronos_common.prediction.curves import Stopping
from chronos_common.prediction.names import Optimizers
from chronos_common.prediction.torch.counting import count
from chronos_common.prediction.training.recorded import Curve, Setting

RULE: Final = Stopping(patience=7, min_delta=1e-4, max_epochs=200)
"""More patient than any rule that is asked about, so that others can be replayed on what was recorded."""
SEEDS: Final = 3
BATCHES: Final = (128, 32)
LIGHT: Final = ("logistic", "perceptron", "deep")
"""Models that are trained with small batches too; of the others an epoch of small batches takes long."""
RATES: Final[Mapping[Optimizers, tuple[float, ...]]] = {
    Optimizers.MOMENTUM: (0.01, 0.03, 0.1),
    Optimizers.ADAM: (0.0005, 0.002, 0.008),
}
MOMENTUM: Final = 0.9
SQUARES: Final = 0.999
EPSILON: Final = 1e-8


@dataclass(frozen=True, kw_only=True)
class Group:
    """What trains together.

    Attributes:
        data: name of the data set.
        model: name of the model.
        optimizer: its update rule.
        batch_size: samples in a step.
    """

    data: str
    model: str
    optimizer: Optimizers
    batch_size: int


def groups() -> Iterator[Group]:
    """Everything that is recorded."""
    kinds = {name: make().kind for name, make in DATA.items()}
    for batch, model, optimizer, data in itertools.product(BATCHES, MODELS, RATES, DATA):
        if kinds[data] in MODELS[model][0] and (batch == max(BATCHES) or model in LIGHT):
            yield Group(data=data, model=model, optimizer=optimizer, batch_size=batch)


def group_of(curve: Curve) -> Group:
    """The group that a curve was trained in."""
    setting = curve.setting
    return Group(
        data=setting.data, model=setting.model, optimizer=setting.optimizer, batch_size=setting.batch_size
    )


class Stack:
    """Models of one shape with weights, rates and generators of their own.

    Args:
        module: whose structure they share.
        weights: of each, stacked.
        rates: of each.
        adaptive: Adam; else momentum.
    """

    def __init__(
        self, module: nn.Module, weights: Mapping[str, Tensor], rates: Tensor, *, adaptive: bool
    ) -> None:
        self.weights = dict(weights)
        self.adaptive = adaptive
        self.rates = rates
        self.first = {name: torch.zeros_like(value) for name, value in weights.items()}
        self.second = {name: torch.zeros_like(value) for name, value in weights.items()}
        self.steps = 0

        def loss(values: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
            scores: Tensor = functional_call(module, values, (inputs,))
            found: Tensor = nn.functional.cross_entropy(scores.flatten(0, -2), targets.flatten())
            return found

        self._gradients = vmap(grad_and_value(loss), randomness="different")
        self._losses = vmap(loss, in_dims=(0, None, None))

    def step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """One step of each on its own batch; the losses, ``(models,)``."""
        gradients, losses = self._gradients(self.weights, inputs, targets)
        self.steps += 1
        for name, gradient in gradients.items():
            rate = self.rates.view(-1, *(1 for _ in gradient.shape[1:]))
            first, second = self.first[name], self.second[name]
            if self.adaptive:
                first.mul_(MOMENTUM).add_(gradient, alpha=1 - MOMENTUM)
                second.mul_(SQUARES).addcmul_(gradient, gradient, value=1 - SQUARES)
                scale = math.sqrt(1 - SQUARES**self.steps) / (1 - MOMENTUM**self.steps)
                self.weights[name] -= rate * scale * first / second.sqrt().add_(EPSILON)
            else:
                first.mul_(MOMENTUM).add_(gradient)
                self.weights[name] -= rate * first
        before: Tensor = losses.detach()
        return before

    def losses(self, inputs: Tensor, targets: Tensor) -> list[float]:
        """Of each on the same samples."""
        with torch.no_grad():
            return [float(loss) for loss in self._losses(self.weights, inputs, targets)]

    def keep(self, chosen: Tensor) -> None:
        """Lets go of all but some."""
        self.rates = self.rates[chosen]
        for part in (self.weights, self.first, self.second):
            part |= {name: value[chosen] for name, value in part.items()}


def record_alone(group: Group) -> list[Curve]:
    """As :func:`record`, on one thread, for a process among others."""
    torch.set_num_threads(1)
    return record(group)


def record(group: Group) -> list[Curve]:
    """Trains every rate and seed of a group; the same curves again on the same machine."""
    data = DATA[group.data]()
    settings, modules, orders = [], [], []
    for rate, seed in itertools.product(RATES[group.optimizer], range(SEEDS)):
        torch.manual_seed(seed)
        modules.append(MODELS[group.model][1](data))
        orders.append(torch.Generator().manual_seed(seed))
        settings.append((_setting(group, data, modules[0], rate), seed))
    stack = Stack(
        modules[0],
        {
            name: torch.stack([dict(module.named_parameters())[name].detach() for module in modules])
            for name, _ in modules[0].named_parameters()
        },
        torch.tensor([setting.learning_rate for setting, _ in settings]),
        adaptive=group.optimizer is Optimizers.ADAM,
    )
    validation: list[list[float]] = [[] for _ in settings]
    training: list[list[float]] = [[] for _ in settings]
    going = list(range(len(settings)))
    while going:
        modules[0].train()
        means = _epoch(stack, data, group.batch_size, [orders[index] for index in going])
        modules[0].eval()
        for index, mean, held in zip(
            going, means, stack.losses(data.held_inputs, data.held_targets), strict=True
        ):
            training[index].append(mean)
            validation[index].append(held)
        on = [place for place, index in enumerate(going) if _goes_on(validation[index])]
        if len(on) < len(going):
            going = [going[place] for place in on]
            stack.keep(torch.tensor(on, dtype=torch.int64))
    return [
        Curve(setting=setting, seed=seed, validation=tuple(held), training=tuple(mean))
        for (setting, seed), held, mean in zip(settings, validation, training, strict=True)
        if math.isfinite(sum(held) + sum(mean))  # a training that diverged has no curve to continue
    ]


def _setting(group: Group, data: Data, module: nn.Module, rate: float) -> Setting:
    return Setting(
        data=group.data,
        model=group.model,
        counts=count(module, data.inputs.shape[1:], dtype=data.inputs.dtype),
        about=data.about,
        optimizer=group.optimizer,
        learning_rate=rate,
        batch_size=group.batch_size,
    )


def _epoch(stack: Stack, data: Data, batch: int, orders: list[torch.Generator]) -> list[float]:
    order = torch.stack([torch.randperm(len(data.inputs), generator=each) for each in orders])
    found = [
        stack.step(data.inputs[chosen], data.targets[chosen]) for chosen in torch.split(order, batch, dim=1)
    ]
    return [float(mean) for mean in torch.stack(found).mean(dim=0)]


def _goes_on(losses: list[float]) -> bool:
    return math.isfinite(losses[-1]) and RULE.epoch(losses) is None
