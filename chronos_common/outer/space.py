"""The space of outer parameters: stored coordinates and bounds.

An outer parameter has a *natural* value λ, which problems see, and a *stored* one u, in which versions,
updates and optimiser states live: u = log λ for scale ``"log"``, u = λ for ``"linear"``. Logarithms and
exponentials happen only at the two edges, :func:`to_stored` (when a run is created) and :func:`to_natural`
(on workers and in exports); they are no part of the fold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from chronos_common.errors import ConfigurationError, CorruptStateError, NonFiniteError, PayloadError
from chronos_common.outer.exact import row_sums
from chronos_common.tensors import Array, Arrays, TensorSpec, check_name, require_like

Scale = Literal["linear", "log"]

MAX_PARAMETER_NAME_BYTES = 200
"""Less than an array's name may have: optimiser slots and pipelines put prefixes in front of it."""


@dataclass(frozen=True, kw_only=True)
class OuterSpec:
    """One outer parameter: what it looks like and where it may go.

    Args:
        name: at most 200 bytes of UTF-8.
        shape: extents.
        dtype: ``"float32"`` or ``"float64"``.
        scale: ``"linear"`` or ``"log"``.
        lower: smallest stored value u, or None.
        upper: largest stored value u, or None.
        simplex: whether every row (the last axis; of a scalar, the value itself) is at least 0 and sums to 1; then
            the scale is linear and there are no bounds.

    Raises:
        ConfigurationError: a value out of its range, or bounds between which no value of the dtype lies.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: Scale = "linear"
    lower: float | None = None
    upper: float | None = None
    simplex: bool = False

    def __post_init__(self) -> None:
        try:
            spec = self.tensor
            name_bytes = len(check_name(self.name))
        except PayloadError as error:
            raise ConfigurationError(f"outer parameter {self.name!r}: {error}") from error
        if name_bytes > MAX_PARAMETER_NAME_BYTES:
            raise ConfigurationError(
                f"outer parameter {self.name[:40]!r}... has a name of {name_bytes} bytes; "
                f"at most {MAX_PARAMETER_NAME_BYTES} are allowed"
            )
        if self.scale not in ("linear", "log"):
            raise ConfigurationError(
                f"outer parameter {self.name!r} has scale {self.scale!r}; use 'linear' or 'log'"
            )
        if self.simplex and (self.scale != "linear" or (self.lower, self.upper) != (None, None)):
            raise ConfigurationError(
                f"outer parameter {self.name!r} is on the simplex, which is its bound; leave out scale and bounds"
            )
        for side, bound in (("lower", self.lower), ("upper", self.upper)):
            if bound is not None and not math.isfinite(bound):
                raise ConfigurationError(
                    f"outer parameter {self.name!r}: {side} is {bound}; use None for no bound"
                )
        low, high = self.limits()
        if not (low <= high and low < math.inf and high > -math.inf):
            raise ConfigurationError(
                f"outer parameter {self.name!r}: no {spec.dtype} value lies between "
                f"lower = {self.lower} and upper = {self.upper} (stored coordinates)"
            )

    @classmethod
    def from_natural(
        cls,
        *,
        name: str,
        shape: tuple[int, ...],
        dtype: str,
        scale: Scale = "linear",
        lower: float | None = None,
        upper: float | None = None,
        simplex: bool = False,
    ) -> OuterSpec:
        """Build from bounds on the natural value λ; None or an infinity of the right sign is no bound.

        Raises:
            ConfigurationError: as the class; also a bound that is NaN, or (scale ``"log"``) a lower bound
                below 0 or an upper bound that is not above 0.
        """
        if scale == "log" and ((lower is not None and lower < 0) or (upper is not None and upper <= 0)):
            raise ConfigurationError(
                f"outer parameter {name!r} has scale 'log' and natural bounds ({lower}, {upper}); "
                "a logarithmic parameter is positive, so that lower must be >= 0 and upper > 0"
            )
        stored_lower = None if lower is None else _stored_bound(lower, scale)
        stored_upper = None if upper is None else _stored_bound(upper, scale)
        return cls(
            name=name,
            shape=shape,
            dtype=dtype,
            scale=scale,
            lower=None if stored_lower == -math.inf else stored_lower,
            upper=None if stored_upper == math.inf else stored_upper,
            simplex=simplex,
        )

    @property
    def tensor(self) -> TensorSpec:
        """Name, shape and dtype."""
        return TensorSpec(name=self.name, shape=self.shape, dtype=self.dtype)

    def limits(self) -> tuple[float, float]:
        """The smallest and largest value of the dtype within the bounds (infinities where there is none)."""
        low = -math.inf if self.lower is None else _inward(self.lower, self.dtype, math.inf)
        high = math.inf if self.upper is None else _inward(self.upper, self.dtype, -math.inf)
        return low, high

    def to_json(self) -> dict[str, Any]:
        """JSON-able fields; ``json`` keeps every bit of the bounds. What the first release lacked is left out."""
        simplex = {"simplex": True} if self.simplex else {}
        return simplex | {
            "name": self.name,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "scale": self.scale,
            "lower": self.lower,
            "upper": self.upper,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> OuterSpec:
        """Inverse of :meth:`to_json`.

        Raises:
            CorruptStateError: a field is missing, unknown or of the wrong kind.
            ConfigurationError: as the class.
        """
        try:
            return cls(**{**fields, "shape": tuple(int(extent) for extent in fields["shape"])})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CorruptStateError(f"a stored outer parameter is malformed: {error!r}") from error


def to_stored(natural: Arrays, specs: Sequence[OuterSpec]) -> dict[str, Array]:
    """u of λ: fresh arrays, computed in float64 and rounded once to each dtype; bounds are not applied.

    Raises:
        PayloadError: the arrays do not match the specs.
        ConfigurationError: a logarithmic parameter with a value that is not positive.
    """
    require_like(natural, [spec.tensor for spec in specs])
    stored: dict[str, Array] = {}
    for spec in specs:
        values = natural[spec.name]
        if spec.scale == "log":
            if not np.all(values > 0):
                raise ConfigurationError(
                    f"outer parameter {spec.name!r} has scale 'log' and a value that is not positive; "
                    "start it above 0 or use scale 'linear'"
                )
            values = np.log(values.astype(np.float64))
        stored[spec.name] = np.array(values, dtype=spec.tensor.numpy_dtype)
    return stored


def to_natural(stored: Arrays, specs: Sequence[OuterSpec]) -> dict[str, Array]:
    """λ of u: fresh arrays, computed in float64 and rounded once to each dtype.

    Raises:
        PayloadError: the arrays do not match the specs.
        NonFiniteError: an exponential beyond the range of the dtype.
    """
    require_like(stored, [spec.tensor for spec in specs])
    natural: dict[str, Array] = {}
    for spec in specs:
        values = stored[spec.name]
        if spec.scale == "log":
            with np.errstate(over="ignore", under="ignore"):
                values = np.exp(values.astype(np.float64)).astype(spec.tensor.numpy_dtype)
            if np.any(np.isinf(values) & np.isfinite(stored[spec.name])):
                raise NonFiniteError(
                    f"outer parameter {spec.name!r}: exp(u) overflows {spec.dtype}; give it an upper bound",
                    name=spec.name,
                )
        natural[spec.name] = np.array(values, dtype=spec.tensor.numpy_dtype)
    return natural


def clip(stored: Arrays, specs: Sequence[OuterSpec]) -> dict[str, Array]:
    """u moved into its bounds: fresh arrays; NaN stays NaN.

    Between a lower and an upper bound that is the nearest value of the dtype. On the simplex negative values become
    0 and every row is divided by its sum, unless that is 1 already up to rounding: a second time changes nothing.

    Raises:
        PayloadError: the arrays do not match the specs.
    """
    require_like(stored, [spec.tensor for spec in specs])
    clipped: dict[str, Array] = {}
    for spec in specs:
        low, high = spec.limits()
        dtype = spec.tensor.numpy_dtype
        # Python floats: exact in the dtype already, and weak, so that they never widen a float32 array.
        if spec.simplex:
            clipped[spec.name] = _on_simplex(stored[spec.name])
            continue
        clipped[spec.name] = np.array(np.minimum(np.maximum(stored[spec.name], low), high), dtype=dtype)
    return clipped


def _on_simplex(values: Array) -> Array:
    """Rows of the last axis, at least 0 and of sum 1; a row without a positive value becomes uniform."""
    if values.size == 0:
        return values.copy()
    rows = np.maximum(np.atleast_1d(values), 0.0)
    extent = rows.shape[-1]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        sums = row_sums(rows)
        tolerance = (8 + extent.bit_length()) * float(np.finfo(values.dtype).eps)
        scaled = np.where(np.abs(sums - 1.0) <= tolerance, rows, rows / sums)
        scaled = np.where(sums == 0.0, 1.0 / extent, scaled)
    return np.asarray(scaled.astype(values.dtype).reshape(values.shape))


def _stored_bound(natural: float, scale: Scale) -> float:
    if scale == "linear":
        return float(natural)
    return -math.inf if natural == 0 else math.log(natural)


def _inward(bound: float, dtype: str, inside: float) -> float:
    """The value of ``dtype`` nearest to ``bound`` that does not lie outside of it."""
    if dtype == "float64":
        return float(bound)
    with np.errstate(over="ignore", under="ignore"):
        rounded = np.float32(bound)
        outside = float(rounded) < bound if inside > 0 else float(rounded) > bound
        return float(np.nextafter(rounded, np.float32(inside))) if outside else float(rounded)
