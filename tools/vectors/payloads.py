"""Payloads that must be read, what is in them, and what a client makes of deltas and bounds."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from chronos_common.codec import decode, encode, mixed
from chronos_common.codec.indices import IndexEncoding
from chronos_common.codec.mixed import Entry, ValueEncoding
from chronos_common.compression import Pipeline, PipelineConfig, apply_delta
from chronos_common.outer import OuterSpec, clip
from chronos_common.tensors import Array, Arrays, digest
from tools.vectors.plain import arrays_to_plain, ramp

SPARSE: Final[list[tuple[ValueEncoding, IndexEncoding]]] = [
    ("float32", "block16"),
    ("float32", "gaps"),
    ("int8", "block16"),
    ("int8", "gaps"),
]
PIPELINES: Final[list[tuple[str, IndexEncoding]]] = [
    ("identity", "gaps"),
    ("int8", "gaps"),
    ("topk10", "gaps"),
    ("topk10", "block16"),
    ("topk10+int8", "gaps"),
    ("topk10+int8", "block16"),
    ("topk0.5+int8", "gaps"),
]


def payload_vectors() -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Rows of the manifest, and the files that they name."""
    payloads = {**_identity(), **_mixed(), **_pipelines()}
    rows, files = [], {}
    for name, payload in payloads.items():
        arrays = decode(payload)
        files[f"{name}.bin"] = payload
        rows.append(
            {
                "name": name,
                "file": f"{name}.bin",
                "bytes": len(payload),
                "codec": payload[2],
                "revision": payload[3],
                "digest": digest(arrays),
                "arrays": arrays_to_plain(arrays),
            }
        )
    return rows, files


def _identity() -> dict[str, bytes]:
    extremes = [0.0, -0.0, 5e-324, -5e-324, 1.7976931348623157e308, 0.1, 1 / 3]
    cases: dict[str, Arrays] = {
        "identity-nothing": {},
        "identity-scalar": {"s": np.array(0.1)},
        "identity-vector": {"u": np.array([1.5, -2.25, 3.0], np.float32)},
        "identity-matrix": {"weights": ramp(12, np.float64).reshape(3, 4)},
        "identity-without-elements": {"empty": np.zeros((0, 3), np.float32)},
        "identity-extremes": {
            "float32": np.array([1e-45, -1e-45, 3.4028235e38, 0.1, -0.0], np.float32),
            "float64": np.array(extremes),
        },
        # Ascending bytes of UTF-8 are ascending code points; UTF-16 would put U+1D6FC before U+FB00.
        "identity-names": {
            "\U0001d6fc": np.array([4.0]),
            "ﬀ": np.array([3.0], np.float32),
            "λ/decay": np.array([2.0]),
            "a name of 16 b..": np.array([1.0]),
            "Z": np.array([0.0], np.float32),
        },
    }
    return {name: encode("identity", arrays) for name, arrays in cases.items()}


def _mixed() -> dict[str, bytes]:
    cases: dict[str, list[Entry]] = {
        "mixed-dense": [mixed.dense("a", ramp(5)), mixed.dense("b", ramp(6, np.float64).reshape(2, 3))],
        "mixed-int8": [mixed.int8("v", _uneven(600))],
        "mixed-int8-float64": [mixed.int8("v", _uneven(257).astype(np.float64))],
        "mixed-int8-zeros": [mixed.int8("v", np.zeros(300, np.float32)), mixed.int8("w", ramp(1))],
        "mixed-int8-nothing": [mixed.int8("v", np.zeros((2, 0), np.float32))],
    }
    at = np.array([0, 1, 255, 256, 511, 767, 65_535, 65_536, 69_999])
    for values, indices in SPARSE:
        for dtype in (np.float32, np.float64):
            name = f"mixed-sparse-{values}-{indices}-{np.dtype(dtype).name}"
            cases[name] = [_sparse(ramp(70_000, dtype), at, values, indices)]
        nothing = np.array([], np.int64)
        cases[f"mixed-sparse-{values}-{indices}-nothing"] = [_sparse(ramp(300), nothing, values, indices)]
    wide = ramp(1000).reshape(10, 100)
    cases["mixed-everything"] = [
        mixed.dense("dense", ramp(3)),
        mixed.int8("int8", _uneven(300).reshape(3, 100)),
        *(
            mixed.sparse(
                f"{values}/{indices}", wide, np.arange(3, 1000, 7), values=values, index_encoding=indices
            )
            for values, indices in SPARSE
        ),
    ]
    return {name: mixed.pack(entries) for name, entries in cases.items()}


def _pipelines() -> dict[str, bytes]:
    arrays: Arrays = {
        "small": ramp(100),
        "large": _uneven(1500),
        "double": _uneven(1500).astype(np.float64).reshape(15, 100) / 3,
    }
    return {
        f"pipeline-{name}-{indices}": Pipeline(PipelineConfig(name=name, index_encoding=indices)).encode(
            arrays
        )
        for name, indices in PIPELINES
    }


def _uneven(size: int) -> Array:
    """Values whose magnitudes differ from block to block."""
    return (ramp(size, np.float64) * 10.0 ** (np.arange(size) // 256 * 3 - 4)).astype(np.float32)


def _sparse(array: Array, at: Any, values: ValueEncoding, indices: IndexEncoding) -> Entry:
    return mixed.sparse("u", array, at, values=values, index_encoding=indices)


def delta_vectors() -> list[dict[str, Any]]:
    """What is held, a delta, and what is held after it."""
    specs = {
        "narrow": OuterSpec(name="u", shape=(600,), dtype="float32", lower=-3.9, upper=3.7),
        "wide": OuterSpec(name="u", shape=(600,), dtype="float64", upper=0.1),
    }
    return [_delta(name, spec) for name, spec in specs.items()]


def _delta(name: str, spec: OuterSpec) -> dict[str, Any]:
    held = {"u": ramp(600, np.float64) / 3}
    held = {"u": held["u"].astype(spec.dtype)}
    payload = mixed.pack([mixed.int8("u", (ramp(600)[::-1] / 5).astype(spec.dtype))])
    after = apply_delta(held, payload, lambda arrays: clip(arrays, [spec]))
    return {
        "name": name,
        "lower": spec.lower,
        "upper": spec.upper,
        "held": arrays_to_plain(held),
        "payload": payload.hex(),
        "after": arrays_to_plain(after),
        "digest": digest(after),
    }


def limit_vectors() -> list[dict[str, Any]]:
    """Bounds, and the values of the dtype that they allow at most."""
    cases = [("float32", 0.1, 0.3), ("float32", -0.3, -0.1), ("float32", 0.5, 1e-60), ("float64", 0.1, 0.3)]
    cases += [("float32", -1e-60, 1e-60), ("float32", 16777217.0, 16777219.0)]
    rows = []
    for dtype, lower, upper in cases:
        low, _ = OuterSpec(name="u", shape=(), dtype=dtype, lower=lower).limits()
        _, high = OuterSpec(name="u", shape=(), dtype=dtype, upper=upper).limits()
        rows.append({"dtype": dtype, "lower": lower, "upper": upper, "low": low, "high": high})
    return rows
