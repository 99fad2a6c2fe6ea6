"""Estimators by name, for run configurations and the command line."""

from __future__ import annotations

import inspect
from typing import Any, Final

from chronos_common.errors import ConfigurationError
from chronos_common.hypergradient.automatic import AutomaticEstimator
from chronos_common.hypergradient.base import HypergradientEstimator
from chronos_common.hypergradient.bome import BOME
from chronos_common.hypergradient.evolution import EvolutionStrategies
from chronos_common.hypergradient.f2sa import F2SA
from chronos_common.hypergradient.finite_difference import FiniteDifference
from chronos_common.hypergradient.forward_mode import ForwardModeDifferentiation
from chronos_common.hypergradient.implicit import ImplicitDifferentiation
from chronos_common.hypergradient.implicit_family import (
    ImplicitBiCGSTAB,
    ImplicitExact,
    ImplicitFixedPoint,
    ImplicitGMRES,
    ImplicitNeumann,
    ImplicitNormalCG,
    ImplicitNystrom,
)
from chronos_common.hypergradient.persistent_evolution import PersistentEvolution
from chronos_common.hypergradient.pseudo_gradient import PseudoGradient
from chronos_common.hypergradient.pzobo import PZOBO
from chronos_common.hypergradient.recompute import RecomputeDifferentiation
from chronos_common.hypergradient.reversible import ReversibleDifferentiation
from chronos_common.hypergradient.sama import SAMA
from chronos_common.hypergradient.stochastic import MASOBA, SABA, SOBA, AmIGO, StocBiO
from chronos_common.hypergradient.unrolled import UnrolledDifferentiation

ESTIMATORS: Final[dict[str, type[HypergradientEstimator]]] = {
    "auto": AutomaticEstimator,
    "implicit": ImplicitDifferentiation,
    "normal_cg": ImplicitNormalCG,
    "gmres": ImplicitGMRES,
    "bicgstab": ImplicitBiCGSTAB,
    "neumann": ImplicitNeumann,
    "fixed_point": ImplicitFixedPoint,
    "nystrom": ImplicitNystrom,
    "exact": ImplicitExact,
    "stocbio": StocBiO,
    "amigo": AmIGO,
    "soba": SOBA,
    "ma_soba": MASOBA,
    "saba": SABA,
    "unrolled": UnrolledDifferentiation,
    "recompute": RecomputeDifferentiation,
    "reversible": ReversibleDifferentiation,
    "forward": ForwardModeDifferentiation,
    "finite_difference": FiniteDifference,
    "sama": SAMA,
    "f2sa": F2SA,
    "bome": BOME,
    "pseudo_gradient": PseudoGradient,
    "evolution": EvolutionStrategies,
    "pes": PersistentEvolution,
    "pzobo": PZOBO,
}


def make_estimator(name: str, **config: Any) -> HypergradientEstimator:
    """Build the estimator called ``name`` with keyword arguments ``config``.

    Raises:
        ConfigurationError: an unknown name or key (the message lists the choices), a value of the wrong
            type, or one out of range.
    """
    if name not in ESTIMATORS:
        raise ConfigurationError(
            f"there is no hypergradient estimator '{name}'; choose one of {sorted(ESTIMATORS)}"
        )
    choices = inspect.signature(ESTIMATORS[name]).parameters
    unknown = sorted(config.keys() - choices.keys())
    if unknown:
        raise ConfigurationError(
            f"estimator '{name}' has no setting '{unknown[0]}'; choose from {sorted(choices)}"
        )
    try:
        return ESTIMATORS[name](**config)
    except TypeError as error:
        raise ConfigurationError(f"estimator '{name}' cannot be built from {config}: {error}") from error
