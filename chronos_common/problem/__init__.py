"""What a user writes: one bilevel problem, as pure step-indexed functions (torch).

* ``base.py``: :class:`InnerProblem`, the interface; only ``outer_parameters`` is compulsory.
* ``module_problem.py``: :class:`ModuleProblem`, the supervised case for any ``nn.Module``.
* ``outer_parameter.py``: values, bounds and scales of λ.  ``state.py``: θ and finished inner loops.
* ``context.py``: seed, step, shard, task, device, and the randomness that follows from them.
* ``solving.py``: the inner loop, one step of which estimators run again.  ``contract.py``: what is checked of
  every method's result.  ``composition.py``: problems inside problems.  ``loading.py``: problems by name.

A new ready-made kind of problem is a file beside ``module_problem.py``. Coordinator code must not import
this package: it needs torch.
"""

from chronos_common.problem.base import InnerProblem, defines, require_parts
from chronos_common.problem.batches import Batch
from chronos_common.problem.composition import solution
from chronos_common.problem.context import Context, Shard, Task, isolated_rng
from chronos_common.problem.loading import load_problem, parse_config
from chronos_common.problem.module_problem import ModuleProblem
from chronos_common.problem.outer_parameter import (
    OuterParameter,
    OuterValue,
    resolve_outer,
    resolve_parameters,
)
from chronos_common.problem.state import Aux, InnerState, Tensors, Trajectory

__all__ = [
    "Aux",
    "Batch",
    "Context",
    "InnerProblem",
    "InnerState",
    "ModuleProblem",
    "OuterParameter",
    "OuterValue",
    "Shard",
    "Task",
    "Tensors",
    "Trajectory",
    "defines",
    "isolated_rng",
    "load_problem",
    "parse_config",
    "require_parts",
    "resolve_outer",
    "resolve_parameters",
    "solution",
]
