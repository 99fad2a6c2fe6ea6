"""Named arrays: what outer parameters, updates and optimiser states are made of.

An :data:`Arrays` maps names to float32 or float64 arrays of any shape. Order never matters: every function
that turns a mapping into a sequence (digest, flatten, norms, payloads) takes the names in ascending order
of their UTF-8 bytes, which is also Python's order of strings.

Everything here that the fold depends on is reproducible to the bit on any machine: sums use only
elementwise additions in an order fixed by this file, never a library reduction (NumPy's and BLAS's orders
change with the instruction set and the number of threads).
"""

from __future__ import annotations

import hashlib
import math
import struct
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from chronos_common.errors import (
    DtypeMismatchError,
    NameMismatchError,
    NonFiniteError,
    ShapeMismatchError,
)

Array = NDArray[np.floating[Any]]
Arrays = Mapping[str, Array]

MAX_NAME_BYTES: Final = 255
MAX_DIMENSIONS: Final = 32
MAX_ELEMENTS: Final = 1 << 48

DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
}
"""The legal dtypes, by the name that digests and journals carry; stored and sent little-endian."""

_NAMES: Final = {dtype.char: name for name, dtype in DTYPES.items()}

_DIGEST_MAGIC: Final = b"chronos.arrays.v1\n"


@lru_cache(maxsize=4096)  # every payload names the same few arrays again
def check_name(name: str) -> bytes:
    """The UTF-8 bytes of a legal array name.

    Raises:
        NameMismatchError: empty, more than 255 bytes, not encodable, or with control characters.
    """
    try:
        encoded = name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise NameMismatchError(f"array name {name!r} is not valid Unicode: {error.reason}") from error
    if not encoded:
        raise NameMismatchError("an array has an empty name; give every array a name")
    if len(encoded) > MAX_NAME_BYTES:
        raise NameMismatchError(
            f"array name {name[:40]!r}... is {len(encoded)} bytes long; at most {MAX_NAME_BYTES} are allowed"
        )
    if any(unicodedata.category(character) == "Cc" for character in name):
        raise NameMismatchError(f"array name {name!r} contains a control character; rename the array")
    return encoded


def check_shape(name: str, shape: tuple[int, ...]) -> int:
    """The number of elements of a legal shape.

    Raises:
        ShapeMismatchError: a negative extent, too many dimensions, or more elements than can be addressed
            (extents of zero count as one there, so that no product of the others can overflow).
    """
    if len(shape) > MAX_DIMENSIONS:
        raise ShapeMismatchError(
            f"array {name!r} has {len(shape)} dimensions; at most {MAX_DIMENSIONS} are allowed"
        )
    if any(extent < 0 for extent in shape):
        raise ShapeMismatchError(f"array {name!r} has a negative extent in shape {shape}")
    if math.prod(max(extent, 1) for extent in shape) > MAX_ELEMENTS:
        raise ShapeMismatchError(f"array {name!r} of shape {shape} has more than {MAX_ELEMENTS} elements")
    return math.prod(shape)


def dtype_name(name: str, dtype: np.dtype[Any]) -> str:
    """``"float32"`` or ``"float64"``, whatever the byte order.

    Raises:
        DtypeMismatchError: any other dtype.
    """
    found = _NAMES.get(dtype.char)  # `dtype.name` puts its answer together anew each time
    if found is None:
        raise DtypeMismatchError(f"array {name!r} has dtype {dtype.name}; convert it to float32 or float64")
    return found


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """Name, shape and dtype (``"float32"`` or ``"float64"``) of one array.

    Raises:
        PayloadError: an illegal name, shape or dtype, as the branch of that error that fits.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    def __post_init__(self) -> None:
        check_name(self.name)
        check_shape(self.name, self.shape)
        if self.dtype not in DTYPES:
            raise DtypeMismatchError(f"array {self.name!r} has dtype {self.dtype!r}; use float32 or float64")

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The little-endian NumPy dtype."""
        return DTYPES[self.dtype]

    @property
    def size_bytes(self) -> int:
        """Bytes of the dense data."""
        return self.size * self.numpy_dtype.itemsize


def specs_of(arrays: Arrays) -> tuple[TensorSpec, ...]:
    """Specs of all arrays, in canonical order."""
    return tuple(
        TensorSpec(name=name, shape=arrays[name].shape, dtype=dtype_name(name, arrays[name].dtype))
        for name in sorted(arrays)
    )


def canonical(array: Array) -> Array:
    """The same values as a little-endian C-order array; no copy where they already are."""
    return array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)


def data_view(array: Array) -> memoryview:
    """The canonical data as flat bytes, without a copy where the array is already canonical."""
    if array.size == 0:
        return memoryview(b"")
    return canonical(array).reshape(-1).data.cast("B")


def digest(arrays: Arrays) -> str:
    r"""SHA-256, in hex, of the canonical bytes of ``arrays``.

    The hashed bytes, for clients in other languages (integers are unsigned and little-endian)::

        "chronos.arrays.v1\n"                      18 bytes of ASCII
        number of arrays                           u32
        for each array, in ascending order of the UTF-8 bytes of its name:
            length of the name in bytes            u32
            name                                   UTF-8, no terminator, not normalised
            length of the dtype's name             u32
            dtype                                  "float32" or "float64"
            number of dimensions                   u32
            extents                                u64 each
            data                                   IEEE 754, little-endian, C (row-major) order, no padding

    Values are bytes like any others: -0.0 differs from 0.0, and NaNs differ by their bits.
    """
    hasher = hashlib.sha256(_DIGEST_MAGIC)
    hasher.update(struct.pack("<I", len(arrays)))
    for spec in specs_of(arrays):
        for text in (spec.name.encode("utf-8"), spec.dtype.encode("ascii")):
            hasher.update(struct.pack("<I", len(text)) + text)
        hasher.update(struct.pack(f"<I{len(spec.shape)}Q", len(spec.shape), *spec.shape))
        hasher.update(data_view(arrays[spec.name]))
    return hasher.hexdigest()


