"""The definition of a data plan that a coordinator serves; it never changes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final

from chronos_common.data.costs import COSTS
from chronos_common.data.dealing import steps_of
from chronos_common.data.plan import PlanConfig
from chronos_common.errors import ConfigurationError, CorruptStateError
from chronos_common.runtime import require_kinds

MAX_SAMPLES: Final = 1 << 28
"""Samples of one plan: their sizes lie in the coordinator's memory, 8 bytes each."""

MAX_LOOKAHEAD: Final = 1024


@dataclass(frozen=True, kw_only=True)
class DataPlanConfig:
    """What is dealt out, and how.

    Attributes:
        samples: of the data set.
        plan: how an epoch is cut into batches and a batch into shares.
        workers: members that must be there before the first step is dealt; from then on one is enough.
        lookahead: turns that may be open at once.
        partitioned: the data set is divided among nodes; a worker takes only samples of its own.

    Raises:
        ConfigurationError: a number out of range, more workers than samples, no whole batch, no such cost model.
    """

    samples: int
    plan: PlanConfig
    workers: int = 1
    lookahead: int = 4
    partitioned: bool = False

    def __post_init__(self) -> None:
        require_kinds(self)
        for name, least, most in (
            ("samples", 1, MAX_SAMPLES),
            ("workers", 1, MAX_SAMPLES),
            ("lookahead", 1, MAX_LOOKAHEAD),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise ConfigurationError(f"{name} is {value}; it must lie in {least} to {most}", field=name)
        if self.workers > self.samples:
            raise ConfigurationError(
                f"{self.workers} workers for {self.samples} samples; some would never have one: use fewer workers",
                field="workers",
            )
        if self.plan.cost not in COSTS:
            raise ConfigurationError(
                f"cost is {self.plan.cost!r}; it must be one of {', '.join(COSTS)}", field="cost"
            )
        if not self.steps:
            raise ConfigurationError(
                f"{self.samples} samples make no batch of {self.plan.batch_size}, and drop_last drops the rest",
                field="batch_size",
            )

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return steps_of(self.samples, self.plan)

    @property
    def samples_of_epoch(self) -> int:
        """Samples that are dealt in an epoch: all, or whole batches only."""
        return min(self.samples, self.steps * self.plan.batch_size)

    def to_json(self) -> str:
        """Canonical JSON."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> DataPlanConfig:
        """Inverse of :meth:`to_json`. Raises ``CorruptStateError``."""
        try:
            fields = json.loads(text)
            return cls(**{**fields, "plan": PlanConfig(**fields["plan"])})
        except (KeyError, TypeError, ValueError, ConfigurationError) as error:
            raise CorruptStateError(f"the definition of a data plan cannot be read: {error}") from error
