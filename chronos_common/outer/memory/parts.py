"""A memory as JSON and bytes, and back, to the bit: equal memories give equal parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronos_common.errors import CorruptStateError
from chronos_common.outer.memory.config import MemoryConfig
from chronos_common.outer.memory.memory import ContinuumMemory, sketch_of
from chronos_common.outer.memory.packing import Packed
from chronos_common.outer.memory.records import Counts, MemoryEntry, Seen
from chronos_common.outer.memory.regions import Regions
from chronos_common.tensors import TensorSpec

_HALF = np.dtype("<f2")


def to_parts(memory: ContinuumMemory) -> tuple[dict[str, Any], bytes]:
    """A JSON-able part, and the numbers, little-endian: sketches, relevance, places, recent λ, each entry's arrays."""
    meta = {
        "entries": [
            [
                entry.number,
                entry.version,
                entry.loss,
                entry.source,
                *map(_meta, (entry.values, entry.gradient)),
            ]
            for entry in memory.entries
        ],
        "versions": list(memory.regions.versions),
        "reasons": list(memory.regions.reasons),
        "recent": [seen.version for seen in memory.recent],
        "counts": asdict(memory.counts),
        "chain": memory.chain,
    }
    regions = memory.regions
    arrays: list[NDArray[Any]] = [
        memory.points, memory.slopes, memory.relevance, regions.centres, regions.radii,
    ]  # fmt: skip
    arrays += [seen.values.flat for seen in memory.recent]
    arrays += [packed.flat for entry in memory.entries for packed in (entry.values, entry.gradient)]
    return meta, b"".join(_little(array).tobytes() for array in arrays)


def from_parts(
    config: MemoryConfig, specs: tuple[TensorSpec, ...], meta: Mapping[str, Any], payload: bytes
) -> ContinuumMemory:
    """Inverse of :func:`to_parts`.

    Raises:
        CorruptStateError: not such parts.
    """
    try:
        return _from_parts(config, specs, meta, _Reader(payload))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CorruptStateError(f"a stored memory is malformed: {error!r}") from error


class _Reader:
    """Takes arrays off the front of bytes."""

    def __init__(self, payload: bytes) -> None:
        self._payload, self._at = payload, 0

    def take(self, dtype: np.dtype[Any], *shape: int) -> NDArray[Any]:
        count = int(np.prod(shape, dtype=np.int64))
        array = np.frombuffer(self._payload, dtype, count=count, offset=self._at).reshape(shape)
        self._at += array.nbytes
        return array

    def end(self) -> None:
        if self._at != len(self._payload):
            raise ValueError("bytes are left over")


def _from_parts(
    config: MemoryConfig, specs: tuple[TensorSpec, ...], meta: Mapping[str, Any], reader: _Reader
) -> ContinuumMemory:
    layout = tuple(sorted(specs, key=lambda spec: spec.name))
    sketch = sketch_of(config, layout)
    wide = np.dtype("<f8")
    native = wide if any(spec.dtype == "float64" for spec in layout) or not layout else np.dtype("<f4")
    count, places = len(meta["entries"]), len(meta["versions"])
    points, slopes = (reader.take(wide, count, sketch.width) for _ in range(2))
    relevance = reader.take(wide, count)
    regions = Regions(
        centres=reader.take(wide, places, sketch.width),
        radii=reader.take(wide, places),
        versions=tuple(int(version) for version in meta["versions"]),
        reasons=tuple(str(reason) for reason in meta["reasons"]),
    )

    def packed(exponents: list[int] | None) -> Packed:
        flat = reader.take(native if exponents is None else _HALF, sketch.size)
        return Packed(flat=flat, exponents=() if exponents is None else tuple(exponents))

    recent = tuple(Seen(version=int(version), values=packed(None)) for version in meta["recent"])
    entries = tuple(
        MemoryEntry(
            number=int(number),
            version=int(version),
            loss=float(loss),
            source=str(source),
            values=packed(values),
            gradient=packed(gradient),
        )
        for number, version, loss, source, values, gradient in meta["entries"]
    )
    reader.end()
    return ContinuumMemory(
        config=config,
        layout=layout,
        points=points,
        slopes=slopes,
        relevance=relevance,
        regions=regions,
        entries=entries,
        recent=recent,
        counts=Counts(**meta["counts"]),
        chain=str(meta["chain"]),
    )


def _meta(packed: Packed) -> list[int] | None:
    """The exponents of what is in half precision."""
    return list(packed.exponents) if packed.half else None


def _little(array: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
