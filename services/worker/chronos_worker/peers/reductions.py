"""Sums over all members: as they are, or compressed with error feedback.

A compressed sum has two phases, so that it costs 2·(n−1)/n of the compressed bytes, as a ring does of the plain ones:
every member sends chunk i to rank i, which adds up chunk i of all, and sends the sum to all. What either encoding
leaves out is added to what is encoded next (Karimireddy et al., "Error feedback fixes SignSGD", ICML 2019; in two
phases: Tang et al., "1-bit Adam", ICML 2021). The codes are those of ``chronos_common.compression.torch_face``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from chronos_common.codec.blocks import BLOCK
from chronos_common.compression.torch_face import dequantise, quantise
from chronos_common.errors import NonFiniteError
from chronos_worker.peers.collectives import Collectives

Stage = Callable[[], Tensor]


class Reduction(Protocol):
    """Adds a bucket up over all members; identical results everywhere, bit for bit."""

    def start(self, key: int, flat: Tensor, collectives: Collectives) -> Callable[[], Stage]:
        """Begins with bucket ``key``, whose buffer may be overwritten.

        Returns:
            What goes on when other buckets have begun too; it returns what finishes, and gives the sum.
        """
        ...

    def commit(self) -> None:
        """The sums since the last commit have been used: what they left out is owed."""
        ...

    def rollback(self) -> None:
        """They have not: nothing has changed."""
        ...


class PlainSum:
    """The sum as the process group computes it."""

    def start(self, key: int, flat: Tensor, collectives: Collectives) -> Callable[[], Stage]:
        work = collectives.all_reduce(flat)

        def finish() -> Tensor:
            collectives.wait(work)
            return flat

        return lambda: finish

    def commit(self) -> None:
        """Nothing is owed."""

    def rollback(self) -> None:
        """Nothing is owed."""


class Encoding(Protocol):
    """Rows of float32 as rows of bytes."""

    def encode(self, rows: Tensor) -> Tensor:
        """(r, c) float32 to (r, bytes) uint8."""
        ...

    def decode(self, rows: Tensor, numel: int) -> Tensor:
        """(r, bytes) uint8 to (r, c = numel) float32."""
        ...


class BFloat16:
    """The upper half of a float32."""

    def encode(self, rows: Tensor) -> Tensor:
        return rows.to(torch.bfloat16).view(torch.uint8)

    def decode(self, rows: Tensor, numel: int) -> Tensor:
        return rows.view(torch.bfloat16).to(torch.float32)


class Int8:
    """Codes of one byte, and a float32 scale for each block; a row with NaN or infinity arrives as NaN."""

    def encode(self, rows: Tensor) -> Tensor:
        return torch.stack([self._row(row) for row in rows])

    def decode(self, rows: Tensor, numel: int) -> Tensor:
        codes = rows[:, :numel].contiguous().view(torch.int8)
        scales = rows[:, numel:].contiguous().view(torch.float32)
        return dequantise(codes.reshape(-1), scales.reshape(-1), torch.float32).reshape(len(rows), numel)

    def _row(self, row: Tensor) -> Tensor:
        try:
            codes, scales = quantise(row, "gradient")
        except NonFiniteError:
            codes = torch.zeros_like(row, dtype=torch.int8)
            scales = torch.full((row.numel() // BLOCK,), math.nan, device=row.device)
        return torch.cat([codes.view(torch.uint8), scales.to(torch.float32).view(torch.uint8)])


class CompressedSum:
    """A sum of encoded values, with what they leave out added to the next ones.

    Buckets that are not float32 are summed as they are.

    Args:
        encoding: of the values.
    """

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding
        self._plain = PlainSum()
        self._owed: dict[int, Tensor] = {}
        """Of each bucket, what this member has not sent."""
        self._owed_chunk: dict[int, tuple[int, slice, Tensor]] = {}
        """Of each bucket, what the sum of this member's chunk left out: epoch, chunk, values."""
        self._pending: dict[int, tuple[Tensor, tuple[int, slice, Tensor]]] = {}

    def start(self, key: int, flat: Tensor, collectives: Collectives) -> Callable[[], Stage]:
        if flat.dtype is not torch.float32 or collectives.size == 1:
            return self._plain.start(key, flat, collectives)
        if key in self._owed and self._owed[key].numel() != flat.numel():
            del self._owed[key], self._owed_chunk[key]  # what is reduced now is something else
        encoding, rank, size = self._encoding, collectives.rank, collectives.size
        chunk = math.ceil(flat.numel() / (size * BLOCK)) * BLOCK
        total = flat.new_zeros(size * chunk)
        total[: flat.numel()] = flat
        if key in self._owed:
            total[: flat.numel()] += self._owed[key]
        here = slice(rank * chunk, (rank + 1) * chunk)
        owed_chunk = self._chunk_of(key, collectives.epoch.number, total, flat.numel())
        rows = total.view(size, chunk)
        sent = encoding.encode(rows)
        received = torch.empty_like(sent)
        first = collectives.all_to_all(received, sent)

        def add_up() -> Stage:
            collectives.wait(first)
            summed = encoding.decode(received, chunk).sum(dim=0)
            if owed_chunk is not None:
                summed += owed_chunk
            own = encoding.encode(summed[None])
            out = own.new_empty((size, own.shape[1]))
            second = collectives.all_gather(out, own)

            def finish() -> Tensor:
                collectives.wait(second)
                left = (total - encoding.decode(sent, chunk).view(-1))[: flat.numel()]
                left_chunk = summed - encoding.decode(own, chunk)[0]
                # What is not finite is everybody's to see in the result, and must not come back for ever.
                self._pending[key] = (
                    torch.nan_to_num(left, nan=0.0, posinf=0.0, neginf=0.0),
                    (
                        collectives.epoch.number,
                        here,
                        torch.nan_to_num(left_chunk, nan=0.0, posinf=0.0, neginf=0.0),
                    ),
                )
                return encoding.decode(out, chunk).view(-1)[: flat.numel()]

            return finish

        return add_up

    def commit(self) -> None:
        for key, (owed, chunk) in self._pending.items():
            self._owed[key], self._owed_chunk[key] = owed, chunk
        self._pending.clear()

    def rollback(self) -> None:
        self._pending.clear()

    def _chunk_of(self, key: int, epoch: int, total: Tensor, numel: int) -> Tensor | None:
        """What this member's chunk owes; after a change of members it goes into what the member itself owes."""
        if key not in self._owed_chunk:
            return None
        before, where, values = self._owed_chunk[key]
        if before == epoch:
            return values
        stop = min(where.stop, numel)
        total[where.start : stop] += values[: max(0, stop - where.start)]
        return None


def make_reduction(compression: str) -> Reduction:
    """The reduction that ``PeerConfig.compression`` names."""
    if compression == "none":
        return PlainSum()
    return CompressedSum(BFloat16() if compression == "bf16" else Int8())
