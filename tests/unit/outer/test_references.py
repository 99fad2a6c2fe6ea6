"""Optimisers that torch has not, against their formulas written down once more, with BLAS and libm."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from chronos_common.outer import OuterConfig, make_optimizer
from chronos_common.outer.exact import dot, exp, matmul, norm, row_sums
from chronos_common.outer.m3 import newton_schulz


def some(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).normal(size=shape)


def run(config: OuterConfig, params: dict[str, Any], gradients: list[dict[str, Any]]) -> dict[str, Any]:
    optimizer = make_optimizer(config)
    state = optimizer.init(params)
    for gradient in gradients:
        params, state = optimizer.step(params, gradient, state)
    return params


def orthogonal(matrix: torch.Tensor, steps: int) -> torch.Tensor:
    """Muon's iteration as its authors wrote it, in float64."""
    x = matrix.reshape(matrix.shape[0], -1)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return (x.T if tall else x).reshape(matrix.shape)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (3, 2, 5), (1, 4), (5, 1)])
def test_newton_and_schulz_are_those_of_muon(shape: tuple[int, ...]) -> None:
    matrix = some(0, *shape)
    expected = orthogonal(torch.tensor(matrix), 5).numpy()
    np.testing.assert_allclose(newton_schulz(matrix, 5), expected, rtol=1e-12, atol=1e-12)


def test_newton_and_schulz_bring_singular_values_near_one() -> None:
    singular = np.linalg.svd(newton_schulz(some(1, 12, 30), 5), compute_uv=False)
    assert 0.6 < singular.min() <= singular.max() < 1.3


