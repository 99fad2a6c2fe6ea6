"""Continual learning with a continuum memory system: three blocks, updated every 1, 5 and 25 versions.

python -m examples.continual [SEEDS]

The stream shows five tasks, two digits each, for five versions at a time and again and again. All weights are outer
parameters, and each version sees one batch of the task whose turn it is; levels say how often a block steps. What is
compared is how much of a task is forgotten until its next turn comes, against the same network on a single level.
"""

import sys

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.func import functional_call

from chronos_common.engine.local import optimize
from chronos_common.outer import OuterConfig
from chronos_common.outer.continuum_torch import ContinuumMemorySystem
from chronos_common.problem import Batch, Context, InnerProblem, InnerState, OuterParameter, Tensors

TASKS, TURN, PERIODS, TRAINING = 5, 5, (1, 5, 25), 1200


class Network(nn.Module):
    """Digits of 64 pixels through the memory to ten classes."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = ContinuumMemorySystem(64, periods=PERIODS, hidden=32)
        self.norm = nn.LayerNorm(64)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 64) to (n, 10)."""
        logits: Tensor = self.head(self.norm(self.memory(x)))
        return logits


class Stream(InnerProblem):
    """The stream as a problem without an inner one: its θ is a placeholder that nothing depends on."""

    def __init__(self, seed: int = 0) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = Network()
            digits = load_digits()
            order = torch.randperm(len(digits.target))
        self.x = torch.tensor(digits.data / 16, dtype=torch.float32)[order]
        self.y = torch.tensor(digits.target)[order]
        self.task_of = self.y // 2

    def outer_parameters(self) -> dict[str, OuterParameter]:
        return {name: OuterParameter(value.detach()) for name, value in self.network.named_parameters()}

    def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
        return InnerState({"none": torch.zeros(())})

    def inner_loss(self, inner: InnerState, outer: Tensors, batch: Batch, ctx: Context) -> Tensor:
        return inner.params["none"].square()

    def outer_loss(self, inner: InnerState, outer: Tensors, batch: Batch, ctx: Context) -> Tensor:
        task = ctx.base_version // TURN % TASKS
        mine = torch.nonzero(self.task_of[:TRAINING] == task).squeeze(1)
        drawn = mine[torch.randint(len(mine), (32,), generator=ctx.generator)]
        return nn.functional.cross_entropy(self.logits(outer, self.x[drawn]), self.y[drawn])

    def evaluate(self, inner: InnerState | None, outer: Tensors, ctx: Context) -> dict[str, float]:
        with torch.no_grad():
            right = (self.logits(outer, self.x[TRAINING:]).argmax(1) == self.y[TRAINING:]).double()
        tasks = self.task_of[TRAINING:]
        return {f"accuracy_{task}": right[tasks == task].mean().item() for task in range(TASKS)}

    def logits(self, outer: Tensors, x: Tensor) -> Tensor:
        """Of the network with the weights ``outer``: (n, 64) to (n, 10)."""
        values: Tensor = functional_call(self.network, outer, (x,))
        return values


def learn(seed: int, rate: float, *, levels: bool, rounds: int = 16) -> tuple[float, float]:
    """Accuracy over all tasks, and what is forgotten of a task until its next turn; means over the last two rounds."""
    problem = Stream(seed)
    outer = OuterConfig(
        name="sgd",
        learning_rate=rate,
        levels=problem.network.memory.timescales(prefix="memory.") if levels else (),
    )
    result = optimize(
        problem,
        estimator="unrolled",
        outer=outer,
        versions=TASKS * TURN * rounds + 1,
        inner_steps=1,
        seed=seed,
        evaluate_every=TURN,
    )
    at = [entry.metrics for entry in result.history if "accuracy_0" in entry.metrics]
    turns = range(len(at) - 2 * TASKS, len(at))
    accuracy = sum(at[turn][f"accuracy_{task}"] for turn in turns for task in range(TASKS)) / (
        2 * TASKS * TASKS
    )
    # at[k] is measured at the end of the k-th turn, which is that of task k - 1
    forgotten = [
        at[turn][_task(turn)] - at[turn + TASKS - 1][_task(turn)] for turn in turns if turn + TASKS <= len(at)
    ]
    return accuracy, sum(forgotten) / len(forgotten)


def _task(turn: int) -> str:
    return f"accuracy_{(turn - 1) % TASKS}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    print(f"levels        rate  accuracy  forgotten   means over {seeds} seeds")
    for name, levels, rate in (
        ("1, 5 and 25", True, 0.03),
        ("one", False, 0.03),
        ("one", False, 0.1),
    ):
        figures = [learn(seed, rate, levels=levels) for seed in range(seeds)]
        accuracy, forgotten = (sum(column) / len(figures) for column in zip(*figures, strict=True))
        print(f"{name:12} {rate:5}  {accuracy:8.3f}  {forgotten:9.3f}")
