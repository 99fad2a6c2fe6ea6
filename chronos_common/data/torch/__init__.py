"""The balancing planner for PyTorch: data sets with sizes, samplers, gradient weights; with or without a coordinator.

* ``datasets.py``: torch's data sets with ``__sizeof__(index)``; ``sizes.py``: all sizes, asked once.
* ``sampler.py``: :class:`DistributedSampler`, equal counts; ``batches.py``: :class:`BalancedBatchSampler`, variable
  counts; ``served.py``: :class:`ServedBatchSampler`, of a plan that a coordinator holds.
* ``share.py``: a step as the training loop sees it; ``position.py``: where the epoch stands.
* ``weighting.py``: gradients of uneven shares; ``reduction.py``: the same as a hook of DDP, which also takes times.
* ``feedback.py``: measured speeds, the same on every rank; ``exchange.py``: the all-gather that they travel by;
  ``agreement.py``: ranks that plan apart plan for the same.

It imports torch, so nothing outside of it in ``chronos_common.data`` imports it.
"""

from chronos_common.data.torch.batches import BalancedBatchSampler
from chronos_common.data.torch.datasets import ChainDataset, ConcatDataset, Dataset, IterableDataset
from chronos_common.data.torch.exchange import Exchange, TorchExchange
from chronos_common.data.torch.feedback import Feedback, FeedbackConfig
from chronos_common.data.torch.reduction import WeightedReduction, weigh_gradients, weighted_allreduce
from chronos_common.data.torch.sampler import DistributedSampler
from chronos_common.data.torch.served import ServedBatchSampler, ServedShare
from chronos_common.data.torch.share import Share
from chronos_common.data.torch.sizes import sizes_of
from chronos_common.data.torch.weighting import UnevenBatchNormWarning, loss_weight, warn_about_batch_norm

__all__ = [
    "BalancedBatchSampler",
    "ChainDataset",
    "ConcatDataset",
    "Dataset",
    "DistributedSampler",
    "Exchange",
    "Feedback",
    "FeedbackConfig",
    "IterableDataset",
    "ServedBatchSampler",
    "ServedShare",
    "Share",
    "TorchExchange",
    "UnevenBatchNormWarning",
    "WeightedReduction",
    "loss_weight",
    "sizes_of",
    "warn_about_batch_norm",
    "weigh_gradients",
    "weighted_allreduce",
]
