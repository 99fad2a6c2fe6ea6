"""Errors of problems and estimators."""

from __future__ import annotations

from chronos_common.errors.base import ChronosError


class ProblemError(ChronosError):
    """The user's problem broke its contract."""

    reason = "BAD_PROBLEM"


class MissingPartError(ProblemError):
    """An estimator needs a method that the problem does not define; the message names it."""

    reason = "MISSING_PART"


class OuterParameterUnusedError(ProblemError):
    """An outer parameter does not occur where the estimator differentiates; the message names it."""

    reason = "OUTER_PARAMETER_UNUSED"


class DivergenceError(ProblemError):
    """A loss, gradient or linear solve produced values that are not finite."""

    reason = "DIVERGED"


class ProblemNotAllowedError(ProblemError):
    """A worker was asked for a problem outside its own allow-list."""

    reason = "PROBLEM_NOT_ALLOWED"
