"""Momentum in integers: every step can be undone to the last bit.

Multiplying by a momentum below 1 maps several numbers to one. Maclaurin et al. (ICML 2015, section 3) keep what that
loses, and so does this: a velocity is an integer V in units of a power of two, the momentum a fraction n/d, and
V' = ⌊V n / d⌋ has between ⌊d/n⌋ and ⌈d/n⌉ numbers V that lead to it. Which of them it was, is pushed into a number k in
that base: about log₂(1/momentum) bits a step. When k no longer fits into 63 bits it is put away and a new one begun.
(The paper keeps V modulo d instead, and reuses those digits in V', which costs the velocity the digits of d.)
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from chronos_common.errors import DivergenceError

_SHIFT = 36
DENOMINATOR = 2**_SHIFT
"""d: momentum is rounded to multiples of 1/d, an error of at most 2⁻³⁷."""

_DIGITS, _HEADROOM = 50, 6
_LOW = 26
"""A velocity has 50 digits; its product with n is formed from the lowest 26 and the others, each within int64."""


def unit(*tensors: Tensor) -> float:
    """A power of two: the resolution at which the largest of the numbers has 44 digits, and room to grow by six."""
    largest = max((float(t.abs().max()) for t in tensors if t.numel()), default=0.0)
    exponent = math.frexp(largest)[1] if largest > 0.0 else 0
    return 2.0 ** (exponent + _HEADROOM - _DIGITS)


def whole(value: Tensor, unit: float) -> Tensor:
    """``value`` in units, rounded to int64.

    Raises:
        DivergenceError: it has outgrown the range that :func:`unit` left.
    """
    scaled = value.double() / unit
    # Written so that NaN is refused too.
    if not bool((scaled.abs() < 2.0**_DIGITS).all()):
        raise DivergenceError(
            "a parameter, velocity or gradient grew 64-fold beyond the first ones, which exact momentum has no room "
            "for; lower the inner learning rate, or use RecomputeDifferentiation"
        )
    return scaled.round().to(torch.int64)


def ratio(momentum: Tensor) -> Tensor:
    """n of n/d, int64, at least 1."""
    rounded: Tensor = (momentum.double() * DENOMINATOR).round().clamp(min=1.0).to(torch.int64)
    return rounded


@dataclasses.dataclass(eq=False)
class LostBits:
    """What multiplications by momentum took from one tensor, for :meth:`restore` to give back in reverse order.

    Attributes:
        buffer: k, int64, like the tensor.
        full: those that were put away, with the number of the multiplication before which that was.
        count: multiplications that were not undone.
    """

    buffer: Tensor
    full: list[tuple[int, Tensor]] = dataclasses.field(default_factory=list)
    count: int = 0

    @classmethod
    def none(cls, like: Tensor) -> LostBits:
        """Nothing lost yet."""
        return cls(torch.zeros_like(like, dtype=torch.int64))

    def multiply(self, velocity: Tensor, numerator: Tensor) -> Tensor:
        """⌊velocity · n/d⌋; what that loses is kept."""
        base = DENOMINATOR // int(numerator.min()) + 2 if numerator.numel() else 2
        if self.buffer.numel() and int(self.buffer.max()) >= 2**62 // base:
            self.full.append((self.count, self.buffer))
            self.buffer = torch.zeros_like(self.buffer)
        self.count += 1
        slowed = _product(velocity, numerator)
        first, choices = _sources(slowed, numerator)
        self.buffer = self.buffer * choices + (velocity - first)
        return slowed

    def restore(self, slowed: Tensor, numerator: Tensor) -> Tensor:
        """The inverse of the last :meth:`multiply` that was not yet undone."""
        first, choices = _sources(slowed, numerator)
        velocity = first + torch.remainder(self.buffer, choices)
        self.buffer = torch.div(self.buffer, choices, rounding_mode="floor")
        self.count -= 1
        if self.full and self.full[-1][0] == self.count:
            self.buffer = self.full.pop()[1]
        return velocity


def _product(velocity: Tensor, numerator: Tensor) -> Tensor:
    """⌊velocity · n / d⌋, exactly."""
    high, low = velocity >> _LOW, velocity & (2**_LOW - 1)
    product: Tensor = (high * numerator + ((low * numerator) >> _LOW)) >> (_SHIFT - _LOW)
    return product


def _sources(slowed: Tensor, numerator: Tensor) -> tuple[Tensor, Tensor]:
    """The smallest V with ⌊V n / d⌋ = ``slowed``, and how many there are."""
    first = _smallest(slowed, numerator)
    return first, _smallest(slowed + 1, numerator) - first


def _smallest(slowed: Tensor, numerator: Tensor) -> Tensor:
    """The smallest V with ⌊V n / d⌋ ≥ ``slowed``."""
    # float64 is off by less than one at 50 digits; the exact product decides.
    found = torch.floor(slowed.double() * (DENOMINATOR / numerator.double())).to(torch.int64) - 1
    for _ in range(3):
        found = found + (_product(found, numerator) < slowed).to(torch.int64)
    return found
