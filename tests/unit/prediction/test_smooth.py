"""The smooth function among a head's members: outliers move it little, what is kept says the same."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from chronos_common.errors import ArtefactError
from chronos_common.prediction.smooth import Smooth, distances, matern52
from chronos_common.prediction.training.smoothing import smooth


def measurements(outliers: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Points of a plane, repeats of a gentle function there, the owner of each, the function itself."""
    random = np.random.default_rng(1)
    points = random.normal(size=(120, 2))
    truth = np.sin(points[:, 0]) + 0.3 * points[:, 1]
    owner = np.repeat(np.arange(len(points)), 3)
    values = truth[owner] + 0.02 * random.standard_normal(len(owner))
    values[random.choice(len(values), outliers, replace=False)] += 1.5
    return points, values, owner, truth


def test_disturbed_repeats_move_it_little() -> None:
    points, values, owner, truth = measurements(outliers=30)
    found = smooth(points, values, owner, length=3.0)
    plain = np.array([values[owner == index].mean() for index in range(len(points))])
    assert np.abs(found.predict(points) - truth).mean() < 0.2 * np.abs(plain - truth).mean()


def test_without_noise_it_goes_through_its_points_and_between_them() -> None:
    points, _, owner, truth = measurements(outliers=0)
    found = smooth(points, truth[owner], owner, length=3.0)
    asked = np.array([[0.1, 0.2], [-0.5, 0.4]])
    np.testing.assert_allclose(found.predict(points), truth, atol=0.02)
    np.testing.assert_allclose(found.predict(asked), np.sin(asked[:, 0]) + 0.3 * asked[:, 1], atol=0.05)
    assert found.predict(np.array([[1e4, 1e4]]))[0] == pytest.approx(found.centre)


def test_what_is_kept_says_the_same_one_by_one_as_together() -> None:
    points, values, owner, _ = measurements(outliers=5)
    found = smooth(points, values, owner, length=2.0)
    read = Smooth.read(found.arrays("here"), "here")
    together = read.predict(points)
    np.testing.assert_array_equal(together, found.predict(points))
    alone = np.concatenate([read.predict(points[index : index + 1]) for index in range(len(points))])
    np.testing.assert_allclose(alone, together, rtol=1e-9, atol=1e-12)


def test_arrays_that_do_not_fit_are_refused() -> None:
    points, values, owner, _ = measurements(outliers=0)
    arrays = smooth(points, values, owner, length=2.0).arrays("here")
    with pytest.raises(ArtefactError, match="there"):
        Smooth.read(arrays, "there")
    with pytest.raises(ArtefactError, match="fit together"):
        Smooth.read({**arrays, "here.alpha": arrays["here.alpha"][1:]}, "here")
    with pytest.raises(ArtefactError, match="fit together"):
        Smooth.read({**arrays, "here.kernel": np.array([np.nan, 0.0])}, "here")


def test_the_kernel_is_that_of_the_book() -> None:
    left, right = np.random.default_rng(0).normal(size=(2, 5, 3))
    apart = distances(left, right)
    np.testing.assert_allclose(apart, cdist(left, right), rtol=1e-9)
    scaled = np.sqrt(5) * apart / 1.7
    np.testing.assert_allclose(matern52(apart, 1.7), (1 + scaled + scaled**2 / 3) * np.exp(-scaled))
