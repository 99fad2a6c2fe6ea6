"""Versions as compressed deltas: the master x, what is published of it, and the same arithmetic at every client.

    payload = encode(x - p)
    p'      = clip(p + decode(payload))

The difference x - p' is the server's residual; it needs no storage of its own, since x and p are state. Clients that
hold p apply the payload by :func:`apply_delta` and hold p' to the bit: decoding gives float32 products, one addition
in the parameter's dtype follows, zeros included (-0.0 becomes 0.0 on either side). Deltas are applied one by one, in
order; their sum would round differently.

A version is a *snapshot* of x instead, lossless, where the pipeline is lossless, where the delta would not be
smaller, or where x - p or p' would leave the finite numbers. Then p' = x, and nothing is owed.

The fold replays recorded payloads with :func:`apply_version` and never encodes: which values a delta holds was a
decision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from chronos_common.codec import decode, dense_bytes, encode
from chronos_common.compression.arithmetic import add, subtract
from chronos_common.compression.pipeline import Pipeline
from chronos_common.errors import NonFiniteError
from chronos_common.tensors import Array, Arrays, require_finite, require_like, specs_of

Clip = Callable[[Arrays], dict[str, Array]]
"""Moves values to the nearest ones within the bounds, in stored coordinates."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NextVersion:
    """What publishing decided.

    Attributes:
        payload: the delta on the version before, or the snapshot.
        is_delta: which of the two.
        published: p' that every client will hold.
    """

    payload: bytes
    is_delta: bool
    published: dict[str, Array]


def next_version(
    pipeline: Pipeline,
    master: Arrays,
    published: Arrays,
    clip: Clip,
    shares: Mapping[str, float] | None = None,
) -> NextVersion:
    """Publish ``master`` to clients that hold ``published``.

    Args:
        pipeline: the downlink's.
        master: x, within the bounds.
        published: p.
        clip: the bounds.
        shares: of each array, the multiple of the pipeline's density that its delta may have; with 0 nothing of it
            is sent, and what is owed of it stays owed. ``None`` is 1 for all.

    Raises:
        PayloadError: the two do not match, or the master is not finite.
    """
    specs = specs_of(published)
    require_like(master, specs)
    if not pipeline.lossless:
        try:
            payload = pipeline.encode(subtract(master, published), shares)
            if len(payload) < dense_bytes(specs):
                after = apply_delta(published, payload, clip)
                return NextVersion(payload=payload, is_delta=True, published=after)
        except NonFiniteError:
            # The difference or the sum overflows although both ends are finite: send the value itself.
            require_finite(master, "the master")
    require_finite(master, "the master")
    snapshot = encode("identity", master)
    return NextVersion(payload=snapshot, is_delta=False, published=decode(snapshot))


def apply_delta(published: Arrays, payload: bytes | memoryview, clip: Clip) -> dict[str, Array]:
    """p' of p and a delta: the same bits on every machine.

    Raises:
        PayloadError: the payload is malformed, does not match ``published``, or leads out of the finite numbers.
    """
    after = add(published, decode(payload, specs=specs_of(published)))
    require_finite(after, "a version after its delta")
    return clip(after)


def apply_deltas(published: Arrays, payloads: Iterable[bytes | memoryview], clip: Clip) -> dict[str, Array]:
    """p after several deltas, one by one.

    Raises:
        PayloadError: as :func:`apply_delta`.
    """
    after = dict(published)
    for payload in payloads:
        after = apply_delta(after, payload, clip)
    return after


def apply_version(
    published: Arrays, payload: bytes | memoryview, clip: Clip, *, is_delta: bool
) -> dict[str, Array]:
    """p' of p and a recorded version, delta or snapshot.

    Raises:
        PayloadError: as :func:`apply_delta`.
    """
    if is_delta:
        return apply_delta(published, payload, clip)
    return decode(payload, specs=specs_of(published))


def server_residual(master: Arrays, published: Arrays) -> dict[str, Array]:
    """x - p: what is still owed to the clients."""
    return subtract(master, published)