def require_like(arrays: Arrays, specs: Iterable[TensorSpec]) -> None:
    """Check that ``arrays`` holds exactly the arrays of ``specs``.

    Raises:
        NameMismatchError: names the missing and the unexpected arrays.
        ShapeMismatchError: an array of another shape.
        DtypeMismatchError: an array of another dtype.
    """
    wanted = {spec.name: spec for spec in specs}
    missing, unexpected = sorted(wanted.keys() - arrays.keys()), sorted(arrays.keys() - wanted.keys())
    if missing or unexpected:
        parts = [f"missing {missing}"] * bool(missing) + [f"unexpected {unexpected}"] * bool(unexpected)
        raise NameMismatchError(
            f"the arrays do not match: {', '.join(parts)}; send exactly the arrays {sorted(wanted)}",
            missing=", ".join(missing),
            unexpected=", ".join(unexpected),
        )
    for name in sorted(wanted):
        spec, array = wanted[name], arrays[name]
        if array.shape != spec.shape:
            raise ShapeMismatchError(
                f"array {name!r} has shape {array.shape}, expected {spec.shape}",
                name=name,
                shape=str(array.shape),
                expected=str(spec.shape),
            )
        if array.dtype.name != spec.dtype:
            raise DtypeMismatchError(
                f"array {name!r} has dtype {array.dtype.name}, expected {spec.dtype}",
                name=name,
                dtype=array.dtype.name,
                expected=spec.dtype,
            )


def require_finite(arrays: Arrays, what: str) -> None:
    """Check that every value is finite.

    Args:
        what: what the arrays are, for the message: ``"commit"``, ``"initial outer parameters"``.

    Raises:
        NonFiniteError: names the first offending array, how many values offend, and where the first is.
    """
    for name in sorted(arrays):
        finite = np.isfinite(arrays[name])
        if finite.all():
            continue
        bad = np.argwhere(~finite)
        first = tuple(int(position) for position in bad[0])
        value = float(arrays[name][first])
        raise NonFiniteError(
            f"{what}: array {name!r} holds {len(bad)} of {finite.size} values that are not finite; "
            f"the first is {value} at index {first}",
            name=name,
            count=len(bad),
            index=str(first),
        )


def flatten(arrays: Arrays) -> tuple[Array, tuple[TensorSpec, ...]]:
    """One fresh vector of all values in canonical order, and the layout that :func:`unflatten` needs.

    The vector is float32 when every array is, and float64 otherwise, so that no value is rounded.
    """
    layout = specs_of(arrays)
    narrow = all(spec.dtype == "float32" for spec in layout) and layout
    flat = np.empty(sum(spec.size for spec in layout), DTYPES["float32" if narrow else "float64"])
    start = 0
    for spec in layout:
        flat[start : start + spec.size] = arrays[spec.name].reshape(-1)
        start += spec.size
    return flat, layout


def unflatten(flat: Array, layout: Iterable[TensorSpec]) -> dict[str, Array]:
    """Inverse of :func:`flatten`: fresh arrays with the layout's names, shapes and dtypes.

    Raises:
        ShapeMismatchError: ``flat`` is not a vector of as many values as the layout holds.
    """
    specs = tuple(layout)
    total = sum(spec.size for spec in specs)
    if flat.shape != (total,):
        raise ShapeMismatchError(f"the flat vector has shape {flat.shape}, the layout needs ({total},)")
    arrays: dict[str, Array] = {}
    start = 0
    for spec in specs:
        piece = flat[start : start + spec.size].astype(spec.numpy_dtype)
        arrays[spec.name] = piece.reshape(spec.shape)
        start += spec.size
    return arrays


def l1_norm(arrays: Arrays) -> float:
    """Σ|v| over all values, accumulated in float64 in a fixed order; 0.0 without values."""
    return ordered_sum(np.abs(_widened(arrays)))


def l2_norm(arrays: Arrays) -> float:
    """√Σv² over all values, accumulated in float64 in a fixed order; 0.0 without values.

    Values are first scaled by a power of two (which is exact), so that no square overflows or vanishes.
    """
    values = _widened(arrays)
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0.0 or not math.isfinite(largest):
        return largest
    exponent = math.frexp(largest)[1]
    scaled = np.ldexp(values, -exponent)
    with np.errstate(over="ignore"):
        return float(np.ldexp(np.float64(math.sqrt(ordered_sum(scaled * scaled))), exponent))


def _widened(arrays: Arrays) -> NDArray[np.float64]:
    return flatten(arrays)[0].astype(np.float64, copy=False)


def ordered_sum(values: NDArray[np.float64]) -> float:
    """Σ by folding the upper half onto the lower until one value is left: elementwise additions only."""
    if values.size == 0:
        return 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        while values.size > 1:
            half = values.size // 2
            folded = values[:half] + values[half : 2 * half]
            values = np.append(folded, values[-1]) if values.size % 2 else folded
    return float(values[0])
