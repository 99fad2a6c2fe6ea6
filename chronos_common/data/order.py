"""The order of an epoch: which batch holds which samples, whoever takes them.

Nothing here depends on who is there or how fast they are, so that an epoch goes on as it began when members come and
go. Random numbers are taken raw from PCG64, whose stream is fixed, and sorted with the position beside them, so that
the order is the same with every release of numpy and on every machine.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from chronos_common.data.plan import Indices

_MASK = (1 << 64) - 1
_BYTES_DEVIATION = 209.0215299915299
"""Of the sum of eight random bytes: the square root of 8 (256^2 - 1) / 12."""


def raw_bits(count: int, seed: int, epoch: int, purpose: int) -> NDArray[np.uint64]:
    """Random 64-bit numbers, (count,), the same for the same arguments everywhere."""
    entropy = [seed & _MASK, epoch & _MASK, purpose]
    return np.random.PCG64(np.random.SeedSequence(entropy)).random_raw(count)


def shuffled(count: int, seed: int, epoch: int, purpose: int = 0) -> Indices:
    """A permutation of 0 to ``count - 1``."""
    return _sorted_positions(raw_bits(count, seed, epoch, purpose))


def _sorted_positions(keys: NDArray[np.uint64]) -> Indices:
    # The low bits give way to the position: one sort of whole numbers, and ties are those of the order.
    low = np.uint64((1 << max(1, len(keys)).bit_length()) - 1)
    packed = (keys & ~low) | np.arange(len(keys), dtype=np.uint64)
    packed.sort()
    return (packed & low).astype(np.int64)


def noisy(
    units: NDArray[np.int64], order: Indices, batch: int, noise: float, seed: int, epoch: int
) -> Indices:
    """Samples of like size in one batch: sorted by log size plus noise, cut, and the batches shuffled.

    An incomplete last batch stays the random one that it is.

    Args:
        units: costs, (N,).
        order: shuffled samples, (N,).
        batch: samples of one.
        noise: standard deviation, in natural logarithms.
        seed: of the noise.
        epoch: likewise.
    """
    whole = len(order) // batch * batch
    body = order[:whole]
    # Sum of eight random bytes: normal enough, and exact. The logarithm has straight pieces, for the same reason.
    raw = raw_bits(whole, seed, epoch, 1).view(np.uint8).reshape(whole, 8).sum(axis=1, dtype=np.int64)
    fraction, exponent = np.frexp(np.maximum(units[body], 1).astype(np.float64))
    log2 = exponent + 2 * (fraction - 0.5)
    keys = log2 + (raw - 8 * 127.5) / _BYTES_DEVIATION * (noise / math.log(2))
    by_size = body[np.argsort(keys, kind="stable")].reshape(-1, batch)
    mixed = by_size[shuffled(len(by_size), seed, epoch, 2)].reshape(-1)
    return np.concatenate([mixed, order[whole:]])


def windowed(
    units: NDArray[np.int64], order: Indices, batch: int, window: int, workers: int, seed: int, epoch: int
) -> Indices:
    """Samples that exceed a worker's share are brought together, inside windows of some batches.

    Windows without such a sample stay as they were shuffled.

    Args:
        units: costs, (N,).
        order: shuffled samples, (N,).
        batch: samples of one.
        window: batches among which samples change places.
        workers: whose share is meant.
        seed: of the order of the batches in a window.
        epoch: likewise.
    """
    found = order.copy()
    whole = len(order) // batch
    for start in range(0, whole, window):
        ends = min(start + window, whole)
        part = slice(start * batch, ends * batch)
        costs = units[order[part]]
        if int(costs.max()) * (ends - start) * workers <= int(costs.sum()):
            continue
        cut = _together(costs, batch, workers)
        cut = cut[shuffled(len(cut), seed, epoch, 3 + start)]
        found[part] = order[part][cut.reshape(-1)]
    return found


def _together(costs: NDArray[np.int64], batch: int, workers: int) -> Indices:
    """Positions of a window, (M, batch): batches full of large samples first, the others as they were.

    A batch that holds a sample above the share takes more of them, and is filled at random from those samples that are
    large enough, on the mean, to keep the other workers as busy as the one with the largest.
    """
    left = np.arange(len(costs))
    cut: list[Indices] = []
    while len(left) > batch:
        mine = costs[left]
        large = np.flatnonzero(mine > mine.sum() / (len(left) // batch * workers))
        if not large.size:
            break
        falling = large[np.argsort(-mine[large], kind="stable")][: min(workers, batch)]
        others = np.setdiff1d(np.arange(len(left)), falling)
        fill = batch - len(falling)
        wanted = max(0, int(mine[falling[0]]) * workers - int(mine[falling].sum()))
        by_size = others[np.argsort(-mine[others], kind="stable")]
        sums = np.cumsum(mine[by_size].astype(np.float64))
        enough = np.flatnonzero(sums * max(fill, 1) >= wanted * np.arange(1.0, len(sums) + 1))
        reach = max(fill, int(enough[-1]) + 1 if enough.size else 0)
        chosen = np.sort(by_size[:reach])[:fill]
        taken = np.concatenate([falling, chosen])
        cut.append(left[taken])
        left = np.delete(left, taken)
    return np.concatenate([*(one[None] for one in cut), left.reshape(-1, batch)])


def lost(units: NDArray[np.int64], order: Indices, batch: int, workers: int) -> float:
    """Least epoch time over that of perfect balance, given that a sample cannot be cut; equal workers."""
    whole = len(order) // batch
    if not whole:
        return 1.0
    costs = units[order[: whole * batch]].reshape(whole, batch)
    shares = costs.sum(axis=1) / workers
    return float(np.maximum(shares, costs.max(axis=1)).sum() / max(shares.sum(), 1.0))
