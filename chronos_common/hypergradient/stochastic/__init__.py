"""Stochastic estimators: a few products on mini-batches at each call, and what was learnt carried to the next.

* ``base.py``: :class:`StochasticEstimator`, what all share; ``oracle.py``: derivatives batch by batch.
* ``stocbio.py``, ``amigo.py``, ``soba.py`` (with MA-SOBA), ``saba.py``: the estimators.

The literature updates θ, v and λ in one loop. Here the three are apart: θ takes ``num_inner_steps`` steps by the
problem's own rule and is carried by the worker, λ is stepped by the outer optimiser, and an estimator moves v and
returns the direction of λ. One inner step to a version is the single loop of the papers.
"""

from chronos_common.hypergradient.stochastic.amigo import AmIGO
from chronos_common.hypergradient.stochastic.saba import SABA
from chronos_common.hypergradient.stochastic.soba import MASOBA, SOBA
from chronos_common.hypergradient.stochastic.stocbio import StocBiO

__all__ = ["MASOBA", "SABA", "SOBA", "AmIGO", "StocBiO"]
