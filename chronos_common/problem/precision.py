"""Half precision where it pays (matrix products) and full precision where it must be (losses, sums, solves)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import torch
from torch import Tensor, nn

from chronos_common.errors import ConfigurationError, ProblemError

PRECISIONS: Final[Mapping[str, torch.dtype]] = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_HALF: Final = frozenset(PRECISIONS.values())


class Precision:
    """Runs a module under autocast: parameters, gradients and everything outside of it stay in float32.

    Derivatives of any order go back through the casts, so that they come out in float32, with the rounding of what
    was computed in between: a relative error of about 2⁻⁹ a layer for bfloat16, 2⁻¹² for float16. The latter ends at
    2⁻²⁴, below which derivatives by a layer's outputs vanish: with a mean over thousands of samples they do. Nothing
    scales the loss against that, since second derivatives send small vectors the other way, where a scale divides;
    use bfloat16, which has the exponents of float32, or smaller batches.

    Args:
        name: "bfloat16", "float16", or None to compute in the dtype of the parameters.

    Raises:
        ConfigurationError: no such precision.
    """

    def __init__(self, name: str | None = None) -> None:
        if name is not None and name not in PRECISIONS:
            raise ConfigurationError(f"precision is {name!r}; choose one of {sorted(PRECISIONS)}, or None")
        self.dtype = None if name is None else PRECISIONS[name]

    def require_effect(self, module: nn.Module) -> None:
        """Refuses modules that autocast leaves alone.

        Raises:
            ConfigurationError: a parameter that is not float32.
        """
        if self.dtype is None:
            return
        for name, value in module.named_parameters():
            if value.dtype != torch.float32:
                raise ConfigurationError(
                    f"precision casts from float32, and parameter '{name}' is {value.dtype}; use module.float(), or "
                    "leave precision out"
                )

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """Around the module's forward pass."""
        return nullcontext() if self.dtype is None else torch.autocast(device.type, dtype=self.dtype)

    def leaving(self, outputs: Any) -> Any:
        """What comes out of it, in float32."""
        if self.dtype is None:
            return outputs
        return _widened(outputs)


def _widened(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.dtype in _HALF else value
    if type(value) is dict:
        return {key: _widened(part) for key, part in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_widened(part) for part in value)
    if value is None or isinstance(value, int | float | str):
        return value
    raise ProblemError(
        f"with a precision the module must return tensors, alone or in dicts, tuples and lists, and it returns a "
        f"{type(value).__name__}; wrap it in a module that unpacks what the loss needs"
    )
