"""Every target of ``deploy/k8s``, rendered once."""

from __future__ import annotations

import pytest

from tests.support.manifests import TARGETS, Manifests, render


@pytest.fixture(params=TARGETS)
def manifests(request: pytest.FixtureRequest) -> Manifests:
    """Each target in turn."""
    target: str = request.param
    return render(target)
