"""A member's tensors: weights, buffers, the optimiser's state and the moving average, each in a fixed order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from chronos_common.errors import ConfigurationError, CorruptStateError
from chronos_worker.clan.transport import Transport
from chronos_worker.clan.transport.flat import mean_in_place, received


class Weights:
    """What cloning copies, soup averages and checkpoints keep.

    Args:
        model: its parameters and buffers.
        optimizer: its state, which must be tensors (those of ``torch.optim`` are).
        averages: whether a moving average of the parameters is kept.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, averages: bool) -> None:
        self.model, self.optimizer = model, optimizer
        self.parameters = [parameter.detach() for parameter in model.parameters()]
        self.buffers = [buffer.detach() for buffer in model.buffers()]
        self.average = [parameter.clone() for parameter in self.parameters] if averages else []
        self._aside: list[Tensor] = []

    def named(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor with a name that does not change while the model does not."""
        for kind, tensors in (
            ("parameter", self.parameters),
            ("buffer", self.buffers),
            ("average", self.average),
        ):
            yield from ((f"{kind}.{place}", tensor) for place, tensor in enumerate(tensors))
        place = 0
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                state = self.optimizer.state.get(parameter, {})
                for key in sorted(state):
                    if isinstance(state[key], Tensor):
                        yield f"optimizer.{place}.{key}", state[key]
                    elif state[key] is not None:
                        raise ConfigurationError(
                            f"{type(self.optimizer).__name__} keeps {key!r} as {type(state[key]).__name__}; a clan can "
                            "clone only state that is tensors, as the optimisers of torch.optim keep it"
                        )
                place += 1

    def own(self) -> dict[str, Tensor]:
        """All of them by name, with the member's own weights also while the averaged ones are shown."""
        aside = {f"parameter.{place}": tensor for place, tensor in enumerate(self._aside)}
        return {**dict(self.named()), **aside}

    def forget_aside(self) -> None:
        """The model's own weights come from elsewhere, and are shown."""
        self._aside = []

    @torch.no_grad()
    def load(self, kept: Mapping[str, Tensor]) -> None:
        """Back to copies of what :meth:`named` yielded; state that the optimiser did not have then is dropped.

        Raises:
            CorruptStateError: not of this model.
        """
        own = {name: tensor for name, tensor in self.named() if not name.startswith("optimizer.")}
        wrong = [name for name, tensor in own.items() if name not in kept or kept[name].shape != tensor.shape]
        if wrong:
            raise CorruptStateError(f"the kept tensors are of another model: {', '.join(wrong[:3])} differ")
        for name, tensor in own.items():
            tensor.copy_(kept[name])
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        self.optimizer.state.clear()
        for name, tensor in kept.items():
            kind, _, rest = name.partition(".")
            if kind == "optimizer":
                place, _, key = rest.partition(".")
                self.optimizer.state[parameters[int(place)]][key] = tensor.clone()

    def tensors(self) -> list[Tensor]:
        """All of them."""
        return [tensor for _, tensor in self.named()]

    @torch.no_grad()
    def advance(self, decay: float) -> None:
        """The moving average takes in the present weights."""
        for average, parameter in zip(self.average, self.parameters, strict=False):
            if average.is_floating_point():
                average.lerp_(parameter, 1.0 - decay)
            else:
                average.copy_(parameter)

    @torch.no_grad()
    def show_average(self) -> None:
        """The model holds the averaged weights, until :meth:`hide_average`."""
        if self.average and not self._aside:
            self._aside = [parameter.clone() for parameter in self.parameters]
            self.take(self.average, self.parameters)

    @torch.no_grad()
    def hide_average(self) -> None:
        """The model holds its own weights again."""
        if self._aside:
            self.take(self._aside, self.parameters)
            self._aside = []

    @staticmethod
    @torch.no_grad()
    def take(values: Sequence[Tensor], into: Sequence[Tensor]) -> None:
        """Copies values, one by one."""
        for mine, value in zip(into, values, strict=True):
            mine.copy_(value)

    def received(self, transport: Transport, source: int) -> list[Tensor]:
        """Copies of all that another member has, in the order of :meth:`tensors`."""
        return received(self.tensors(), transport, source)

    @torch.no_grad()
    def mean_of(self, transport: Transport, members: Sequence[int]) -> list[Tensor]:
        """The mean weights (and floating-point buffers) of some members, in the order of :meth:`souped`."""
        share = transport.size / len(members)
        inside = transport.rank in members
        found = [tensor * share if inside else torch.zeros_like(tensor) for tensor in self.souped()]
        mean_in_place(found, transport)
        return found

    def souped(self) -> list[Tensor]:
        """What a soup changes."""
        return [tensor for tensor in (*self.parameters, *self.buffers) if tensor.is_floating_point()]
