"""Between λ as tensors, which problems see, and u as arrays, which versions and optimisers hold."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from chronos_common.outer import OuterSpec, clip, to_natural, to_stored
from chronos_common.problem import InnerProblem, OuterParameter, Tensors, resolve_parameters
from chronos_common.tensors import Array, Arrays


class OuterSpace:
    """The outer parameters of a problem in both coordinates: u = log λ for ``scale="log"``, else u = λ.

    Attributes:
        parameters: the declarations.
        specs: the same as :class:`~chronos_common.outer.OuterSpec`, in the order of the declarations: what
            a run is created with.
    """

    def __init__(self, parameters: Mapping[str, OuterParameter]) -> None:
        self.parameters = parameters
        self.specs = tuple(_spec(name, parameter) for name, parameter in parameters.items())

    @classmethod
    def of(cls, problem: InnerProblem) -> OuterSpace:
        """The space of ``problem.outer_parameters()``.

        Raises:
            ProblemError: a declaration is not valid.
        """
        return cls(resolve_parameters(problem.outer_parameters()))

    def initial(self) -> dict[str, Array]:
        """The declared starting values as u, within their bounds."""
        return clip(self.stored({name: p.tensor() for name, p in self.parameters.items()}), self.specs)

    def stored(self, natural: Tensors) -> dict[str, Array]:
        """u of λ.

        Raises:
            PayloadError: names, shapes or dtypes differ from the declared ones.
            ConfigurationError: a logarithmic parameter that is not positive.
        """
        return to_stored({name: value.detach().cpu().numpy() for name, value in natural.items()}, self.specs)

    def natural(self, stored: Arrays, device: torch.device) -> Tensors:
        """λ of u, on ``device``.

        Raises:
            PayloadError: names, shapes or dtypes differ from the declared ones, or exp(u) overflows.
        """
        values = to_natural(stored, self.specs)
        # exp and log round: without the clamp λ could leave its natural bounds by one unit.
        return {
            name: torch.from_numpy(values[name]).clamp(*parameter.limits()).to(device)
            for name, parameter in self.parameters.items()
        }

    def gradient(self, gradient: Tensors, natural: Tensors) -> dict[str, Array]:
        """Convert dL/dλ at ``natural`` to dL/du = dL/dλ · dλ/du, where dλ/du = λ on a log scale."""
        stored: dict[str, Array] = {}
        for name, parameter in self.parameters.items():
            value = gradient[name] * natural[name] if parameter.scale == "log" else gradient[name]
            stored[name] = value.detach().cpu().numpy().copy()
        return stored


def _spec(name: str, parameter: OuterParameter) -> OuterSpec:
    value, (lower, upper) = parameter.tensor(), parameter.bounds or (None, None)
    return OuterSpec.from_natural(
        name=name,
        shape=tuple(value.shape),
        dtype=str(value.dtype).removeprefix("torch."),
        scale=parameter.scale,
        lower=lower,
        upper=upper,
        simplex=parameter.constraint == "simplex",
    )
