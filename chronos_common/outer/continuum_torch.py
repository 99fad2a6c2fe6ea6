"""A continuum memory system as a torch module: a chain of blocks, each updated at its own period (torch).

    y = MLP_k(... MLP_2(MLP_1(x)))

Block l is updated every C_l versions, by the sum of its gradients since its last update. The module only computes
the chain; when its blocks step is said by :meth:`ContinuumMemorySystem.timescales`, and done by the outer optimiser
wherever the run is: in one process or by a coordinator.

Source: Behrouz, Razaviyayn, Zhong and Mirrokni, "Nested Learning: the illusion of deep learning architectures",
NeurIPS 2025, the continuum memory system.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from chronos_common.errors import ConfigurationError
from chronos_common.outer.config import PERIODS, OuterConfig, TimescaleConfig


class MemoryBlock(nn.Module):
    """One level: x + W₂·gelu(W₁·norm(x)), without the skip connection where ``residual`` is false.

    Args:
        features: extent of the last axis of input and output.
        hidden: extent between the two layers.
        residual: whether the input is added to the output.
    """

    def __init__(self, features: int, hidden: int, *, residual: bool = True) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)
        self.inward = nn.Linear(features, hidden)
        self.outward = nn.Linear(hidden, features)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """(..., features) to the same shape."""
        y: Tensor = self.outward(nn.functional.gelu(self.inward(self.norm(x))))
        return x + y if self.residual else y


class ContinuumMemorySystem(nn.Module):
    """Blocks in a chain, the first of them nearest to the input.

    Args:
        features: extent of the last axis of input and output.
        periods: C of each block, in versions; by default 1, 10 and 100.
        hidden: extent inside of each block; default four times ``features``.
        residual: whether each block adds its input to its output.

    Raises:
        ConfigurationError: no period, or extents below 1.
    """

    def __init__(
        self,
        features: int,
        *,
        periods: Sequence[int] = tuple(PERIODS.values()),
        hidden: int | None = None,
        residual: bool = True,
    ) -> None:
        super().__init__()
        hidden = 4 * features if hidden is None else hidden
        if features < 1 or hidden < 1:
            raise ConfigurationError(f"features is {features} and hidden {hidden}; both must be 1 or more")
        if not periods:
            raise ConfigurationError("a continuum memory system needs the period of at least one block")
        self.periods = tuple(periods)
        self.blocks = nn.ModuleList(MemoryBlock(features, hidden, residual=residual) for _ in self.periods)

    def forward(self, x: Tensor) -> Tensor:
        """(..., features) to the same shape."""
        for block in self.blocks:
            x = block(x)
        return x

    def timescales(
        self, *, prefix: str = "", optimizer: OuterConfig | None = None, reduction: str = "sum"
    ) -> tuple[TimescaleConfig, ...]:
        """The levels ``level0``, ``level1``, ... for ``OuterConfig(levels=...)``.

        Args:
            prefix: of the blocks' parameters among the outer parameters, such as ``"memory."``.
            optimizer: of all levels, each with a memory of its own; default the run's.
            reduction: ``"sum"``, as in the paper, or ``"mean"``.

        Raises:
            ConfigurationError: a period that is no number of versions.
        """
        return tuple(
            TimescaleConfig(
                name=f"level{number}",
                parameters=(f"{prefix}blocks.{number}.*",),
                period=period,
                optimizer=optimizer,
                reduction=reduction,
            )
            for number, period in enumerate(self.periods)
        )
