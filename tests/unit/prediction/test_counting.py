"""Counts against arithmetic, against the catalogue, and where meta tensors do not get."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from chronos_common.errors import UncountableModuleError
from chronos_common.prediction.catalogue import catalogue, counts_of, key
from chronos_common.prediction.counts import OPTIONAL, Counts, Line
from chronos_common.prediction.torch.counting import count
from chronos_common.prediction.torch.zoo import count_entry, entries


def test_a_linear_layer_costs_what_its_products_say() -> None:
    found = count(nn.Linear(20, 10, bias=False), (20,))
    # Forward, and the gradient of the weights; the input needs none.
    assert found.matmul_flops.at(7) == 2 * 2 * 7 * 20 * 10
    assert found.parameters == 200
    assert found.input_elements == 20
    assert not found.degraded


@pytest.mark.parametrize("groups", [1, 8])
def test_convolutions_count_their_groups(groups: int) -> None:
    module = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 16, 3, padding=1, groups=groups, bias=False))
    found = count(module, (8, 6, 6))
    products = 2 * 36 * 16 * 8 * 9 // groups
    plain = 2 * 36 * 8 * 8
    assert found.flops(5) == 5 * (3 * products + 2 * plain)
    assert (found.grouped_flops.at(5) > 0) == (groups > 1)


def test_counts_are_lines_in_the_batch_size() -> None:
    module = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.LayerNorm(64), nn.Linear(64, 3))
    direct = count(nn.Sequential(module), (4,))
    assert direct.matmul_flops.constant == pytest.approx(0)
    # Weights are read whatever the batch is.
    assert direct.matmul_elements.constant > 0
    assert direct.saved_elements.per_sample >= 64


def test_the_module_stays_as_it_was() -> None:
    module = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(), nn.Linear(3, 2)).eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    drawn = torch.get_rng_state()
    count(module, (3,))
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert not any(part.training for part in module.modules())
    assert all(parameter.grad is None for parameter in module.parameters())


class Asking(nn.Module):
    """Decides by a value, which meta tensors do not have."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.layer(inputs)
        return scores if scores.sum().item() < 1e9 else -scores


def test_a_module_that_meta_cannot_run_is_counted_on_the_cpu_and_says_so() -> None:
    found = count(Asking(), (6,))
    assert "counted on the CPU" in found.degraded
    assert found.matmul_flops.at(4) == 2 * 2 * 4 * 6 * 2


def test_a_module_that_nothing_can_run_is_refused() -> None:
    with pytest.raises(UncountableModuleError, match="input_shape"):
        count(nn.Linear(6, 2), (5,))


def test_text_is_counted_with_its_attention() -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    found = count(nn.Sequential(nn.Embedding(50, 16), layer), (12,), dtype=torch.int64)
    assert found.attention_kernels == 1


@pytest.mark.parametrize("entry", [("mixer", "TinyImageNet", 128), ("mobilenetv2", "CIFAR10", None)])
def test_the_catalogue_is_what_counting_finds(entry: tuple[str, str, int | None]) -> None:
    fresh, kept = count_entry(*entry), counts_of(*entry)
    for field in dataclasses.fields(kept):
        if field.name in OPTIONAL:
            continue
        one, other = getattr(fresh, field.name), getattr(kept, field.name)
        if isinstance(other, Line):
            assert (one.at(2), one.at(64)) == pytest.approx((other.at(2), other.at(64)), rel=1e-6), field.name
        else:
            assert one == other, field.name


def test_the_catalogue_is_complete_and_survives_json() -> None:
    assert set(catalogue()) == {key(*entry) for entry in entries()}
    assert all(Counts.from_json(found.to_json()) == found for found in catalogue().values())


@pytest.mark.parametrize(
    ("model", "dataset", "parameters"),
    [
        ("resnet50", "TinyImageNet", 23_917_832),
        ("vgg16", "TinyImageNet", 135_088_392),
        ("densenet121", "CIFAR100", 7_056_356),
        ("ViT", "STL10", 85_806_346),
        ("DeiT-Tiny", "CIFAR100", 5_543_716),
        ("DistilBERT", "SST2", 8_275_970),
        ("resmlp", "CIFAR100", 1_627_812),
        ("asmlp", "STL10", 2_007_690),
    ],
)
def test_models_have_as_many_parameters_as_those_measured(model: str, dataset: str, parameters: int) -> None:
    assert counts_of(model, dataset).parameters == parameters


def test_an_lstm_is_one_kernel_for_each_layer_and_direction() -> None:
    found = count(nn.LSTM(6, 8, num_layers=2, bidirectional=True, batch_first=True), (5, 6))
    assert not found.degraded
    assert found.matmul_kernels == 2 * 2 * 2
    # Inputs of the second layer are both directions of the first; backward does twice what forward does.
    products = 2 * 5 * 4 * 8 * ((6 + 8) + (16 + 8)) * 2
    assert found.matmul_flops.at(3) == 3 * 3 * products
