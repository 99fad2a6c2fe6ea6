"""Predicted against measured peak memory on the CPU: the allocator's own events, for models that no data row holds."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from chronos_common.prediction.memory import memory_of
from chronos_common.prediction.names import Optimizers, Precision
from chronos_common.prediction.torch.counting import count

BATCHES = (4, 32)
OPTIMISERS: dict[Optimizers, Callable[..., torch.optim.Optimizer]] = {
    Optimizers.ADAMW: lambda parameters: torch.optim.AdamW(parameters, foreach=True),
    Optimizers.MOMENTUM: lambda parameters: torch.optim.SGD(parameters, 0.01, momentum=0.9, foreach=True),
}


def models() -> Iterator[tuple[str, nn.Module, tuple[int, ...]]]:
    """Small models of several kinds, none of them in the data."""
    yield (
        "perceptron",
        nn.Sequential(nn.Linear(256, 1024), nn.Tanh(), nn.Linear(1024, 1024), nn.Tanh(), nn.Linear(1024, 10)),
        (256,),
    )
    convolutions: list[nn.Module] = []
    for inside, outside in ((3, 32), (32, 64), (64, 64)):
        convolutions += [nn.Conv2d(inside, outside, 3, padding=1), nn.GroupNorm(4, outside), nn.SiLU()]
    yield (
        "convolutions",
        nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)),
        (3, 32, 32),
    )
    layer = nn.TransformerEncoderLayer(128, 4, 256, batch_first=True)
    yield (
        "encoder",
        nn.Sequential(
            nn.TransformerEncoder(layer, 3, enable_nested_tensor=False), nn.Flatten(), nn.Linear(128 * 48, 10)
        ),
        (48, 128),
    )
    yield (
        "U-shape",
        nn.Sequential(
            nn.Conv2d(3, 24, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(24, 48, 3, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(48, 24, 2, 2),
            nn.ReLU(),
            nn.ConvTranspose2d(24, 3, 2, 2),
        ),
        (3, 48, 48),
    )


def measure() -> Iterator[dict[str, Any]]:
    """Each model, batch size and optimiser."""
    for name, module, shape in models():
        counts = count(module, shape)
        for batch in BATCHES:
            for kind, make in OPTIMISERS.items():
                predicted = memory_of(counts, batch, kind, Precision.FLOAT32, processor=True).peak
                actual = peak(module, shape, batch, make)
                yield {
                    "split": "memory",
                    "family": f"{name}, {kind.value}, batch {batch}",
                    "predicted MB": predicted / 1e6,
                    "measured MB": actual / 1e6,
                    "error %": 100 * (predicted / actual - 1),
                }


def peak(
    module: nn.Module, shape: tuple[int, ...], batch: int, make: Callable[..., torch.optim.Optimizer]
) -> float:
    """The most bytes that tensors held in a step after the first: what stands before it, and the allocator's events."""
    optimiser = make(list(module.parameters()))
    inputs = torch.zeros(batch, *shape)
    step(module, inputs, optimiser)
    held = [*module.parameters(), *module.buffers(), inputs]
    held += [
        value for state in optimiser.state.values() for value in state.values() if torch.is_tensor(value)
    ]
    standing = sum(tensor.untyped_storage().nbytes() for tensor in held)
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step(module, inputs, optimiser)
    results: Any = profiled.profiler
    events = [event for event in results.kineto_results.events() if event.name() == "[memory]"]
    live, highest = 0, 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        highest = max(highest, live)
    return float(standing + highest)


def step(module: nn.Module, inputs: torch.Tensor, optimiser: torch.optim.Optimizer) -> None:
    """One training step; gradients go at its end, so that every step begins alike."""
    output = module(inputs)
    if output.dim() == 2:
        loss = nn.functional.cross_entropy(output, torch.zeros(len(output), dtype=torch.int64))
    else:
        loss = output.square().mean()
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
