"""Dataset distillation: ten images, one of each digit, such that training on them alone does well.

    chronos run distillation:Distillation --path examples --estimator unrolled --cold-start --versions 100 \
        --inner-steps 20 --learning-rate 0.05 --local 2
    python -m examples.distillation [PER_CLASS] [VERSIONS]

λ are the images and the learning rate to train on them with; the inner problem is a network's training on them, from
weights that every version draws anew; the outer loss is that network's on real images. (Wang, Zhu, Torralba and Efros,
"Dataset distillation", 2018.)
"""

import sys

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.func import functional_call

from chronos_common.problem import (
    Batch,
    Context,
    InnerProblem,
    InnerState,
    OuterParameter,
    Tensors,
    isolated_rng,
)

CLASSES, PIXELS, HIDDEN, INNER_STEPS, REAL = 10, 64, 32, 20, 1200


def digits() -> tuple[Tensor, Tensor]:
    """All digits in a fixed random order: inputs ``(1797, 64)`` in [0, 1], labels ``(1797,)``; from 1200 on, test."""
    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
    return torch.tensor(data.data / 16, dtype=torch.float32)[order], torch.tensor(data.target)[order]


def real_images(per_class: int, seed: int) -> Tensor:
    """``per_class`` training images of each digit, drawn by the seed, in the order of the labels."""
    x, y = digits()
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for digit in range(CLASSES):
        mine = torch.nonzero(y[:REAL] == digit).squeeze(1)
        drawn.append(mine[torch.randperm(len(mine), generator=generator)[:per_class]])
    return x[torch.cat(drawn)]


class Distillation(InnerProblem):
    """Args: images ``per_class``, and the ``seed`` of the real images that they start as."""

    def __init__(self, per_class: int = 1, seed: int = 0) -> None:
        self.x, self.y = digits()
        self.start = real_images(per_class, seed)
        self.labels = torch.arange(CLASSES).repeat_interleave(per_class)
        self.network = nn.Sequential(nn.Linear(PIXELS, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, CLASSES))

    def outer_parameters(self) -> dict[str, OuterParameter]:
        return {
            "images": OuterParameter(self.start, bounds=(-1.0, 2.0)),
            # faster than its bound the training on bold images is unstable, and the outer loss with it
            "rate": OuterParameter(0.3, bounds=(1e-3, 0.5), scale="log"),
        }

    def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
        with isolated_rng(ctx):
            network = nn.Sequential(nn.Linear(PIXELS, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, CLASSES))
        return InnerState({name: value.detach().to(ctx.device) for name, value in network.named_parameters()})

    def inner_loss(self, inner: InnerState, outer: Tensors, batch: Batch, ctx: Context) -> Tensor:
        return self.loss(inner, outer["images"], self.labels.to(ctx.device))

    def inner_update(self, inner: InnerState, grads: Tensors, outer: Tensors, ctx: Context) -> InnerState:
        return InnerState({name: value - outer["rate"] * grads[name] for name, value in inner.params.items()})

    def outer_loss(self, inner: InnerState, outer: Tensors, batch: Batch, ctx: Context) -> Tensor:
        return self.loss(inner, self.x[:REAL].to(ctx.device), self.y[:REAL].to(ctx.device))

    def evaluate(self, inner: InnerState | None, outer: Tensors, ctx: Context) -> dict[str, float]:
        assert inner is not None
        with torch.no_grad():
            logits = functional_call(self.network, inner.params, (self.x[REAL:].to(ctx.device),))
        return {"test_accuracy": (logits.argmax(1).cpu() == self.y[REAL:]).double().mean().item()}

    def loss(self, inner: InnerState, x: Tensor, y: Tensor) -> Tensor:
        """Cross entropy of the network with the weights θ."""
        logits: Tensor = functional_call(self.network, inner.params, (x,))
        return nn.functional.cross_entropy(logits, y)


def learn(per_class: int, versions: int, seed: int = 0) -> Tensors:
    """The images and the rate after so many outer steps."""
    from chronos_common.engine.local import optimize
    from chronos_common.outer import OuterConfig

    found = optimize(
        Distillation(per_class, seed),
        estimator="unrolled",
        outer=OuterConfig(name="adam", learning_rate=0.05),
        versions=versions,
        inner_steps=INNER_STEPS,
        seed=seed,
        evaluate_every=0,
        warm_start=False,  # every version trains another network
    )
    return found.outer


def accuracy(outer: Tensors, *, networks: int = 10, steps: int = INNER_STEPS) -> float:
    """Mean test accuracy of new networks trained on the images."""
    problem = Distillation(len(outer["images"]) // CLASSES)
    found = []
    for network in range(networks):
        ctx = Context(seed=1000 + network)
        inner, _ = problem.solve(outer, num_steps=steps, ctx=ctx)
        found.append(problem.evaluate(inner, outer, ctx)["test_accuracy"])
    return sum(found) / len(found)


def accuracy_of_real(per_class: int, *, draws: int = 10, steps: int = 10 * INNER_STEPS) -> float:
    """The same for as many real images, drawn anew for every network, and ten times the steps."""
    rate = torch.tensor(0.5)
    draws_of = (real_images(per_class, seed=100 + draw) for draw in range(draws))
    return sum(accuracy({"images": x, "rate": rate}, networks=1, steps=steps) for x in draws_of) / draws


if __name__ == "__main__":
    torch.set_num_threads(1)
    per_class = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    learnt = learn(per_class, int(sys.argv[2]) if len(sys.argv) > 2 else 100)
    print(f"test accuracy after training on {per_class * CLASSES} images")
    print(
        f"learnt images, {INNER_STEPS} steps  {accuracy(learnt):.3f}   (learning rate {learnt['rate'].item():.3f})"
    )
    print(f"real images, {10 * INNER_STEPS} steps   {accuracy_of_real(per_class):.3f}")