def test_m3_is_its_formula() -> None:
    config = OuterConfig(
        name="m3", learning_rate=0.03, beta1=0.8, beta2=0.9, beta3=0.7, slow_period=3, weight_decay=0.2
    )
    start = {"matrix": some(0, 4, 5), "vector": some(1, 3), "kernel": some(2, 3, 2, 2)}
    gradients = [
        {name: some(10 * n + i, *a.shape) for i, (name, a) in enumerate(start.items())} for n in range(8)
    ]
    for name, array in start.items():
        x, fast, squares = torch.tensor(array), torch.zeros(array.shape), torch.zeros(array.shape)
        slow, chunk, direction = (torch.zeros(array.shape, dtype=torch.float64) for _ in range(3))
        ortho = (lambda t: orthogonal(t, 5)) if array.ndim > 1 else (lambda t: t)
        for t, gradient in enumerate(gradients, 1):
            g = torch.tensor(gradient[name])
            fast, squares, chunk = 0.8 * fast + 0.2 * g, 0.9 * squares + 0.1 * g * g, chunk + g
            if t % 3 == 0:
                slow, chunk = 0.7 * slow + 0.3 * chunk / 3, torch.zeros_like(chunk)
                direction = ortho(slow / (1 - 0.7 ** (t // 3)))
            step = ortho(fast / (1 - 0.8**t)) + 0.5 * direction
            x = x * (1 - 0.03 * 0.2) - 0.03 * step / ((squares / (1 - 0.9**t)).sqrt() + 1e-8)
        np.testing.assert_allclose(run(config, start, gradients)[name], x.numpy(), rtol=1e-12, atol=1e-12)


def test_the_delta_rule_is_its_formula() -> None:
    config = OuterConfig(name="delta_momentum", learning_rate=0.1, momentum=0.9, delta_rate=0.6)
    start, gradients = {"a": some(0, 3, 4)}, [{"a": some(n, 3, 4)} for n in range(1, 6)]
    x, velocity = start["a"].reshape(-1), np.zeros(12)
    for gradient in gradients:
        g = gradient["a"].reshape(-1)
        key = g / np.linalg.norm(g)
        velocity = 0.9 * (np.eye(12) - 0.6 * np.outer(key, key)) @ velocity + g
        x = x - 0.1 * velocity
    np.testing.assert_allclose(run(config, start, gradients)["a"].reshape(-1), x, rtol=1e-12, atol=1e-12)


def test_the_delta_rule_forgets_along_the_gradient_and_nowhere_else() -> None:
    config = OuterConfig(name="delta_momentum", learning_rate=1.0, momentum=0.5, delta_rate=1.0)
    optimizer = make_optimizer(config)
    params = {"a": np.zeros(2)}
    _, state = optimizer.step(params, {"a": np.array([4.0, 8.0])}, optimizer.init(params))
    _, state = optimizer.step(params, {"a": np.array([1.0, 0.0])}, state)
    np.testing.assert_array_equal(state.slots["velocity"]["a"], [1.0, 4.0])


def test_exponentiated_gradient_is_its_formula() -> None:
    config = OuterConfig(name="exponentiated_gradient", learning_rate=0.4)
    rows = np.abs(some(0, 3, 5))
    rows /= rows.sum(axis=-1, keepdims=True)
    gradients = [{"w": some(n, 3, 5)} for n in range(1, 7)]
    expected = rows
    for gradient in gradients:
        expected = expected * np.exp(-0.4 * gradient["w"])
        expected = expected / expected.sum(axis=-1, keepdims=True)
    found = run(config, {"w": rows}, gradients)["w"]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.sum(axis=-1), 1.0, rtol=1e-14)


def test_exponentiated_gradient_survives_gradients_beyond_every_exponent() -> None:
    config = OuterConfig(name="exponentiated_gradient", learning_rate=1.0)
    found = run(config, {"w": np.full(3, 1 / 3)}, [{"w": np.array([-1e6, 0.0, 1e300])}])["w"]
    np.testing.assert_allclose(found, [1, 0, 0], atol=1e-300)


# --- what they are made of -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_and_sums_agree_with_blas(dtype: Any) -> None:
    left, right = some(0, 7, 33).astype(dtype), some(1, 33, 5).astype(dtype)
    tolerance = 1e-5 if dtype is np.float32 else 1e-13
    np.testing.assert_allclose(matmul(left, right), left @ right, rtol=tolerance, atol=tolerance)
    assert matmul(left, right).dtype == dtype
    np.testing.assert_allclose(row_sums(left)[:, 0], left.sum(axis=-1), rtol=tolerance, atol=tolerance)
    assert row_sums(np.zeros((2, 0))).shape == (2, 1)
    assert dot(left, left) == pytest.approx(float((left.astype(float) ** 2).sum()), rel=1e-12)
    assert norm(left) == pytest.approx(float(np.linalg.norm(left.astype(float))), rel=1e-12)


def test_products_do_not_depend_on_the_layout() -> None:
    left, right = some(0, 8, 9), some(1, 9, 7)
    straight = matmul(left, right)
    assert matmul(np.asfortranarray(left), np.asfortranarray(right)).tobytes() == straight.tobytes()


def test_exponentials_are_those_of_libm_to_two_units() -> None:
    values = np.concatenate([np.linspace(-745, 709, 20001), np.linspace(-1e-3, 1e-3, 101), [0.0]])
    exact = np.array([math.exp(value) for value in values])
    normal = exact > 2.3e-308
    error = np.abs(exp(values) - exact)[normal] / np.spacing(exact[normal])
    assert error.max() <= 2
    assert exp(np.array([0.0]))[0] == 1.0
    assert np.isfinite(exp(np.array([1e308, -1e308]))).all()


def test_what_they_give_is_frozen() -> None:
    """The bits that another machine must give too."""
    values = np.array([-1.5, 0.3, 10.0, -700.25])
    assert [float(value).hex() for value in exp(values)] == FROZEN_EXP
    product = matmul(np.arange(6.0).reshape(2, 3) / 7, np.arange(6.0).reshape(3, 2) / 11)
    assert [float(value).hex() for value in product.reshape(-1)] == FROZEN_PRODUCT
    ortho = newton_schulz((np.arange(6, dtype=np.float32) ** 2).reshape(2, 3), 5)
    assert [float(value).hex() for value in ortho.reshape(-1)] == FROZEN_ORTHO


FROZEN_EXP = [
    "0x1.c8f87724b5c1dp-3",
    "0x1.599058c8c1a96p+0",
    "0x1.5829dcf950560p+14",
    "0x1.af5fe9a485c8ep-1011",
]
FROZEN_PRODUCT = [
    "0x1.09f959c427e56p-3",
    "0x1.59c427e567109p-3",
    "0x1.745d1745d1746p-2",
    "0x1.09f959c427e56p-1",
]
FROZEN_ORTHO = [
    "-0x1.0231100000000p-1",
    "-0x1.a4c7900000000p-2",
    "0x1.1545b80000000p-1",
    "0x1.0c60600000000p-2",
    "0x1.a3bcf80000000p-2",
    "0x1.01fe400000000p-1",
]
