"""The interface of an outer optimiser, and the state it carries from version to version."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from chronos_common.errors import CorruptStateError, NameMismatchError
from chronos_common.tensors import Array, Arrays, digest, require_finite, require_like, specs_of

_SEPARATOR = "/"


@dataclass(frozen=True, kw_only=True, eq=False)
class OptimizerState:
    """Everything an optimiser remembers; immutable, a step returns the next one.

    Compare two states by their :meth:`digest`.

    Args:
        slots: per slot (``"momentum"``), one array for each parameter that has it, of its shape and dtype.
        scalars: running quantities that do not depend on the parameter.
        steps: optimiser steps taken.

    Raises:
        CorruptStateError: a slot name with a slash, a scalar that is not finite, or a negative count.
    """

    slots: Mapping[str, Arrays] = field(default_factory=dict)
    scalars: Mapping[str, float] = field(default_factory=dict)
    steps: int = 0

    def __post_init__(self) -> None:
        for slot in self.slots:
            if not slot or _SEPARATOR in slot:
                raise CorruptStateError(f"optimiser slot {slot!r} has an empty name or one with a slash")
        for name, value in self.scalars.items():
            if not math.isfinite(value):
                raise CorruptStateError(f"optimiser scalar {name!r} is {value}; it must be finite")
        if self.steps < 0:
            raise CorruptStateError(f"the optimiser state counts {self.steps} steps")
        frozen = {slot: MappingProxyType(dict(arrays)) for slot, arrays in self.slots.items()}
        object.__setattr__(self, "slots", MappingProxyType(frozen))
        object.__setattr__(self, "scalars", MappingProxyType(dict(self.scalars)))

    def arrays(self) -> dict[str, Array]:
        """All slots in one flat mapping named ``"slot/parameter"``; scalars are not in it."""
        return {
            f"{slot}{_SEPARATOR}{name}": array
            for slot, arrays in self.slots.items()
            for name, array in arrays.items()
        }

    def digest(self) -> str:
        """SHA-256, in hex, of the whole state.

        Hashed are the UTF-8 bytes of its meta part as canonical JSON (sorted keys, no spaces), then the hex
        digest of :meth:`arrays` in ASCII.
        """
        meta, arrays = self.to_parts()
        text = json.dumps(meta, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8") + digest(arrays).encode("ascii")).hexdigest()

    def to_parts(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """A JSON-able part (``json`` keeps every bit of a float) and the arrays, for :meth:`from_parts`."""
        meta = {"scalars": dict(self.scalars), "slots": sorted(self.slots), "steps": self.steps}
        return meta, self.arrays()

    @classmethod
    def from_parts(cls, meta: Mapping[str, Any], arrays: Arrays) -> OptimizerState:
        """Inverse of :meth:`to_parts`.

        Raises:
            CorruptStateError: a part is missing or malformed, or an array belongs to no slot.
        """
        try:
            slots: dict[str, dict[str, Array]] = {str(slot): {} for slot in meta["slots"]}
            for path, array in arrays.items():
                slot, _, name = path.partition(_SEPARATOR)
                slots[slot][name] = array
            scalars = {str(name): float(value) for name, value in meta["scalars"].items()}
            return cls(slots=slots, scalars=scalars, steps=int(meta["steps"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CorruptStateError(f"the stored optimiser state is malformed: {error!r}") from error


class OuterOptimizer(Protocol):
    """Steps parameters (in stored coordinates) against a merged gradient.

    Implementations are stateless and deterministic to the bit; they never change their arguments, and every
    parameter and slot keeps its dtype.
    """

    def init(self, params: Arrays) -> OptimizerState:
        """The state before the first step."""
        ...

    def step(
        self, params: Arrays, gradient: Arrays, state: OptimizerState
    ) -> tuple[dict[str, Array], OptimizerState]:
        """Fresh parameters after one step, and the next state.

        A finite gradient so large that the arithmetic overflows gives infinities or NaN without a warning:
        callers check the result (``require_finite``) before they keep it.

        Raises:
            PayloadError: gradient or state do not have the parameters' names, shapes and dtypes, or the gradient
                is not finite.
        """
        ...


def zeros_like(params: Arrays) -> dict[str, Array]:
    """Fresh zeros of the same names, shapes and dtypes."""
    return {name: np.zeros(array.shape, array.dtype) for name, array in params.items()}


def require_matching(params: Arrays, gradient: Arrays, state: OptimizerState, slots: tuple[str, ...]) -> None:
    """Check a step's arguments against each other.

    Raises:
        PayloadError: as :meth:`OuterOptimizer.step` says.
    """
    require_like_parameters(params, gradient)
    if sorted(state.slots) != sorted(slots):
        raise NameMismatchError(
            f"the state holds the slots {sorted(state.slots)}, this optimiser needs {sorted(slots)}; "
            "it belongs to another optimiser"
        )
    specs = specs_of(params)
    for slot in slots:
        require_like(state.slots[slot], specs)


def require_like_parameters(params: Arrays, gradient: Arrays) -> None:
    """Check a gradient before anything is made of it.

    Raises:
        PayloadError: as :meth:`OuterOptimizer.step` says.
    """
    require_like(gradient, specs_of(params))
    require_finite(gradient, "the gradient of the outer parameters")
