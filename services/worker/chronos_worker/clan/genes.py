"""Genes of an optimiser: which there are, and how they reach its parameter groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from torch.optim import Optimizer

from chronos_common.clan import Allele, FloatAllele, IntAllele, LogFloatAllele
from chronos_common.errors import ConfigurationError

ACCUMULATION: Final = "num_grad_accum"

_SCALED: Final = ("lr", "weight_decay")
"""Where parameter groups differ in these, they keep their proportions; a group without decay stays without."""


def _rate(value: float) -> Allele:
    return LogFloatAllele(value=value, domain=(min(1e-8, value), max(10.0, value)))


def _decay(value: float) -> Allele:
    if value <= 0.0:
        return LogFloatAllele(value=1e-6, domain=(1e-6, 1.0))
    return LogFloatAllele(value=value, domain=(min(1e-6, value), max(1.0, value)))


def _fast(value: float) -> Allele:
    return FloatAllele(value=value, domain=(min(0.5, value), max(0.99, value)))


def _slow(value: float) -> Allele:
    return FloatAllele(value=value, domain=(min(0.9, value), max(0.9999, value)))


def _epsilon(value: float) -> Allele:
    return LogFloatAllele(value=value, domain=(min(1e-12, value), max(1e-2, value)), can_mutate=False)


_ADAM: Final[Mapping[str, Callable[[float], Allele]]] = MappingProxyType(
    {"lr": _rate, "weight_decay": _decay, "betas/0": _fast, "betas/1": _slow, "eps": _epsilon}
)

AUTOBIND: Final[Mapping[str, Mapping[str, Callable[[float], Allele]]]] = MappingProxyType(
    {
        "adam": _ADAM,
        "adamw": _ADAM,
        "gradient_accumulation": MappingProxyType({}),
        "sgd": MappingProxyType({"lr": _rate, "weight_decay": _decay, "momentum": _fast}),
    }
)
"""What ``autobind`` names: the genes, each from the value that the optimiser has now."""


def bound_genes(
    optimizer: Optimizer, autobind: Sequence[str], genes: Mapping[str, Allele]
) -> dict[str, Allele]:
    """All genes of a clan: those that ``autobind`` makes of the optimiser's settings, and the user's own over them.

    A weight decay or a momentum of 0 is left alone: who trains without wants none.

    Raises:
        ConfigurationError: an unknown name, or settings that the optimiser does not have.
    """
    found: dict[str, Allele] = {}
    for name in autobind:
        if name not in AUTOBIND:
            raise ConfigurationError(f"autobind has no {name!r}; choose of {', '.join(AUTOBIND)}")
        for path, make in AUTOBIND[name].items():
            value = _reference(optimizer, path)
            if value is None:
                raise ConfigurationError(
                    f"autobind {name!r} binds {path!r}, which {type(optimizer).__name__} does not have; "
                    "name the optimiser that you use, or declare genes yourself"
                )
            if value > 0.0:
                found[path] = make(value)
        if name == "gradient_accumulation":
            found[ACCUMULATION] = IntAllele(value=1, domain=(1, 16), specialised=True)
    return {**found, **genes}


class Binding:
    """Writes genes into an optimiser's parameter groups; other genes are for the training loop to read.

    Args:
        optimizer: whose groups.
        names: of all genes.
        rate_gene: the one that the schedule multiplies.
    """

    def __init__(self, optimizer: Optimizer, names: Sequence[str], rate_gene: str) -> None:
        self._optimizer, self._rate_gene = optimizer, rate_gene
        self._paths = [name for name in names if _reference(optimizer, name) is not None]
        self._shares = {name: _proportions(optimizer, name) for name in self._paths if name in _SCALED}

    def write(self, values: Mapping[str, Any], factor: float) -> None:
        """Settings for the next step: ``values`` by gene, the rate times ``factor``."""
        for path in self._paths:
            value = values[path] * factor if path == self._rate_gene else values[path]
            shares = self._shares.get(path)
            for place, group in enumerate(self._optimizer.param_groups):
                _set(group, path, value if shares is None else value * shares[place])


def _reference(optimizer: Optimizer, path: str) -> float | None:
    """The setting of the first group, or where groups differ in scale, the largest."""
    values = [_get(group, path) for group in optimizer.param_groups]
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    if len(numbers) < len(values):
        return None
    return max(numbers) if path in _SCALED else numbers[0]


def _proportions(optimizer: Optimizer, path: str) -> list[float]:
    largest = _reference(optimizer, path) or 0.0
    return [float(_get(group, path)) / largest if largest else 1.0 for group in optimizer.param_groups]


def _get(group: Mapping[str, Any], path: str) -> Any:
    name, _, index = path.partition("/")
    value = group.get(name)
    return value[int(index)] if index and isinstance(value, tuple | list) else (None if index else value)


def _set(group: dict[str, Any], path: str, value: float) -> None:
    name, _, index = path.partition("/")
    if not index:
        group[name] = value
        return
    parts = list(group[name])
    parts[int(index)] = value
    group[name] = tuple(parts)
