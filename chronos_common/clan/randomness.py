"""Randomness by name: the same (seed, keys) give the same stream, whatever was drawn elsewhere before."""

from __future__ import annotations

import numpy as np


def stream(seed: int, *keys: int) -> np.random.Generator:
    """A generator of its own for every tuple of keys, each 0 or more (NumPy's ``SeedSequence`` and ``Philox``)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *keys])))
