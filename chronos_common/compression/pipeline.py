"""A pipeline: named arrays to the smallest payload that its configuration allows.

Decoding needs no pipeline: the payload says how it was written (``chronos_common.codec.decode``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from chronos_common.codec import encode, mixed
from chronos_common.codec.indices import IndexEncoding
from chronos_common.codec.mixed import ValueEncoding
from chronos_common.compression.config import PipelineConfig
from chronos_common.compression.topk import count_for, top_k
from chronos_common.errors import NonFiniteError
from chronos_common.tensors import Array, Arrays, TensorSpec, canonical, require_finite, specs_of


class Source(Protocol):
    """One array that can be encoded, wherever its values are."""

    @property
    def spec(self) -> TensorSpec:
        """Its name, shape and dtype."""
        ...

    def dense(self) -> mixed.Entry:
        """As it is; refuses values that are not finite."""
        ...

    def int8(self) -> mixed.Entry:
        """As codes; refuses values that float32 cannot hold."""
        ...

    def sparse(self, k: int, *, values: ValueEncoding, index_encoding: IndexEncoding) -> mixed.Entry:
        """The ``k`` values of largest magnitude; refuses those that float32 cannot hold."""
        ...


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

    def encode(self, arrays: Arrays, shares: Mapping[str, float] | None = None) -> bytes:
        """The payload of ``arrays``; equal arrays give equal bytes with equal releases of zstd.

        Args:
            arrays: what to encode.
            shares: of each array, the multiple of the density that may be sent of it, at most all; with 0 it is
                encoded as zeros. ``None`` is 1 for all. A lossless pipeline has no use for it.

        Raises:
            PayloadError: an illegal name, dtype or shape, or a value that is not finite.
        """
        if self.lossless:
            require_finite(arrays, "what is to be sent")
            return encode("identity", arrays)
        return mixed.pack(
            self._shared(spec, arrays[spec.name], 1.0 if shares is None else shares[spec.name])
            for spec in specs_of(arrays)
        )

    def _shared(self, spec: TensorSpec, array: Array, share: float) -> mixed.Entry:
        if share == 0:
            return mixed.zeros(spec)
        if share == 1:
            return self.entry(_Numpy(spec, array))
        return self.with_density(min(1.0, self.density * share)).entry(_Numpy(spec, array))

    def entry(self, source: Source) -> mixed.Entry:
        """The smallest allowed encoding of one array.

        Raises:
            PayloadError: as :meth:`encode`.
        """
        if source.spec.size < max(self.config.dense_below_elements, 1):
            return source.dense()
        try:
            return self._compressed(source)
        except NonFiniteError:
            # Finite in float64 but not in float32; a value that is neither is refused here.
            return source.dense()

    def _compressed(self, source: Source) -> mixed.Entry:
        spec, quantised = source.spec, self.config.quantised
        dense_bytes = mixed.dense_entry_bytes(spec)
        full_bytes = min(dense_bytes, mixed.int8_entry_bytes(spec)) if quantised else dense_bytes
        if self.density < 1:
            entry = source.sparse(
                count_for(self.density, spec.size),
                values="int8" if quantised else "float32",
                index_encoding=self.config.index_encoding,
            )
            if entry.size_bytes < full_bytes:
                return entry
        return source.int8() if full_bytes < dense_bytes else source.dense()


class _Numpy:
    """A NumPy array as a source."""

    def __init__(self, spec: TensorSpec, array: Array) -> None:
        self.spec, self._array = spec, array

    def dense(self) -> mixed.Entry:
        return mixed.dense(self.spec.name, self._array)

    def int8(self) -> mixed.Entry:
        return mixed.int8(self.spec.name, self._array)

    def sparse(self, k: int, *, values: ValueEncoding, index_encoding: IndexEncoding) -> mixed.Entry:
        array = canonical(self._array)
        at = top_k(array.reshape(-1), k)
        return mixed.sparse(self.spec.name, array, at, values=values, index_encoding=index_encoding)


def make_pipeline(name: str) -> Pipeline:
    """The pipeline of that name with default settings.

    Raises:
        ConfigurationError: no such pipeline; the message says which there are.
    """
    return Pipeline(PipelineConfig(name=name))
