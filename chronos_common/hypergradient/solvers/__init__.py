"""Linear solvers for systems that exist only as products with their matrix.

* ``base.py``: :class:`LinearSolver`, the interface, with :class:`LinearSystem` and :class:`LinearSolution`.
* One file for each solver (``richardson.py`` is what Neumann and fixed point share), and :data:`SOLVERS`, the
  table of their names.

A new solver is one file, a row in :data:`SOLVERS` and a row in the contract test
(``tests/unit/hypergradient/solvers/test_contract.py``). They know nothing of hypergradients:
``implicit.py`` builds the systems.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from chronos_common.errors import ConfigurationError
from chronos_common.hypergradient.solvers.base import LinearSolution, LinearSolver, LinearSystem, Product
from chronos_common.hypergradient.solvers.bicgstab import BiCGSTAB
from chronos_common.hypergradient.solvers.conjugate_gradient import ConjugateGradient
from chronos_common.hypergradient.solvers.exact import Exact
from chronos_common.hypergradient.solvers.fixed_point import FixedPoint
from chronos_common.hypergradient.solvers.gmres import GMRES
from chronos_common.hypergradient.solvers.neumann import Neumann
from chronos_common.hypergradient.solvers.normal_equations import NormalConjugateGradient
from chronos_common.hypergradient.solvers.nystrom import Nystrom

SOLVERS: Final[dict[str, type[LinearSolver]]] = {
    solver.name: solver
    for solver in (
        ConjugateGradient,
        NormalConjugateGradient,
        GMRES,
        BiCGSTAB,
        Neumann,
        FixedPoint,
        Nystrom,
        Exact,
    )
}


def make_solver(name: str, /, **settings: Any) -> LinearSolver:
    """Build the solver called ``name``.

    Raises:
        ConfigurationError: an unknown name or setting (the message lists the choices), a value of the wrong
            type, or one out of range.
    """
    if name not in SOLVERS:
        raise ConfigurationError(f"there is no linear solver '{name}'; choose one of {sorted(SOLVERS)}")
    choices = [field.name for field in dataclasses.fields(SOLVERS[name])]
    unknown = sorted(settings.keys() - set(choices))
    if unknown:
        raise ConfigurationError(
            f"solver '{name}' has no setting '{unknown[0]}'; choose from {sorted(choices)}"
        )
    try:
        return SOLVERS[name](**settings)
    except TypeError as error:
        raise ConfigurationError(f"solver '{name}' cannot be built from {settings}: {error}") from error


__all__ = [
    "GMRES",
    "SOLVERS",
    "BiCGSTAB",
    "ConjugateGradient",
    "Exact",
    "FixedPoint",
    "LinearSolution",
    "LinearSolver",
    "LinearSystem",
    "Neumann",
    "NormalConjugateGradient",
    "Nystrom",
    "Product",
    "make_solver",
]
