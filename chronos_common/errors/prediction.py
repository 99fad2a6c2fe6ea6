"""Errors of the predictor."""

from __future__ import annotations

from chronos_common.errors.base import ChronosError


class PredictionError(ChronosError):
    """A question that the predictor cannot answer; the message says what to ask instead."""

    reason = "BAD_PREDICTION"


class UnknownDeviceError(PredictionError):
    """A device, model or data set that no table holds; the message lists those that are known."""

    reason = "UNKNOWN_DEVICE"


class BadWorkloadError(PredictionError):
    """A batch size, learning rate, size of data or count that cannot be: zero, negative, or not a number."""

    reason = "BAD_WORKLOAD"


class BatchTooLargeError(PredictionError):
    """A step that cannot fit into the device's memory; the message names the largest batch that can."""

    reason = "BATCH_TOO_LARGE"


class UncountableModuleError(PredictionError):
    """A module that runs neither on meta tensors nor on the CPU with the shapes given."""

    reason = "UNCOUNTABLE_MODULE"


class ArtefactError(PredictionError):
    """A trained predictor that is missing, damaged, or of another revision than this release reads."""

    reason = "BAD_ARTEFACT"
