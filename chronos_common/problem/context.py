"""Where in a run a piece of user code is being executed, and the randomness that belongs there."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from chronos_common.errors import ConfigurationError
from chronos_common.problem.state import InnerState


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
    """Part ``index`` of ``count`` equal parts of the data; ``0 of 1`` is all of it."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 <= self.index < self.count:
            raise ConfigurationError(
                f"shard {self.index} of {self.count} does not exist; "
                "count must be at least 1 and 0 <= index < count"
            )

    def positions(self, size: int) -> range:
        """The positions in ``range(size)`` that belong to this shard.

        With more shards than positions the later shards repeat earlier positions: nobody is left
        without data.
        """
        return range(self.index % size if size else 0, size, self.count)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """One of several inner problems that share the outer parameters.

    Attributes:
        index: position in the list that ``tasks(ctx)`` returned; part of every random seed.
        name: stable across versions: warm starts are kept under it.
        data: whatever the problem wants to find here again.
    """

    index: int = 0
    name: str = "main"
    data: Any = None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Context:
    """The address of one call in a run: user code gets its randomness from here and from nowhere else.

    Nothing is sequential: :attr:`generator` depends only on the fields, so that any step can be run again
    alone and give the same numbers.

    Attributes:
        seed: the run's seed.
        base_version: the version of λ that this work is computed at.
        step: index of the inner step (for the outer loss: the step that would come next).
        stream: which call of the step this is; batch and loss do not share random numbers.
        shard: which part of the data this worker should see.
        task: which of the problem's tasks this is.
        device: where tensors should live.
        training: True inside the inner loop, False in the outer loss and in ``evaluate``.
        lower: solved states of the levels below, by name; empty for two levels.
    """

    seed: int = 0
    base_version: int = 0
    step: int = 0
    stream: str = ""
    shard: Shard = dataclasses.field(default_factory=Shard)
    task: Task = dataclasses.field(default_factory=Task)
    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))
    training: bool = True
    lower: Mapping[str, InnerState] = dataclasses.field(default_factory=dict)

    def at(
        self,
        *,
        step: int | None = None,
        stream: str | None = None,
        training: bool | None = None,
        task: Task | None = None,
        shard: Shard | None = None,
    ) -> Context:
        """The same context with some of the fields that change inside a run replaced."""
        # Four of these are made for each step: dataclasses.replace takes five times as long.
        made = object.__new__(type(self))
        fields = vars(made)
        fields.update(vars(self))
        if step is not None:
            fields["step"] = step
        if stream is not None:
            fields["stream"] = stream
        if training is not None:
            fields["training"] = training
        if task is not None:
            fields["task"] = task
        if shard is not None:
            fields["shard"] = shard
        return made

    @property
    def stream_seed(self) -> int:
        """63-bit seed, a stable hash of seed, version, task, shard, step and stream.

        The shard is in it so that workers at one version draw different mini-batches.
        """
        address = (self.seed, self.base_version, self.task.index, self.shard.index, self.step, self.stream)
        hashed = hashlib.blake2b(repr(address).encode(), digest_size=8).digest()
        return int.from_bytes(hashed, "little") >> 1

    @property
    def generator(self) -> torch.Generator:
        """A CPU generator at the start of this context's stream, the same numbers on every device.

        Each access starts the stream anew: bind it to a name and draw everything from that.
        """
        return torch.Generator().manual_seed(self.stream_seed)


@contextmanager
def isolated_rng(ctx: Context) -> Iterator[None]:
    """Seed PyTorch's global generators from ``ctx`` and give them back as they were.

    For code that cannot be handed a generator, such as ``nn.Dropout``.
    """
    on_cuda = ctx.device.type == "cuda"
    with torch.random.fork_rng(devices=[ctx.device] if on_cuda else []):
        torch.default_generator.manual_seed(ctx.stream_seed)
        if on_cuda:
            with torch.cuda.device(ctx.device):
                torch.cuda.manual_seed(ctx.stream_seed)
        yield
