"""Implicit differentiation under the names of its solvers; ``implicit.py`` does the work.

Each class says what its solver costs in products; a product is one backward pass through the retained graph of the
inner gradient (of one inner step for ``condition="update"``), and D is the number of inner parameters. None of them
needs memory that grows with the number of inner steps.
"""

from __future__ import annotations

from chronos_common.hypergradient.implicit import ImplicitDifferentiation
from chronos_common.hypergradient.solvers import (
    GMRES,
    BiCGSTAB,
    Exact,
    FixedPoint,
    Neumann,
    NormalConjugateGradient,
    Nystrom,
)
from chronos_common.outer import OuterConfig, OuterOptimizer


class ImplicitNormalCG(ImplicitDifferentiation):
    """With conjugate gradient on the normal equations: for Hessians that are indefinite or singular.

    Cost: 2 products a step. Memory: 6 D-vectors. Arguments: those of
    :class:`~chronos_common.hypergradient.solvers.NormalConjugateGradient` and of
    :class:`ImplicitDifferentiation`.
    """

    def __init__(
        self,
        *,
        steps: int = 30,
        tolerance: float = 1e-10,
        damping: float = 0.0,
        warm_start: bool = True,
        condition: str = "stationarity",
        inner_batches: int = 1,
        outer_batches: int = 1,
        optimizer: OuterConfig | OuterOptimizer | None = None,
    ) -> None:
        super().__init__(
            solver=NormalConjugateGradient(steps=steps, tolerance=tolerance),
            damping=damping,
            warm_start=warm_start,
            condition=condition,
            inner_batches=inner_batches,
            outer_batches=outer_batches,
            optimizer=optimizer,
        )


class ImplicitGMRES(ImplicitDifferentiation):
    """With GMRES, of the problem's own update: for maps that are not symmetric.

    Cost: 1 product a step. Memory: ``restart`` + 3 D-vectors. Arguments: those of
    :class:`~chronos_common.hypergradient.solvers.GMRES` and of :class:`ImplicitDifferentiation`.
    """

    def __init__(
        self,
        *,
        steps: int = 30,
        restart: int = 30,
        tolerance: float = 1e-10,
        damping: float = 0.0,
        warm_start: bool = True,
        condition: str = "update",
        inner_batches: int = 1,
        outer_batches: int = 1,
        optimizer: OuterConfig | OuterOptimizer | None = None,
    ) -> None:
        super().__init__(
            solver=GMRES(steps=steps, restart=restart, tolerance=tolerance),
            damping=damping,
            warm_start=warm_start,
            condition=condition,
            inner_batches=inner_batches,
            outer_batches=outer_batches,
            optimizer=optimizer,
        )


class ImplicitBiCGSTAB(ImplicitDifferentiation):
    """With BiCGSTAB, of the problem's own update: as GMRES, in a fixed amount of memory.

    Cost: 2 products a step. Memory: 9 D-vectors. Arguments: those of
    :class:`~chronos_common.hypergradient.solvers.BiCGSTAB` and of :class:`ImplicitDifferentiation`.
    """

    def __init__(
        self,
        *,
        steps: int = 15,
        tolerance: float = 1e-10,
        damping: float = 0.0,
        warm_start: bool = True,
        condition: str = "update",
        inner_batches: int = 1,
        outer_batches: int = 1,
        optimizer: OuterConfig | OuterOptimizer | None = None,
    ) -> None:
        super().__init__(
            solver=BiCGSTAB(steps=steps, tolerance=tolerance),
            damping=damping,
            warm_start=warm_start,
            condition=condition,
            inner_batches=inner_batches,
            outer_batches=outer_batches,
            optimizer=optimizer,
        )


class ImplicitNeumann(ImplicitDifferentiation):
    """With the Neumann series: the least that can be done; cheap where the inner problem is well conditioned.

    Cost: 1 product a step, and ``power_steps`` for a step size. Memory: 4 D-vectors. Arguments: those of
    :class:`~chronos_common.hypergradient.solvers.Neumann` and of :class:`ImplicitDifferentiation`.
    """

    def __init__(
        self,
        *,
        steps: int = 30,
        step_size: float | None = None,
        power_steps: int = 10,
        tolerance: float = 1e-10,
        damping: float = 0.0,
        warm_start: bool = True,
        inner_batches: int = 1,
        outer_batches: int = 1,
        optimizer: OuterConfig | OuterOptimizer | None = None,
    ) -> None:
        super().__init__(
            solver=Neumann(steps=steps, step_size=step_size, power_steps=power_steps, tolerance=tolerance),
            damping=damping,
            warm_start=warm_start,
            inner_batches=inner_batches,
            outer_batches=outer_batches,
            optimizer=optimizer,
        )


class ImplicitFixedPoint(ImplicitDifferentiation):
    """With fixed-point iteration of the problem's own update; converges as the inner loop itself does.

    Cost: 1 product a step. Memory: 4 D-vectors (8 with momentum). Arguments: those of
    :class:`~chronos_common.hypergradient.solvers.FixedPoint` and of :class:`ImplicitDifferentiation`.
    """

    def __init__(
        self,
        *,
        steps: int = 50,
        tolerance: float = 1e-10,
        warm_start: bool = True,
        outer_batches: int = 1,
        optimizer: OuterConfig | OuterOptimizer | None = None,
    ) -> None:
        super().__init__(
            solver=FixedPoint(steps=steps, tolerance=tolerance),
            damping=0.0,
            warm_start=warm_start,
            condition="update",
            outer_batches=outer_batches,
            optimizer=optimizer,
        )


class ImplicitNystrom(ImplicitDifferentiation):
    """With a Nyström sketch of rank k and refinement: for Hessians with few large eigenvalues.

    Cost: k + ``refine`` + 2 products. Memory: 3 k + 6 D-vectors, k of them kept. Arguments: those of
    :class:`~chronos_common.hypergradient.solvers.Nystrom` and of :class:`ImplicitDifferentiation`; the damping
    must be above 0.
    """

    def __init__(
        self,
        *,
        rank: int = 10,
        refine: int = 10,
        damping: float = 0.01,
        tolerance: float = 1e-10,
        warm_start: bool = True,
        inner_batches: int = 1,
        outer_batches: int = 1,
        optimizer: OuterConfig | OuterOptimizer | None = None,
    ) -> None:
        super().__init__(
            solver=Nystrom(rank=rank, refine=refine, tolerance=tolerance),
            damping=damping,
            warm_start=warm_start,
            inner_batches=inner_batches,
            outer_batches=outer_batches,
            optimizer=optimizer,
        )


class ImplicitExact(ImplicitDifferentiation):
    """With the whole matrix: for few inner parameters, and as a reference.

    Cost: D products and O(D³) arithmetic. Memory: 2 D² numbers. Arguments: those of
    :class:`~chronos_common.hypergradient.solvers.Exact` and of :class:`ImplicitDifferentiation`; more than
    ``max_size`` inner parameters are refused.
    """

    def __init__(
        self,
        *,
        max_size: int = 2000,
        damping: float = 0.0,
        condition: str = "stationarity",
        inner_batches: int = 1,
        outer_batches: int = 1,
        optimizer: OuterConfig | OuterOptimizer | None = None,
    ) -> None:
        super().__init__(
            solver=Exact(max_size=max_size),
            damping=damping,
            warm_start=False,
            condition=condition,
            inner_batches=inner_batches,
            outer_batches=outer_batches,
            optimizer=optimizer,
        )
