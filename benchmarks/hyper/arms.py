"""Who computes what: the table of arms."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Final

from torch import Tensor

from benchmarks.hyper import ours, reference
from benchmarks.hyper.cases import Case

Once = Callable[[], list[Tensor]]

REFERENCE: Final = "reference"
OURS: Final = "chronos"
CG_PEERS: Final[Mapping[str, str]] = {
    "betty fixed": "betty_fixed",
    "betty released": "betty_released",
    "hypertorch-like": "hypertorch_like",
    "torchopt": "torchopt_root",
    "boat": "boat_cg",
}
"""Libraries with conjugate gradient: the name in the table, and the module in ``peers``."""


def conjugate_gradient(case: Case, steps: int) -> tuple[dict[str, Once], dict[str, str]]:
    """Every arm with ``steps`` steps of conjugate gradient on ``case``, and why others are missing."""
    arms: dict[str, Once] = {
        REFERENCE: lambda: reference.hypergradient(case, steps=steps),
        OURS: ours.conjugate_gradient(case, steps),
    }
    missing: dict[str, str] = {}
    for name, module in CG_PEERS.items():
        try:
            peer = importlib.import_module(f"benchmarks.hyper.peers.{module}")
            arms[name] = peer.conjugate_gradient(case, steps)
        except ImportError as error:
            missing[name] = str(error)
    return arms, missing
