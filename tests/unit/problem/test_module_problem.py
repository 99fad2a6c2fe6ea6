from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from chronos_common.errors import ConfigurationError, ProblemError
from chronos_common.problem import Context, ModuleProblem, OuterParameter, Shard, Task
from chronos_common.problem.batches import BatchSource
from chronos_common.problem.module_problem import draws_random_numbers
from tests.support.problems import classes, normal

TRAIN, VALIDATION = classes(24, seed=1, dtype=torch.float32), classes(15, seed=2, dtype=torch.float32)
PENALTY = {"outer": {"l2": 0.1}, "regulariser": lambda p, o: o["l2"] * p["0.weight"].square().sum()}


def network(*middle: nn.Module) -> nn.Module:
    module = nn.Sequential(nn.Linear(3, 6), *middle, nn.Tanh(), nn.Linear(6, 3))
    with torch.no_grad():
        for i, parameter in enumerate(module.parameters()):
            parameter.copy_(0.4 * normal(*parameter.shape, seed=i).float())
    return module


def problem(*middle: nn.Module, **options: Any) -> ModuleProblem:
    return ModuleProblem(network(*middle), TRAIN, VALIDATION, **{**PENALTY, **options})


def test_learns_and_reports() -> None:
    learner = problem(
        outer={"l2": 1e-3}, learning_rate=0.5, momentum=0.9, test=classes(40, seed=3, dtype=torch.float32)
    )
    inner, run = learner.solve(num_steps=150)
    figures = learner.evaluate(inner, run.outer, run.ctx)
    assert figures.keys() == {"validation_loss", "validation_accuracy", "test_loss", "test_accuracy"}
    assert figures["test_accuracy"] > 0.6
    with pytest.raises(ProblemError, match="solve"):
        learner.evaluate(None, run.outer, run.ctx)


def test_equals_an_ordinary_training_loop() -> None:
    module = network(nn.BatchNorm1d(6))
    optimiser = torch.optim.SGD(module.parameters(), lr=0.3, momentum=0.8)
    for _ in range(6):
        optimiser.zero_grad()
        loss = functional.cross_entropy(module(TRAIN[0]), TRAIN[1]) + 0.1 * module[0].weight.square().sum()  # type: ignore[index]
        loss.backward()
        optimiser.step()
    inner, _ = problem(nn.BatchNorm1d(6), learning_rate=0.3, momentum=0.8).solve(num_steps=6)
    expected = module.state_dict()
    for name, value in {**inner.params, **inner.buffers}.items():
        torch.testing.assert_close(value, expected[name], msg=name)
    assert int(inner.buffers["1.num_batches_tracked"]) == 6


def test_the_users_module_is_never_written_to() -> None:
    module = network(nn.BatchNorm1d(6), nn.Dropout(0.5))
    before = {k: v.clone() for k, v in module.state_dict().items()}
    ModuleProblem(module, TRAIN, VALIDATION, **PENALTY).solve(num_steps=3)  # type: ignore[arg-type]
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert module.training


def test_a_module_that_replaces_its_buffer_is_followed() -> None:
    class Counter(nn.Module):
        seen: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                self.seen = self.seen + len(x)
            return x

    inner, run = problem(Counter(), batch_size=8).solve(num_steps=3)
    assert float(inner.buffers["1.seen"]) == 24
    learner = problem(Counter())
    learner.outer_loss(inner, run.outer, learner.outer_batch(3, run.ctx), run.ctx.at(training=False))
    assert float(inner.buffers["1.seen"]) == 24


def test_frozen_parameters_stay() -> None:
    module = network()
    module[0].weight.requires_grad_(False)  # type: ignore[index]
    frozen = ModuleProblem(module, TRAIN, VALIDATION, outer={"x": 1.0})
    inner, _ = frozen.solve(num_steps=3)
    assert "0.weight" not in inner.params
    assert torch.equal(inner.buffers["0.weight"], module[0].weight)  # type: ignore[index]


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.RReLU()])
def test_random_layers_repeat_at_the_same_address_and_rest_in_evaluation(layer: nn.Module) -> None:
    learner, ctx = problem(layer), Context(base_version=3)
    inner, run = learner.solve(num_steps=2, ctx=ctx)
    again, _ = learner.solve(num_steps=2, ctx=ctx)
    assert torch.equal(inner.params["0.weight"], again.params["0.weight"])
    batch = learner.inner_batch(0, ctx)

    def loss(step: int, *, training: bool) -> float:
        value, _ = learner.inner_loss(inner, run.outer, batch, ctx.at(step=step, training=training))
        return float(value)

    assert loss(1, training=True) == loss(1, training=True) != loss(2, training=True)
    assert loss(1, training=False) == loss(2, training=False)


