"""Betty with its conjugate gradient as fixed after the release: the new direction uses the new residual."""

from __future__ import annotations

import importlib
import inspect
import types
from collections.abc import Callable

from torch import Tensor

from benchmarks.hyper.cases import Case
from benchmarks.hyper.peers.betty_released import driven

_WRONG = "p_new = [rr + beta * pp for rr, pp in zip(r, p)]"
_RIGHT = "p_new = [rr + beta * pp for rr, pp in zip(r_new, p)]"


def conjugate_gradient(case: Case, steps: int) -> Callable[[], list[Tensor]]:
    """The released kernel with that one line changed."""
    # The package shadows its module of that name with the function.
    source = inspect.getsource(importlib.import_module("betty.hypergradient.cg"))
    if source.count(_WRONG) != 1:
        raise ImportError("this release of Betty is not the one with the old residual")
    fixed = types.ModuleType("betty_cg_fixed")
    exec(compile(source.replace(_WRONG, _RIGHT), "betty_cg_fixed", "exec"), vars(fixed))  # noqa: S102 - the peer's own code, one line changed
    return driven(case, steps, fixed.cg)
