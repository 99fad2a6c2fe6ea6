"""Ranks as threads of one process, which exchange numbers as ranks of a job do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from chronos_common.data.plan import Reals
from chronos_common.data.torch import Exchange

Found = TypeVar("Found")
_PATIENCE_SECONDS = 60


class Board:
    """Where ranks put their numbers, gather after gather."""

    def __init__(self, world_size: int) -> None:
        self.world_size = world_size
        self._changed = threading.Condition()
        self._rows: dict[tuple[int, int], Reals] = {}

    def put(self, number: int, rank: int, values: Reals) -> None:
        """One rank's values of one gather."""
        with self._changed:
            self._rows[number, rank] = np.array(values, dtype=np.float64)
            self._changed.notify_all()

    def wait(self, number: int) -> Reals:
        """All ranks' values of one gather, (W, n)."""
        keys = [(number, rank) for rank in range(self.world_size)]
        with self._changed:
            done = self._changed.wait_for(lambda: all(key in self._rows for key in keys), _PATIENCE_SECONDS)
            assert done, f"gather {number} never ended"
            return np.stack([self._rows[key] for key in keys])


class ThreadExchange:
    """One rank's side of the board."""

    def __init__(self, board: Board, rank: int) -> None:
        self._board = board
        self.rank = rank
        self.world_size = board.world_size
        self._gathers = 0

    def gather(self, values: Reals) -> Callable[[], Reals]:
        number = self._gathers
        self._gathers += 1
        self._board.put(number, self.rank, values)
        return lambda: self._board.wait(number)


def on_ranks(world_size: int, body: Callable[[Exchange], Found]) -> list[Found]:
    """Runs ``body`` on each rank at once; what each returned. A failure of any is raised."""
    board = Board(world_size)
    with ThreadPoolExecutor(world_size) as pool:
        futures = [pool.submit(body, ThreadExchange(board, rank)) for rank in range(world_size)]
        return [future.result() for future in futures]
