"""The memory: storing, evicting, finding, predicting.

Relevance is use that fades: an entry begins with 1, every later one multiplies it by ``decay``, and 1 is added
whenever the entry is among the nearest of a λ that is stored. So after n stores without use it is ``decay``^n (the
age), and what the optimisation comes back to stays. The entry of the lowest relevance goes first, of equal ones the
older; never the one that came last. (This is LRFU: Lee et al., "LRFU: a spectrum of policies", IEEE Trans. Computers
50, 2001.) Reading changes nothing, since a question is no decision that a replay could repeat.
"""

from __future__ import annotations

import hashlib
import json
import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chronos_common.errors import ConfigurationError, InvalidRequestError, NonFiniteError
from chronos_common.outer.memory.config import SHORTEN, MemoryConfig
from chronos_common.outer.memory.packing import Packed
from chronos_common.outer.memory.records import (
    Counts,
    LossTrend,
    MemoryEntry,
    Neighbour,
    Prediction,
    Seen,
    slope_of,
)
from chronos_common.outer.memory.regions import Regions
from chronos_common.outer.memory.sketch import Points, Sketch, cosines, distances, inverse_shares
from chronos_common.tensors import Array, Arrays, TensorSpec, digest, require_finite, require_like, unflatten

METRICS: Final = ("distance", "cosine")
ENTRY_BYTES: Final = 128
"""Of an entry besides its arrays, roughly."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ContinuumMemory:
    """An immutable memory; :meth:`store`, :meth:`forbid` and :meth:`steer` return the next one.

    Args:
        config: its budget and rules.
        layout: name, shape and dtype of every array, in canonical order.
        entries: the oldest first.
        points: sketches of their λ, shape (n, width).
        slopes: sketches of their hypergradients, shape (n, width).
        relevance: shape (n,).
        regions: places that failed.
        recent: λ of the newest versions, whose measurements may still come, the oldest first.
        counts: what has happened.
        chain: a hash over everything that was ever stored or forbidden, in order.
    """

    config: MemoryConfig
    layout: tuple[TensorSpec, ...]
    points: Points
    slopes: Points
    relevance: NDArray[np.float64]
    regions: Regions
    entries: tuple[MemoryEntry, ...] = ()
    recent: tuple[Seen, ...] = ()
    counts: Counts = field(default_factory=Counts)
    chain: str = ""

    @classmethod
    def empty(cls, config: MemoryConfig, specs: Sequence[TensorSpec]) -> ContinuumMemory:
        """A memory of nothing, for arrays of these names, shapes and dtypes.

        Raises:
            ConfigurationError: the budget holds not even one entry.
        """
        layout = tuple(sorted(specs, key=lambda spec: spec.name))
        width = sketch_of(config, layout).width
        nothing = np.zeros((0, width))
        memory = cls(
            config=config,
            layout=layout,
            points=nothing,
            slopes=nothing,
            relevance=np.zeros(0),
            regions=Regions.none(width),
        )
        one = memory.entry_bytes
        if one > config.max_bytes:
            raise ConfigurationError(
                f"memory.max_bytes is {config.max_bytes}, and one entry of these outer parameters needs {one}: raise "
                "it, or go without a memory",
                field="memory.max_bytes",
            )
        return memory

    # --- what it holds -------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def sketch(self) -> Sketch:
        """Makes points of arrays."""
        return sketch_of(self.config, self.layout)

    @property
    def entry_bytes(self) -> int:
        """Of an entry that is not halved yet."""
        wide = 8 if any(spec.dtype == "float64" for spec in self.layout) else 4
        return 2 * wide * self.sketch.size + self._fixed_bytes

    @cached_property
    def size_bytes(self) -> int:
        """Of all entries, sketches, failed places and what was said of them included."""
        half = 2 * (2 * self.sketch.size + 8 * len(self.layout)) + self._fixed_bytes
        old = self._older_than(self.counts.stored - self.config.half_after + 1)
        seen = sum(one.values.size_bytes for one in self.recent) + self.regions.size_bytes
        seen += sum(len(entry.source.encode()) for entry in self.entries if entry.source)
        return old * half + (len(self) - old) * self.entry_bytes + seen

    @property
    def mean_cosine(self) -> float:
        """Mean cosine of predicted and measured hypergradients; NaN before the first."""
        made = self.counts.predictions
        return self.counts.cosine_sum / made if made else math.nan

    @cached_property
    def digest(self) -> str:
        """SHA-256, in hex, over what was stored and what became of it."""
        rest = [self.chain, asdict(self.counts), [entry.number for entry in self.entries]]
        text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
        arrays: dict[str, Array] = {"relevance": self.relevance, "radii": self.regions.radii}
        return hashlib.sha256(f"{text}\n{digest(arrays)}".encode()).hexdigest()

    # --- changes -------------------------------------------------------------------------------------

    def store(
        self, values: Arrays, gradient: Arrays, loss: float, *, version: int = 0, source: str = ""
    ) -> ContinuumMemory:
        """The memory with one more entry, and without those that it no longer has room for.

        Args:
            values: λ in stored coordinates.
            gradient: dL/du there.
            loss: the outer loss there.
            version: of the run.
            source: who stores; empty for the run itself.

        Raises:
            PayloadError: wrong names, shapes or dtypes, or a number that is not finite; nothing is stored.
        """
        self._require(values, "the remembered outer parameters")
        self._require(gradient, "the remembered hypergradient")
        if not math.isfinite(loss):
            raise NonFiniteError(
                f"the remembered loss is {loss}; leave out what cannot be measured", field="loss"
            )
        point, slope = self.sketch.of(values), self.sketch.of(gradient)
        near, counts = self._nearest(distances(self.points, point), self.config.neighbours), self.counts
        relevance = self.relevance * self.config.decay
        if near.size:
            relevance[near] += 1.0
            cosine = self._predicted_cosine(near, point, slope)
            counts = replace(
                counts,
                hits=counts.hits + near.size,
                predictions=counts.predictions + 1,
                cosine_sum=counts.cosine_sum + cosine,
                cosine=cosine,
            )
        entry = MemoryEntry(
            number=counts.stored + 1,
            version=version,
            loss=float(loss),
            source=source,
            values=Packed.of(values),
            gradient=Packed.of(gradient),
        )
        text = json.dumps([entry.number, version, entry.loss.hex(), source])
        return replace(
            self,
            entries=(*self._aged(entry.number), entry),
            points=np.vstack([self.points, point[None, :]]),
            slopes=np.vstack([self.slopes, slope[None, :]]),
            relevance=np.append(relevance, 1.0),
            counts=replace(counts, stored=entry.number),
            chain=self._chained("stored", text, digest(values), digest(gradient)),
        )._within_budget()

    def passed(self, version: int, values: Arrays, *, keep: int) -> ContinuumMemory:
        """The memory when a version is left behind; of the newest ``keep`` such, λ is known."""
        seen = Seen(version=version, values=Packed.of(values))
        return replace(self, recent=(*self.recent, seen)[max(0, len(self.recent) + 1 - keep) :])

    def values_of(self, version: int) -> Arrays | None:
        """λ of a version that was left behind lately."""
        found = next((seen for seen in self.recent if seen.version == version), None)
        return None if found is None else found.values.arrays(self.layout)

    def forbid(
        self, values: Arrays, *, radius: float | None = None, version: int = 0, reason: str = ""
    ) -> ContinuumMemory:
        """The memory with a place that failed.

        Args:
            values: λ there, in stored coordinates.
            radius: around it, in stored coordinates; by default the configured one.
            version: of the run.
            reason: for people.

        Raises:
            PayloadError: as :meth:`store`.
            InvalidRequestError: a radius that is not above 0.
        """
        self._require(values, "the outer parameters that failed")
        wide = self.config.forbidden_radius if radius is None else float(radius)
        if not (math.isfinite(wide) and wide > 0.0):
            raise InvalidRequestError(f"radius is {wide}; it must be finite and above 0", field="radius")
        most = self.config.max_forbidden
        text = json.dumps([version, wide.hex(), reason])
        return replace(
            self,
            regions=self.regions.with_place(self.sketch.of(values), wide, version, reason, most=most),
            counts=replace(self.counts, failures=self.counts.failures + 1),
            chain=self._chained("forbidden", text, digest(values)),
        )._within_budget()

    def steer(self, before: Arrays, after: Arrays) -> tuple[Arrays, ContinuumMemory]:
        """Where a step from ``before`` to ``after`` may end, and the memory that has counted it."""
        if not len(self.regions):
            return after, self
        allowed, less = self.regions.shortened(before, after, self.sketch.of)
        if not less:
            return after, self
        if self.config.forbidden == SHORTEN:
            return allowed, replace(self, counts=replace(self.counts, shortened=self.counts.shortened + 1))
        return after, replace(self, counts=replace(self.counts, entered=self.counts.entered + 1))

    # --- questions -----------------------------------------------------------------------------------

    def retrieve_similar(
        self, values: Arrays, k: int | None = None, *, metric: str = "distance"
    ) -> tuple[Neighbour, ...]:
        """The ``k`` entries that are most like ``values``, the most similar first.

        Raises:
            PayloadError: as :meth:`store`.
            InvalidRequestError: ``k`` below 1, or no such metric.
        """
        self._require(values, "the outer parameters that are asked for")
        if metric not in METRICS:
            raise InvalidRequestError(
                f"metric {metric[:40]!r} is unknown; there are {', '.join(METRICS)}", field="metric"
            )
        wanted = self._wanted(k)
        point = self.sketch.of(values)
        far, angles = distances(self.points, point), cosines(self.points, point)
        return tuple(
            self._neighbour(int(at), float(far[at]), float(angles[at]))
            for at in self._nearest(far if metric == "distance" else -angles, wanted)
        )

    def predict_gradient(self, values: Arrays, k: int | None = None) -> Prediction:
        """The hypergradient expected at ``values``; raises as :meth:`retrieve_similar`."""
        self._require(values, "the outer parameters that are asked for")
        far = distances(self.points, self.sketch.of(values))
        near = self._nearest(far, self._wanted(k))
        if not near.size:
            return Prediction(
                gradient={}, neighbours=0, nearest=math.inf, loss=math.nan, cosine=self.mean_cosine
            )
        shares = inverse_shares(far[near])
        total = np.zeros(self.sketch.size)
        loss = 0.0
        for share, at in zip(shares, near, strict=True):
            total = total + share * self.entries[at].gradient.wide(self.layout)
            loss += float(share) * self.entries[at].loss
        return Prediction(
            gradient=unflatten(total, self.layout),
            neighbours=len(near),
            nearest=float(far[near[0]]),
            loss=loss,
            cosine=self.mean_cosine,
        )

    def loss_trend(self, window: int = 20) -> LossTrend:
        """How the losses of the newest ``window`` entries go; raises ``InvalidRequestError`` below 1."""
        if window < 1:
            raise InvalidRequestError(f"window is {window}; it must be 1 or more", field="window")
        recent = [entry.loss for entry in self.entries[-window:]]
        best = min(self.entries, key=lambda entry: entry.loss, default=None)
        return LossTrend(
            entries=len(recent),
            slope=slope_of(recent),
            first=recent[0] if recent else math.nan,
            last=recent[-1] if recent else math.nan,
            best=math.nan if best is None else best.loss,
            best_version=0 if best is None else best.version,
        )

    # --- parts ---------------------------------------------------------------------------------------

    def _require(self, arrays: Arrays, what: str) -> None:
        require_like(arrays, self.layout)
        require_finite(arrays, what)

    def _wanted(self, k: int | None) -> int:
        wanted = self.config.neighbours if k is None else k
        if wanted < 1:
            raise InvalidRequestError(f"k is {wanted}; it must be 1 or more", field="k")
        return wanted

    @staticmethod
    def _nearest(far: NDArray[np.float64], k: int) -> NDArray[np.intp]:
        return np.argsort(far, kind="stable")[:k]

    def _predicted_cosine(self, near: NDArray[np.intp], point: Points, slope: Points) -> float:
        predicted = np.zeros(self.sketch.width)
        for share, at in zip(inverse_shares(distances(self.points[near], point)), near, strict=True):
            predicted = predicted + share * self.slopes[at]
        return float(cosines(predicted[None, :], slope)[0])

    def _aged(self, newest: int) -> tuple[MemoryEntry, ...]:
        """The entries when one more is there: those that have become old are halved."""
        limit = newest - self.config.half_after
        at = self._older_than(limit)
        if at == len(self) or self.entries[at].number != limit:
            return self.entries
        old = self.entries[at]
        halved = replace(
            old, values=old.values.halved(self.layout), gradient=old.gradient.halved(self.layout)
        )
        return (*self.entries[:at], halved, *self.entries[at + 1 :])

    def _within_budget(self) -> ContinuumMemory:
        memory = self
        while len(memory) > 1 and (
            len(memory) > memory.config.max_entries or memory.size_bytes > memory.config.max_bytes
        ):
            memory = memory._without(int(np.argmin(memory.relevance[:-1])))
        return memory

    def _without(self, at: int) -> ContinuumMemory:
        return replace(
            self,
            entries=self.entries[:at] + self.entries[at + 1 :],
            points=np.delete(self.points, at, axis=0),
            slopes=np.delete(self.slopes, at, axis=0),
            relevance=np.delete(self.relevance, at),
            counts=replace(self.counts, evicted=self.counts.evicted + 1),
        )

    def _neighbour(self, at: int, distance: float, cosine: float) -> Neighbour:
        entry = self.entries[at]
        return Neighbour(
            number=entry.number,
            version=entry.version,
            loss=entry.loss,
            source=entry.source,
            distance=distance,
            cosine=cosine,
            relevance=float(self.relevance[at]),
            half=entry.values.half,
            values=entry.values.arrays(self.layout),
            gradient=entry.gradient.arrays(self.layout),
        )

    @property
    def _fixed_bytes(self) -> int:
        return 2 * 8 * self.sketch.width + ENTRY_BYTES

    def _older_than(self, number: int) -> int:
        """How many entries were stored before one of this number."""
        return bisect_left(self.entries, number, key=lambda entry: entry.number)

    def _chained(self, *pieces: str) -> str:
        return hashlib.sha256("\n".join((self.chain, *pieces)).encode()).hexdigest()


def sketch_of(config: MemoryConfig, layout: Sequence[TensorSpec]) -> Sketch:
    """What makes points of such arrays."""
    return Sketch(layout, dimensions=config.sketch_dimensions, seed=config.seed)
