"""Where an epoch stands: what was handed out, what is finished, and how both survive a restart."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from chronos_common.data.plan import PlanConfig
from chronos_common.data.torch.share import Share
from chronos_common.errors import ConfigurationError

_MAY_DIFFER = ("batch_size", "workers")


class Position:
    """Steps of one epoch: handed out, and finished.

    Attributes:
        following: whether shares are kept until a training loop takes them.
    """

    def __init__(self, start: int = 0) -> None:
        self.following = False
        self._start = start
        self._issued = start
        self._finished: int | None = None
        self._accumulate = 1
        self._shares: deque[Share] = deque()

    def begin(self, accumulate: int) -> int:
        """First step of this pass; the next pass begins with step 0."""
        first, self._start = self._start, 0
        self._issued = first
        self._finished = first if self.following else None
        self._accumulate = accumulate
        self._shares.clear()
        return first

    def issue(self, share: Share) -> None:
        """A share is handed out."""
        self._issued = share.plan.step + 1
        if self.following:
            self._shares.append(share)

    def take(self) -> Share:
        """The share that the loader's next batch was made of."""
        if not self._shares:
            raise ConfigurationError(
                "the loader gave a batch that this sampler did not hand out; pass the loader that was made with it, "
                "and the batch size of the sampler"
            )
        return self._shares.popleft()

    def finish(self, step: int) -> None:
        """The step, and all before it, need not be done again."""
        self._finished = step + 1

    def state(self, epoch: int, samples: int, config: PlanConfig) -> dict[str, Any]:
        """As JSON can hold it; never between two steps that make one of the optimiser's."""
        done = self._issued if self._finished is None else self._finished
        whole = done if done == self._steps(samples, config) else done - done % self._accumulate
        return {"epoch": epoch, "step": whole, "samples": samples, "config": asdict(config)}

    @staticmethod
    def _steps(samples: int, config: PlanConfig) -> int:
        full, rest = divmod(samples, config.batch_size)
        return full if config.drop_last or not rest else full + 1


def restored(state: Mapping[str, Any], samples: int, config: PlanConfig) -> tuple[int, Position, PlanConfig]:
    """Epoch, position and configuration of a state: the one it was taken with, whatever the number of ranks is now.

    Raises:
        ConfigurationError: a state of other data, or of another order of them.
    """
    try:
        epoch, step = int(state["epoch"]), int(state["step"])
        kept = PlanConfig(**state["config"])
        before = {"samples": int(state["samples"]), **asdict(kept)}
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"this is no state of a sampler: {error!r}") from error
    for name, value in {"samples": samples, **asdict(config)}.items():
        if name not in _MAY_DIFFER and value != before[name]:
            raise ConfigurationError(
                f"{name} is {value!r} here and was {before[name]!r} when the state was taken; the samples that remain "
                "would be others",
                field=name,
            )
    return epoch, Position(step), kept
