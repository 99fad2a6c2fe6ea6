"""The torch face gives the payloads of the NumPy pipeline, on every device that is there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from chronos_common.compression import PipelineConfig, compress, make_pipeline, top_k, torch_face
from chronos_common.compression.pipeline import Pipeline
from chronos_common.errors import DtypeMismatchError, NameMismatchError, NonFiniteError, ShapeMismatchError

NAMES = ["identity", "int8", "topk10", "topk10+int8", "topk1+int8", "topk95"]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
devices = pytest.mark.parametrize("device", DEVICES)


def arrays(seed: int, dtype: Any) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "large": (rng.standard_normal((50, 80)) * 10.0 ** rng.integers(-30, 30, (50, 80))).astype(dtype),
        "ties": rng.integers(-2, 3, 5000).astype(dtype),
        "tiny": (rng.standard_normal(900) * 1e-38).astype(dtype),
        "edge": np.full(300, np.finfo(np.float32).max, dtype),
        "wide": np.where(np.arange(300) == 5, 1e300 if dtype is np.float64 else 1.0, 0.5).astype(dtype),
        "zeros": np.zeros((3, 400), dtype),
        "empty": np.zeros((0, 4), dtype),
        "scalar": np.array(0.1, dtype),
    }


def tensors(of: Any, device: str) -> dict[str, Any]:
    return {name: torch.from_numpy(np.array(value)).to(device) for name, value in of.items()}


def assert_same(found: Any, expected: Any) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        mine = tensor.cpu().numpy()
        assert mine.dtype == expected[name].dtype
        np.testing.assert_array_equal(mine, expected[name])


@devices
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_payloads_and_residuals_are_those_of_numpy(name: str, dtype: Any, device: str) -> None:
    pipeline = Pipeline(PipelineConfig(name=name, dense_below_elements=10))
    owed: dict[str, Any] = {}
    owed_tensors: dict[str, Any] = {}
    for seed in range(4):
        update = {key: value / dtype(8) for key, value in arrays(seed, dtype).items()}
        expected = compress(pipeline, update, owed)
        found = torch_face.compress(pipeline, tensors(update, device), owed_tensors)
        assert found.payload == expected.payload
        assert_same(found.transmitted, expected.transmitted)
        assert_same(found.residual, expected.residual)
        owed, owed_tensors = expected.residual, found.residual


@devices
@pytest.mark.parametrize("k", [0, 1, 7, 2000, 4999, 5000, 6000])
def test_selection_breaks_ties_by_position(k: int, device: str) -> None:
    values = arrays(3, np.float32)["ties"]
    found = torch_face.top_k(torch.from_numpy(values).to(device), k)
    np.testing.assert_array_equal(found.cpu().numpy(), top_k(values, k))


@devices
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused(name: str, bad: float, device: str) -> None:
    tensor = torch.ones(1000, device=device)
    tensor[3] = bad
    with pytest.raises(NonFiniteError):
        torch_face.compress(make_pipeline(name), {"x": tensor})


def test_views_and_gradients_do_no_harm() -> None:
    tensor = torch.arange(1200.0).reshape(30, 40).T.requires_grad_()
    found = torch_face.compress(make_pipeline("topk10+int8"), {"x": tensor})
    expected = compress(make_pipeline("topk10+int8"), {"x": tensor.detach().numpy()})
    assert found.payload == expected.payload
    assert not found.transmitted["x"].requires_grad


def test_what_does_not_match_is_refused() -> None:
    pipeline = make_pipeline("int8")
    update = {"x": torch.ones(3)}
    with pytest.raises(NameMismatchError):
        torch_face.compress(pipeline, update, {"x": torch.ones(3), "y": torch.ones(3)})
    with pytest.raises(ShapeMismatchError):
        torch_face.compress(pipeline, update, {"x": torch.ones(4)})
    with pytest.raises(DtypeMismatchError):
        torch_face.compress(pipeline, update, {"x": torch.ones(3, dtype=torch.float64)})
    with pytest.raises(DtypeMismatchError, match="float16"):
        torch_face.compress(pipeline, {"x": torch.ones(3, dtype=torch.float16)})
