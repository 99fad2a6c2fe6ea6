"""A problem whose every step takes longer than anybody is ready to wait."""

from __future__ import annotations

import time
from typing import Any

from torch import Tensor

from tests.support.problems import Ridge


class Sleeper(Ridge):
    """Sleeps for ten minutes, where no deadline can interrupt it."""

    def inner_loss(self, *_: Any) -> Tensor:
        print("asleep", flush=True)  # noqa: T201 - tells the test that the step has begun
        time.sleep(600.0)
        raise AssertionError("nobody waits that long")
