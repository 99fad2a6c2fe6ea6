"""Error feedback: what a payload leaves out is added to the next one.

    total       = update + residual
    payload     = encode(total)
    transmitted = decode(payload)
    residual'   = total - transmitted

The residual is measured at the decoded payload, whatever the encoding did, so that nothing is lost to a wrong model
of it. Exactness: ``total`` and ``residual'`` are rounded once each, to the dtype of the update. Values that are not
sent stay in the residual bit for bit; values sent as they are leave exactly zero; a value sent as a code is within a
factor of two of it or has the code zero, wherever the difference is exact (Sterbenz), but for values within a
rounding of half a scale. So transmitted + residual' equals update + residual to one rounding of each addition.

Source: Karimireddy et al., "Error feedback fixes SignSGD and other gradient compression schemes", ICML 2019.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chronos_common.codec import decode
from chronos_common.compression.arithmetic import add, subtract
from chronos_common.compression.pipeline import Pipeline
from chronos_common.tensors import Array, Arrays, require_like, specs_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Compressed:
    """An update in three forms.

    Attributes:
        payload: what travels.
        transmitted: what the receiver decodes; read-only.
        residual: what is owed with the next update: of the same names, shapes and dtypes; empty if the pipeline is
            lossless.
    """

    payload: bytes
    transmitted: dict[str, Array]
    residual: dict[str, Array]


def compress(pipeline: Pipeline, update: Arrays, residual: Arrays | None = None) -> Compressed:
    """Encode an update together with what is owed.

    Args:
        pipeline: what may be left out.
        update: what was produced; not changed.
        residual: what earlier payloads left out; ``None`` or empty for nothing.

    Raises:
        PayloadError: illegal or not matching arrays, or a sum that is not finite. Nothing has changed then.
    """
    specs = specs_of(update)
    if residual:
        require_like(residual, specs)
        update = add(update, residual)
    payload = pipeline.encode(update)
    transmitted = decode(payload, specs=specs)
    owed = {} if pipeline.lossless else subtract(update, transmitted)
    return Compressed(payload=payload, transmitted=transmitted, residual=owed)


def compressor(pipeline: Pipeline) -> Callable[[Arrays], tuple[bytes, Arrays, Arrays]]:
    """:func:`compress` for a caller that adds the residual itself: payload, transmitted, residual of a total."""

    def of_total(total: Arrays) -> tuple[bytes, Arrays, Arrays]:
        compressed = compress(pipeline, total)
        return compressed.payload, compressed.transmitted, compressed.residual

    return of_total
