"""Pieces of PromQL that many panels are made of."""

from __future__ import annotations

from typing import Final

RATE: Final = "[$__rate_interval]"
"""The window of a rate: it follows the zoom and the scrape interval."""

RUN: Final = 'run=~"$run"'
"""The runs that were chosen at the top."""


def per_second(series: str, by: str, more: str = "") -> str:
    """Rate of a counter of the chosen runs; ``more`` are further matchers, each after a comma."""
    return f"sum by ({by}) (rate({series}{{{RUN}{more}}}{RATE}))"


def newest(series: str, by: str = "run") -> str:
    """A gauge of the chosen runs, whichever coordinator has them."""
    return f"max by ({by}) ({series}{{{RUN}}})"


def quantile(share: float, series: str, by: str, chosen: str = "") -> str:
    """A quantile of a histogram; ``chosen`` are matchers of its labels."""
    which = f"{{{chosen}}}" if chosen else ""
    return f"histogram_quantile({share}, sum by ({by}, le) (rate({series}_bucket{which}{RATE})))"


def total(series: str, by: str) -> str:
    """Rate of a counter of all processes."""
    return f"sum by ({by}) (rate({series}{RATE}))"
