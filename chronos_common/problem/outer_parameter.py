"""Outer parameters λ: their values, their bounds, and the coordinates they are stored in."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Literal, NoReturn

import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError, ProblemError
from chronos_common.problem.state import Tensors

Scale = Literal["linear", "log"]
Bounds = tuple[float | None, float | None]
OuterValue = float | Tensor

_SIMPLEX_SLACK = 1e-5
"""By how much the sum of a declared row may differ from 1; the difference is divided out."""

_DTYPES = (torch.float32, torch.float64)


def as_value(name: str, value: object) -> Tensor:
    """A number or a tensor as a detached float32 or float64 tensor.

    Python numbers become 0-d tensors of ``torch.get_default_dtype()``.

    Raises:
        ProblemError: neither a number nor a tensor of one of the two dtypes.
    """
    if isinstance(value, Tensor):
        if value.dtype in _DTYPES:
            return value.detach()
        raise ProblemError(f"outer parameter '{name}' has dtype {value.dtype}; use float32 or float64")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return torch.tensor(float(value), dtype=torch.get_default_dtype())
    raise ProblemError(
        f"outer parameter '{name}' is a {type(value).__name__}; use a float or a float32/float64 tensor"
    )


@dataclasses.dataclass(frozen=True, eq=False)
class OuterParameter:
    """One outer parameter: its starting value and how it may move.

    Args:
        value: float or float32/float64 tensor of any shape, in natural coordinates.
        bounds: ``(lower, upper)`` in natural coordinates; None on a side leaves it open.
        scale: "log" stores u = log λ, so that the outer optimiser moves λ by factors; needs λ > 0.
        constraint: "simplex" keeps every row (the last axis) at least 0 and of sum 1; without bounds and on a linear
            scale.
        level: reserved; the timescale of a parameter is chosen by its name in ``OuterConfig.levels``, so that this
            is refused.

    Raises:
        ProblemError: the value is not finite, outside its bounds, of another dtype, or not positive on
            a log scale; bounds out of order.
        ConfigurationError: an unknown scale or constraint, a constraint beside a scale or bounds, or ``level`` given.
    """

    value: OuterValue
    bounds: Bounds | None = None
    scale: Scale = "linear"
    constraint: str | None = None
    level: str | None = None

    def __post_init__(self) -> None:
        if self.scale not in ("linear", "log"):
            raise ConfigurationError(f"scale '{self.scale}' is unknown; choose 'linear' or 'log'")
        if self.level is not None:
            raise ConfigurationError(
                "OuterParameter(level=...) is reserved; leave it out and name the parameter in a timescale of the "
                "outer optimiser: OuterConfig(levels=(TimescaleConfig(name=..., parameters=(...)),))"
            )
        if self.constraint not in (None, "simplex"):
            raise ConfigurationError(
                f"constraint '{self.constraint}' is unknown; the one there is is 'simplex' (use bounds= for intervals "
                "and scale='log' for positive values)"
            )
        if self.constraint is not None and (self.scale != "linear" or self.bounds is not None):
            raise ConfigurationError(
                "constraint='simplex' is a bound by itself; leave out scale= and bounds="
            )
        value = self.tensor()
        lower, upper = self.limits()
        if not bool(torch.isfinite(value).all()):
            _refuse("its value is not finite")
        if self.scale == "log" and not bool((value > 0).all()):
            _refuse("scale='log' needs a value above 0 everywhere")
        if not bool(((value >= lower) & (value <= upper)).all()):
            _refuse(f"its value leaves its bounds ({lower}, {upper})")
        if self.constraint == "simplex":
            rows = value.detach().double().reshape(-1, value.shape[-1] if value.dim() else 1)
            if bool((rows < 0).any()) or not bool(((rows.sum(dim=-1) - 1).abs() <= _SIMPLEX_SLACK).all()):
                _refuse("constraint='simplex' needs rows of values that are at least 0 and sum to 1")

    def limits(self) -> tuple[float, float]:
        """The bounds in the parameter's own precision; infinities where a side is open."""
        lower, upper = self.bounds or (None, None)
        if self.scale == "log" and lower is not None and lower <= 0:
            _refuse(f"scale='log' needs a lower bound above 0, not {lower}")
        low = -math.inf if lower is None else float(lower)
        high = math.inf if upper is None else float(upper)
        if math.isnan(low) or math.isnan(high) or low > high:
            _refuse(f"bounds ({lower}, {upper}) are not in order")
        low, high = torch.tensor([low, high], dtype=self.tensor().dtype).tolist()
        return low, high

    def tensor(self) -> Tensor:
        """The value as a detached tensor in natural coordinates."""
        return as_value("(unnamed)", self.value)


def _refuse(what: str) -> NoReturn:
    raise ProblemError(f"an outer parameter is not valid: {what}")


def resolve_parameters(declared: Mapping[str, OuterParameter | OuterValue]) -> dict[str, OuterParameter]:
    """What a problem declared, with bare floats and tensors wrapped and every refusal naming its parameter.

    Raises:
        ProblemError: no parameter at all, an empty name, or a value that is neither number nor tensor.
    """
    if not declared:
        raise ProblemError("outer_parameters() is empty: there is nothing to optimise")
    resolved: dict[str, OuterParameter] = {}
    for name, value in declared.items():
        if not name:
            raise ProblemError("an outer parameter has an empty name")
        resolved[name] = value if isinstance(value, OuterParameter) else OuterParameter(as_value(name, value))
    return resolved


def resolve_outer(
    parameters: Mapping[str, OuterParameter],
    outer: Mapping[str, OuterParameter | OuterValue] | None,
    device: torch.device,
) -> Tensors:
    """λ as detached tensors on ``device``; None means the problem's own starting values.

    Raises:
        ProblemError: names, shapes or dtypes differ from the declared ones.
    """
    if outer is None:
        return {name: p.tensor().to(device) for name, p in parameters.items()}
    if set(outer) != set(parameters):
        raise ProblemError(
            f"outer parameters {sorted(outer)} were given where the problem declares {sorted(parameters)}"
        )
    values: Tensors = {}
    for name, declared in parameters.items():
        given, expected = outer[name], declared.tensor()
        if isinstance(given, OuterParameter):
            given = given.tensor()
        if isinstance(given, int | float):
            given = torch.full_like(expected, float(given)) if expected.dim() == 0 else given
        value = as_value(name, given)
        if value.shape != expected.shape or value.dtype != expected.dtype:
            raise ProblemError(
                f"outer parameter '{name}' was given with shape {tuple(value.shape)} and {value.dtype}; "
                f"the problem declares {tuple(expected.shape)} and {expected.dtype}"
            )
        values[name] = value.to(device)
    return values
