"""Versions and staleness of the fragments of one set of outer parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from chronos_common.errors import UnknownVersionError

WHOLE = ""


class VersionTracker:
    """Counts versions per fragment and the staleness of what was computed at them.

    Versions are a total order: they start at 0 and grow by one. The outer parameters of a run that is not
    sharded are one fragment, named ``""``.
    """

    def __init__(self, fragments: Iterable[str] = (WHOLE,), *, version: int = 0) -> None:
        self._versions = dict.fromkeys(fragments, version)
        self._histogram: Counter[int] = Counter()

    @property
    def versions(self) -> Mapping[str, int]:
        """Current version of each fragment."""
        return dict(self._versions)

    def current(self, fragment: str = WHOLE) -> int:
        """Current version of a fragment."""
        self._require(fragment)
        return self._versions[fragment]

    def advance(self, fragment: str = WHOLE) -> int:
        """Publishes the next version of a fragment and returns its number."""
        self._require(fragment)
        self._versions[fragment] += 1
        return self._versions[fragment]

    def staleness(self, base: int, fragment: str = WHOLE) -> int:
        """Current version minus ``base``.

        Raises:
            UnknownVersionError: no such fragment, or a version that was never published.
        """
        current = self.current(fragment)
        if not 0 <= base <= current:
            raise UnknownVersionError(
                f"base version {base} does not exist; the newest is {current}", base=base, version=current
            )
        return current - base

    def observe(self, base: int, fragment: str = WHOLE) -> int:
        """Like :meth:`staleness`, and counts it."""
        staleness = self.staleness(base, fragment)
        self._histogram[staleness] += 1
        return staleness

    @property
    def histogram(self) -> Mapping[int, int]:
        """How often each staleness was observed, in versions."""
        return dict(sorted(self._histogram.items()))

    def _require(self, fragment: str) -> None:
        if fragment not in self._versions:
            raise UnknownVersionError(
                f"there is no fragment {fragment!r}; the fragments are {sorted(self._versions)}",
                fragment=fragment,
            )