def test_layers_that_draw_random_numbers_are_recognised() -> None:
    assert draws_random_numbers(network(nn.Dropout(0.1)))
    assert draws_random_numbers(nn.LSTM(2, 2, num_layers=2, dropout=0.5))
    assert draws_random_numbers(nn.TransformerEncoderLayer(4, 2, batch_first=True))
    assert not draws_random_numbers(network(nn.Dropout(0.0), nn.BatchNorm1d(6)))


def test_sample_weights_multiply_the_losses_of_their_samples() -> None:
    weights = torch.rand(24, generator=torch.Generator().manual_seed(0))
    learner = problem(
        outer={"w": weights},
        regulariser=None,
        sample_weights=lambda outer, positions: outer["w"][positions],
        batch_size=6,
    )
    inner, run = learner.solve(num_steps=0)
    batch = learner.inner_batch(2, run.ctx)
    loss, _ = learner.inner_loss(inner, run.outer, batch, run.ctx)
    outputs = network()(TRAIN[0][batch.positions])
    each = functional.cross_entropy(outputs, TRAIN[1][batch.positions], reduction="none")
    torch.testing.assert_close(loss, (weights[batch.positions] * each).mean())
    scalar = problem(
        loss=nn.CrossEntropyLoss(),
        outer={"w": weights},
        regulariser=None,
        sample_weights=lambda outer, positions: outer["w"][positions],
    )
    with pytest.raises(ProblemError, match="one number per sample"):
        scalar.solve(num_steps=1)


def test_other_losses_and_datasets() -> None:
    x, y = normal(10, 3, seed=1).float(), normal(10, 2, seed=2).float()
    pairs, data = (x, y), TensorDataset(x, y)
    solved = [
        ModuleProblem(
            nn.Linear(3, 2),
            train,
            pairs,
            outer={"l2": 0.1},
            loss=functional.mse_loss,
            regulariser=lambda p, o: o["l2"] * p["weight"].square().sum(),
            initialise=lambda p, o: {k: torch.zeros_like(v) for k, v in p.items()},
            batch_size=4,
        ).solve(num_steps=5)
        for train in (pairs, data)
    ]
    assert torch.equal(solved[0][0].params["weight"], solved[1][0].params["weight"])
    assert [run.samples for _, run in solved] == [20, 20]
    expected = functional.mse_loss(torch.zeros(4, 2), y[BatchSource(pairs, 4).at(0, Context()).positions])
    assert float(solved[0][1].losses[0]) == pytest.approx(float(expected))


def test_nested_inputs_are_moved_and_passed_on() -> None:
    class Rows:
        def __len__(self) -> int:
            return 5

        def __getitem__(self, i: int) -> tuple[dict[str, Any], int]:
            return {"x": [torch.ones(2) * i], "name": f"row {i}"}, i % 2

    batch = BatchSource(Rows(), 2).at(0, Context())
    assert batch.inputs["x"][0].shape == (2, 2)
    assert len(batch.inputs["name"]) == 2
    assert torch.equal(batch.targets, batch.positions % 2)


def test_batches_of_an_epoch_cover_the_data_and_need_no_history() -> None:
    source, ctx = BatchSource(TRAIN, 5), Context(seed=1)
    epoch = torch.cat([source.at(step, ctx).positions for step in range(4)])
    assert len(set(epoch.tolist())) == 20
    assert torch.equal(source.at(2, ctx).positions, epoch[10:15])
    assert not torch.equal(source.at(6, ctx).positions, source.at(2, ctx).positions)
    assert not torch.equal(source.at(2, ctx.at(task=Task(index=1))).positions, epoch[10:15])


def test_shards_split_validation_by_default_and_train_on_request() -> None:
    ctx = Context(shard=Shard(index=1, count=2))
    learner = problem()
    assert learner.outer_batch(0, ctx).positions.tolist() == list(range(1, 15, 2))
    assert len(learner.inner_batch(0, ctx).positions) == 24
    sharded = problem(shard_train=True, shard_validation=False, batch_size=4)
    assert all(int(i) % 2 == 1 for step in range(6) for i in sharded.inner_batch(step, ctx).positions)
    assert len(sharded.outer_batch(0, ctx).positions) == 15


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"learning_rate": "rate"}, r"learning_rate='rate'.*l2"),
        ({"momentum": "m"}, "momentum='m'"),
        ({"batch_size": 0}, "batch_size"),
        ({"train": (TRAIN[0], TRAIN[1][:3])}, "24 inputs but 3 targets"),
        ({"validation": (torch.empty(0, 3), torch.empty(0))}, "empty"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(options: dict[str, Any], words: str) -> None:
    arguments = {"train": TRAIN, "validation": VALIDATION, **PENALTY, **options}
    with pytest.raises(ConfigurationError, match=words):
        ModuleProblem(network(), **arguments)


def test_declared_parameters_come_back() -> None:
    declared = {"l2": OuterParameter(0.1, scale="log"), "x": 2.0}
    assert problem(outer=declared).outer_parameters()["l2"] is declared["l2"]
