"""A pipeline: named arrays to the smallest payload that its configuration allows.

Decoding needs no pipeline: the payload says how it was written (``chronos_common.codec.decode``).
"""

from __future__ import annotations

from chronos_common.codec import encode, mixed
from chronos_common.compression.config import PipelineConfig
from chronos_common.compression.topk import count_for, top_k
from chronos_common.errors import NonFiniteError
from chronos_common.tensors import Array, Arrays, TensorSpec, canonical, require_finite, specs_of


class Pipeline:
    """Encodes by one configuration; immutable, stateless, deterministic.

    Every array gets the smallest of: dense; int8, if values may become codes; sparse, if the density is below 1.
    Small arrays, and those with a value that float32 cannot hold, are dense.

    Args:
        config: what may be done.
        density: the share of values to send instead of the configured one (a guard has raised it), in (0, 1].

    Raises:
        ConfigurationError: a density out of its range.
    """

    def __init__(self, config: PipelineConfig, *, density: float | None = None) -> None:
        self.config = config
        self.density = config.density if density is None else density
        count_for(self.density, 0)

    @property
    def lossless(self) -> bool:
        """Whether what is decoded is what was encoded."""
        return self.config.lossless

    def with_density(self, density: float) -> Pipeline:
        """The same pipeline at another density; a lossless one stays what it is."""
        return self if self.lossless or density == self.density else Pipeline(self.config, density=density)

    def encode(self, arrays: Arrays) -> bytes:
        """The payload of ``arrays``; equal arrays give equal bytes with equal releases of zstd.

        Raises:
            PayloadError: an illegal name, dtype or shape, or a value that is not finite.
        """
        if self.lossless:
            require_finite(arrays, "what is to be sent")
            return encode("identity", arrays)
        return mixed.pack(self._entry(spec, arrays[spec.name]) for spec in specs_of(arrays))

    def _entry(self, spec: TensorSpec, array: Array) -> mixed.Entry:
        if spec.size < max(self.config.dense_below_elements, 1):
            return mixed.dense(spec.name, array)
        try:
            return self._compressed(spec, array)
        except NonFiniteError:
            # Finite in float64 but not in float32; a value that is neither is refused here.
            return mixed.dense(spec.name, array)

    def _compressed(self, spec: TensorSpec, array: Array) -> mixed.Entry:
        quantised = self.config.quantised
        full_bytes = mixed.dense_entry_bytes(spec)
        if quantised:
            full_bytes = min(full_bytes, mixed.int8_entry_bytes(spec))
        if self.density < 1:
            entry = mixed.sparse(
                spec.name,
                array,
                top_k(canonical(array).reshape(-1), count_for(self.density, spec.size)),
                values="int8" if quantised else "float32",
                index_encoding=self.config.index_encoding,
            )
            if entry.size_bytes < full_bytes:
                return entry
        if quantised and full_bytes < mixed.dense_entry_bytes(spec):
            return mixed.int8(spec.name, array)
        return mixed.dense(spec.name, array)


def make_pipeline(name: str) -> Pipeline:
    """The pipeline of that name with default settings.

    Raises:
        ConfigurationError: no such pipeline; the message says which there are.
    """
    return Pipeline(PipelineConfig(name=name))
