"""Other ways to divide an epoch, written for comparison after their descriptions; what comes out is loads (S, W).

Each takes sizes (N,), workers W, samples of one worker b, and a generator, and divides whole batches of W b samples.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]
Divide = Callable[[Reals, int, int, np.random.Generator], Reals]

_MEGA_BATCHES = 50


def distributed_sampler(sizes: Reals, workers: int, each: int, rng: np.random.Generator) -> Reals:
    """torch's: a shuffle, dealt in turn."""
    order = rng.permutation(len(sizes))[: len(sizes) // (workers * each) * workers * each]
    return np.asarray(sizes[order].reshape(-1, each, workers).sum(axis=1))


def length_groups(sizes: Reals, workers: int, each: int, rng: np.random.Generator) -> Reals:
    """Hugging Face's group_by_length: 50 batches sorted at a time, cut again, dealt in turn."""
    batch = workers * each
    order = rng.permutation(len(sizes))[: len(sizes) // batch * batch]
    mega = [
        np.sort(sizes[part])
        for part in np.split(order, range(_MEGA_BATCHES * batch, len(order), _MEGA_BATCHES * batch))
    ]
    return np.asarray(np.concatenate(mega).reshape(-1, each, workers).sum(axis=1))


def karmarkar_karp(sizes: Reals, workers: int, each: int, rng: np.random.Generator) -> Reals:
    """Largest differencing inside each shuffled batch (as verl does), counts free."""
    batch = workers * each
    order = rng.permutation(len(sizes))
    loads = []
    for start in range(0, len(sizes) // batch * batch, batch):
        number = itertools.count()
        heap = []
        for size in sizes[order[start : start + batch]]:
            sums = np.zeros(workers)
            sums[-1] = size
            heap.append((-float(size), next(number), sums))
        heapq.heapify(heap)
        while len(heap) > 1:
            (_, _, one), (_, _, other) = heapq.heappop(heap), heapq.heappop(heap)
            both = np.sort(one + other[::-1])
            heapq.heappush(heap, (float(both[0] - both[-1]), next(number), both))
        loads.append(heap[0][2])
    return np.stack(loads)


def packing(sizes: Reals, workers: int, each: int, rng: np.random.Generator) -> Reals:
    """Multipack's: first fit, falling, into bins of one share each; the bins are dealt as they were filled."""
    batch = workers * each
    order = rng.permutation(len(sizes))[: len(sizes) // batch * batch]
    capacity = max(float(sizes.mean()) * each, float(sizes.max()))
    loads = []
    for start in range(0, len(order), batch):
        room = np.full(2 * workers + 2, capacity)
        for size in np.sort(sizes[order[start : start + batch]])[::-1]:
            room[int((room >= size).argmax())] -= size
        filled = capacity - room[room < capacity]
        loads.append(np.pad(filled, (0, -len(filled) % workers)).reshape(-1, workers))
    return np.concatenate(loads)


def chronica_static(sizes: Reals, workers: int, each: int, rng: np.random.Generator) -> Reals:
    """Half of a share at random, the rest the nearest sizes to the mean that the data set has left; equal counts."""
    return _nearest(sizes, workers, each, rng, pivot=False)


def chronica_dynamic(sizes: Reals, workers: int, each: int, rng: np.random.Generator) -> Reals:
    """Likewise, but the first rank's random share is the pivot that the others of the step are filled to."""
    return _nearest(sizes, workers, each, rng, pivot=True)


def _nearest(sizes: Reals, workers: int, each: int, rng: np.random.Generator, *, pivot: bool) -> Reals:
    left = np.sort(sizes).tolist()
    mean = float(sizes.mean()) * each
    loads = []
    for _ in range(len(sizes) // (workers * each)):
        goal, step = mean, []
        for rank in range(workers):
            total = 0.0
            for taken in range(each):
                if taken < each // 2 or (pivot and rank == 0 and taken < each - 1):
                    place = int(rng.integers(len(left)))
                else:
                    place = _closest(left, (goal - total) / (each - taken))
                total += left.pop(place)
            step.append(total)
            if pivot and rank == 0:
                goal = total
        loads.append(step)
    return np.array(loads)


def _closest(left: list[float], value: float) -> int:
    place = bisect.bisect_left(left, value)
    if place == len(left) or (place and value - left[place - 1] < left[place] - value):
        return place - 1
    return place


OTHERS: Final[Mapping[str, Divide]] = MappingProxyType(
    {
        "DistributedSampler": distributed_sampler,
        "length groups": length_groups,
        "Karmarkar–Karp": karmarkar_karp,
        "packing": packing,
        "nearest to mean": chronica_static,
        "nearest to pivot": chronica_dynamic,
    }
)
