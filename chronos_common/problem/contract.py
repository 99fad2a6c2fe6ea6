"""What a problem's methods must keep to, checked while they run: pure functions, results of the same layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from chronos_common.errors import ProblemError
from chronos_common.problem.state import Aux, InnerState, Tensors

Rule = TypeVar("Rule", bound=Callable[..., InnerState])

_ADVICE = (
    "return new tensors instead: w = w - g, not w -= g, and clone() what a layer or a function "
    "with a trailing underscore writes into"
)


class read_only:  # noqa: N801 - a context manager, read as a verb
    """Around a call of ``method``: it must not write into what it is given.

    Steps are run again from the same tensors, so that a write would silently change the trajectory. It stands around
    every loss of every step, so it costs little while all is well: names are made when there is something to say.

    Raises:
        ProblemError: it did; the message names the method and the tensor.
    """

    __slots__ = ("_grads", "_inner", "_method", "_outer", "_versions")

    def __init__(self, method: str, inner: InnerState, outer: Tensors, grads: Tensors | None = None) -> None:
        self._method, self._inner, self._outer, self._grads = method, inner, outer, grads or {}
        self._versions = self._now()

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, RuntimeError):
            with in_place_errors(self._method):
                raise error
        if error is None and self._now() != self._versions:
            labels = _labelled(self._inner, self._outer, self._grads)
            changed = zip(labels, self._versions, self._now(), strict=True)
            label = next(label for label, before, after in changed if before != after)
            raise ProblemError(f"{self._method} writes into {label}, which it was given; {_ADVICE}")

    def _now(self) -> list[int]:
        inner = self._inner
        parts = (inner.params, inner.buffers, inner.opt_state, self._outer, self._grads)
        return [tensor._version for part in parts for tensor in part.values()]


@contextmanager
def in_place_errors(method: str) -> Iterator[None]:
    """Turns PyTorch's refusals of in-place writes into a ``ProblemError`` that names ``method``."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if "in-place operation" not in text and "inplace operation" not in text:
            raise
        raise ProblemError(
            f"{method} writes in place into a tensor that its derivative needs; {_ADVICE}"
        ) from error


def require_untouched(now: InnerState, before: InnerState) -> None:
    """That a first step left the state it began from as it was; ``.data`` escapes :func:`read_only`.

    Raises:
        ProblemError: the values differ.
    """
    kept = before.to_tensors()
    for label, value in now.to_tensors().items():
        if not _same(value, kept[label]):
            raise ProblemError(
                f"inner_loss or inner_update writes into {label}, which it was given (by .data?); {_ADVICE}"
            )


def checked_initial(state: object) -> InnerState:
    """The result of ``init_inner``.

    Raises:
        ProblemError: no ``InnerState`` of tensors, or an inner parameter that is not floating point.
    """
    if not isinstance(state, InnerState):
        raise ProblemError(f"init_inner must return an InnerState, not {type(state).__name__}")
    _require_tensors("init_inner", state)
    for name, value in state.params.items():
        if not value.is_floating_point():
            raise ProblemError(f"inner parameter '{name}' has dtype {value.dtype}; put it into buffers")
    return state


def checked_update(updated: object, given: InnerState) -> InnerState:
    """The result of ``inner_update``: the names, shapes and dtypes of the state it was given.

    Entries of ``opt_state`` may come and go; those that stay keep their layout.

    Raises:
        ProblemError: it has another layout; the message names the first tensor that differs.
    """
    if not isinstance(updated, InnerState) or updated.params.keys() != given.params.keys():
        raise ProblemError("inner_update must return an InnerState with the same parameter names")
    _require_tensors("inner_update", updated)
    for part in ("params", "buffers", "opt_state"):
        _require_layout(f"inner_update returns {part}", getattr(updated, part), getattr(given, part))
    return updated


def checked_aux(aux: Aux, given: InnerState) -> Aux:
    """The buffers and metrics of ``inner_loss``.

    Raises:
        ProblemError: a buffer that the state does not have, or of another layout; a metric of several numbers.
    """
    if not aux.buffers and not aux.metrics:
        return aux
    unknown = sorted(aux.buffers.keys() - given.buffers.keys())
    if unknown:
        raise ProblemError(
            f"inner_loss returns a buffer '{unknown[0]}' that the state does not have; "
            f"init_inner makes {sorted(given.buffers)}"
        )
    for name, value in {**aux.buffers, **aux.metrics}.items():
        if not isinstance(value, Tensor):
            raise ProblemError(f"inner_loss returns '{name}' as {type(value).__name__}, not as a tensor")
    _require_layout("inner_loss returns buffers", aux.buffers, given.buffers)
    for name, value in aux.metrics.items():
        if value.numel() != 1:
            raise ProblemError(
                f"inner_loss returns the metric '{name}' of shape {tuple(value.shape)}; it must be one number"
            )
    return aux


def updates_separately(problem: object) -> bool:
    """Whether each new parameter of ``inner_update`` is computed from its own old value and gradient alone."""
    rule: object = getattr(type(problem), "inner_update", None)
    return getattr(rule, "_updates_separately", False) is True


def separate(rule: Rule) -> Rule:
    """Marks an ``inner_update`` for :func:`updates_separately`."""
    rule._updates_separately = True  # type: ignore[attr-defined]
    return rule


def _same(a: Tensor, b: Tensor) -> bool:
    nan_at_nan = a.is_floating_point() and torch.allclose(a, b, rtol=0.0, atol=0.0, equal_nan=True)
    return nan_at_nan or torch.equal(a, b)


def _require_layout(where: str, given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    for name, value in given.items():
        like = expected.get(name, value)
        if value is like:
            continue
        if value.shape != like.shape or value.dtype != like.dtype:
            raise ProblemError(
                f"{where}['{name}'] of shape {tuple(value.shape)} and {value.dtype}; "
                f"it must stay {tuple(like.shape)} and {like.dtype}"
            )


def _require_tensors(method: str, state: InnerState) -> None:
    parts = (state.params, state.buffers, state.opt_state)
    if all(isinstance(value, Tensor) for part in parts for value in part.values()):
        return
    for label, value in state.to_tensors().items():
        if not isinstance(value, Tensor):
            raise ProblemError(f"{method} returns {label} as {type(value).__name__}, not as a tensor")


def _labelled(inner: InnerState, outer: Tensors, grads: Tensors) -> Tensors:
    parts = {
        "params": inner.params,
        "buffers": inner.buffers,
        "opt_state": inner.opt_state,
        "outer": outer,
        "grads": grads,
    }
    return {f"{part}['{name}']": value for part, tensors in parts.items() for name, value in tensors.items()}
