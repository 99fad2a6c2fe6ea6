"""Gradients of uneven shares: each worker's mean loss counts by its denominator.

With mean losses ``L_w`` over ``d_w`` samples (or tokens), the gradient of the whole batch is that of
``sum(d_w L_w) / sum(d)``. Data parallelism averages over W workers, so each loss is scaled by ``W d_w / sum(d)`` before
``backward``: clipping then sees the gradient of the batch.
"""

from __future__ import annotations

import math
import warnings

from torch import nn

from chronos_common.errors import InvalidRequestError


class UnevenBatchNormWarning(UserWarning):
    """Batch normalisation over shares of different size."""


def loss_weight(own: float, total: float, world_size: int) -> float:
    """What a worker's mean loss is multiplied by: ``W d_w / sum(d)``; 0 for a worker without samples.

    Args:
        own: denominator of this worker's mean: samples, or tokens for a mean over tokens.
        total: of all workers; with accumulation, over all micro-batches of the optimiser's step.
        world_size: workers that the gradient is averaged over.

    Raises:
        InvalidRequestError: a value that is negative or not finite, more than the total, or a total of 0.
    """
    if not (math.isfinite(own) and math.isfinite(total) and 0.0 <= own <= total and total > 0.0):
        raise InvalidRequestError(
            f"own denominator {own} of {total}; both must be finite, the total above 0 and the own between 0 and it",
            field="own",
        )
    if world_size < 1:
        raise InvalidRequestError(f"world_size is {world_size}; it must be 1 or more", field="world_size")
    return world_size * own / total


def uneven_normalisation(module: nn.Module) -> tuple[str, ...]:
    """Names of the layers whose statistics depend on which samples share a worker."""
    return tuple(
        name or type(layer).__name__
        for name, layer in module.named_modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and not isinstance(layer, nn.SyncBatchNorm)
    )


def warn_about_batch_norm(module: nn.Module) -> None:
    """Warns of batch normalisation, if the module has any, that uneven shares change what it computes."""
    names = uneven_normalisation(module)
    if names:
        warnings.warn(
            f"{', '.join(names[:3])}{' and others' if len(names) > 3 else ''}: batch normalisation over shares of "
            "different size; weighting the gradient does not repair its statistics. Use "
            "torch.nn.SyncBatchNorm.convert_sync_batchnorm(module), which weighs them by count, or a normalisation "
            "of each sample (LayerNorm, GroupNorm).",
            UnevenBatchNormWarning,
            stacklevel=3,
        )
