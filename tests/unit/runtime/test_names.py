"""Stable worker ids, random instance ids."""

from __future__ import annotations

import pytest

from chronos_common.runtime import default_worker_id, new_instance_id


@pytest.mark.parametrize(
    ("hostname", "expected"),
    [("gpu-1.lab.example", "gpu-1"), ("my host!", "my-host"), ("", "worker"), ("x" * 300, "x" * 128)],
)
def test_the_worker_id_is_the_host_s_name(hostname: str, expected: str) -> None:
    assert default_worker_id(hostname) == expected


def test_the_default_is_stable() -> None:
    assert default_worker_id() == default_worker_id() != ""


def test_instances_differ() -> None:
    assert new_instance_id() != new_instance_id()
