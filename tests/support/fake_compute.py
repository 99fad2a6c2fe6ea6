"""What stands for the user's problem in tests of the worker: updates that are told apart by their direction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from chronos_common.engine import (
    WorkSpec,
)
from chronos_common.hypergradient import Carry, InnerUpdate
from chronos_worker.trainer import Trainer
from tests.support.fake_coordinator import SIZE
from tests.support.fake_time import FakeTime


class FakeCompute:
    """Stands for the user's problem: the n-th update is the n-th unit vector, so that every one is told apart."""

    def __init__(self) -> None:
        self.produced = 0
        self.inputs: list[Mapping[str, Any]] = []
        self.before: Callable[[int, Mapping[str, Any]], object] = lambda _number, _arguments: None
        """Called in the compute thread before the n-th update is made; may raise."""
        self.work = 1.0
        self.dtype = "float64"

    def __call__(self, _problem: object, _estimator: object, stored: Any, **arguments: Any) -> InnerUpdate:
        arguments["stored"] = stored
        number = len(self.inputs)
        self.inputs.append(arguments)
        self.before(number, arguments)
        gradient = np.zeros(SIZE, self.dtype)
        gradient[self.produced] = 1.0
        self.produced += 1
        return InnerUpdate(
            gradient={"u": gradient},
            work=self.work,
            metrics={"outer_loss": 0.5, "odd": float("nan")},
            diagnostics={"outer_loss": 0.5},
            samples=7,
            tasks=1,
            carry=Carry(base_version=arguments["base_version"], next_step=number, inner={}, estimator={}),
        )

    def load(self, time: FakeTime) -> Callable[[WorkSpec], Trainer]:
        """What a worker takes for ``load``."""

        def load(work: WorkSpec) -> Trainer:
            return Trainer(
                None,  # type: ignore[arg-type]  # the fake never looks at it
                None,  # type: ignore[arg-type]
                work,
                device=torch.device("cpu"),
                clock=time.clock,
                compute=self,
            )

        return load
