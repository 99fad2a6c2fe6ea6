"""The Node client's own tests: it reads and writes the golden vectors byte for byte."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.support.foreign_clients import node_package, require


@pytest.mark.clients
def test_the_node_client_agrees_with_every_vector() -> None:
    done = subprocess.run(
        [require("node"), "--test", "test/"],
        cwd=node_package(),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    passed = re.search(r"pass (\d+)", done.stdout)
    assert passed is not None
    assert int(passed[1]) > 100
