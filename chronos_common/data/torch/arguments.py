"""What a sampler is asked for, checked before anything is planned."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence

import torch.distributed as dist

from chronos_common.errors import ConfigurationError


def default_replicas(given: int | None) -> int:
    """Number of ranks, by default of the default process group."""
    if given is None:
        _require_group("num_replicas")
        return dist.get_world_size()
    return given


def default_rank(given: int | None) -> int:
    """This rank, by default in the default process group."""
    if given is None:
        _require_group("rank")
        return dist.get_rank()
    return given


def require_arguments(num_replicas: int, rank: int, batch_size: int | None, samples: int) -> int:
    """The batch size, if the numbers fit together.

    Raises:
        ConfigurationError: names the argument that does not.
    """
    if num_replicas < 1:
        raise ConfigurationError(f"num_replicas is {num_replicas}; it must be 1 or more")
    if not 0 <= rank < num_replicas:
        raise ConfigurationError(
            f"rank is {rank}; with {num_replicas} ranks it must be 0 to {num_replicas - 1}"
        )
    if batch_size is None:
        raise ConfigurationError(
            "batch_size is missing: say how many samples a rank takes in a step, on average; steps are balanced one by "
            "one"
        )
    if type(batch_size) is not int or batch_size < 1:
        raise ConfigurationError(f"batch_size is {batch_size!r}; it must be a whole number, 1 or more")
    if samples < num_replicas:
        raise ConfigurationError(
            f"{samples} samples for {num_replicas} ranks; each needs at least one: use fewer ranks",
            samples=samples,
        )
    return batch_size


def require_groups(num_replicas: int, partition: bool, groups: Sequence[int] | None) -> tuple[int, ...]:
    """Node of each rank; empty where the data set is not partitioned.

    Raises:
        ConfigurationError: groups without ``partition`` or the reverse, or not one node for each rank.
    """
    if not partition:
        if groups is not None:
            raise ConfigurationError("groups are given without partition=True; say both, or neither")
        return ()
    if groups is None or len(groups) != num_replicas:
        given = "no groups" if groups is None else f"{len(groups)} groups"
        raise ConfigurationError(
            f"{given} for {num_replicas} ranks; a partitioned data set needs the node of each rank: groups=(0, 0, 1, 1)"
        )
    nodes = tuple(int(group) for group in groups)
    if min(nodes) < 0:
        raise ConfigurationError(f"groups are {nodes}; a node is a whole number, 0 or more")
    return nodes


def require_in_order(loader: object) -> None:
    """Raises ``ConfigurationError`` for a loader that gives batches in another order than it takes them."""
    if not getattr(loader, "in_order", True):
        raise ConfigurationError(
            "the loader has in_order=False: its batches could not be told apart; leave it at True"
        )


def require_unforked(loader: object) -> None:
    """Raises ``ConfigurationError`` for a loader that would fork its workers."""
    if not getattr(loader, "num_workers", 0):
        return
    context = getattr(loader, "multiprocessing_context", None) or multiprocessing
    if context.get_start_method() == "fork":
        raise ConfigurationError(
            "the loader would fork its workers from a process that is connected to a coordinator, and they may crash: "
            "pass DataLoader(..., multiprocessing_context='forkserver'), or 'spawn'"
        )


def _require_group(argument: str) -> None:
    if not (dist.is_available() and dist.is_initialized()):
        raise ConfigurationError(
            f"{argument} is missing and torch.distributed is not initialised: pass {argument}, or call "
            "init_process_group first"
        )
