"""A problem whose inner steps last as long as a file says, anew at each step: a worker's speed, to be changed."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from torch import Tensor

from tests.support.problems import Ridge

VARIABLE = "TEST_STEP_FILE"


class Paced(Ridge):
    """Sleeps in every inner step for the seconds that the file of its process holds."""

    def inner_loss(self, *given: Any) -> Tensor:
        time.sleep(float(Path(os.environ[VARIABLE]).read_text()))
        return super().inner_loss(*given)
