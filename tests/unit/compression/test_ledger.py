"""The ledger's arithmetic; ``tests/unit/engine/test_ledger.py`` puts a whole run through it."""

from __future__ import annotations

import numpy as np
import pytest

from chronos_common.compression import Ledger, mass


def test_what_is_missing_or_doubled_shows() -> None:
    arrays = {"x": np.array([1.0, -3.0, 1.5])}
    ledger = Ledger().record("produced", arrays)
    assert (ledger.produced, ledger.gross) == (-0.5, 5.5)
    assert ledger.imbalance() == pytest.approx(0.5 / 5.5)
    assert ledger.imbalance(residual=mass(arrays)) == 0
    assert ledger.imbalance(pending=mass(arrays)) == 0
    assert ledger.record("applied", arrays).imbalance() == 0
    assert ledger.record("applied", arrays, share=2).imbalance() > 0
    split = ledger.record("applied", arrays, share=0.25).record("discounted", arrays, share=0.75)
    assert split.imbalance() == 0
    assert Ledger().imbalance() == 0
    assert mass({}) == 0


def test_unknown_terms_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="no term 'burnt'"):
        Ledger().record("burnt", {})
