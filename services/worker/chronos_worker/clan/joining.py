"""The rounds of a member that may come late, and fall behind: how it finds its way into the others' loop.

It takes over a state at the point where the others wait for it: before they share gradients, before the decision of a
round, in the middle of what a selection copies. It does what they do there, until the point is one of its own loop.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final

from torch import Tensor

from chronos_common.errors import InvalidRequestError
from chronos_worker.clan.course import Course
from chronos_worker.clan.held import Held
from chronos_worker.clan.progress import Progress
from chronos_worker.clan.served import Served
from chronos_worker.clan.transport import MovedError

GATHER_SECONDS: Final = 0.02
"""Pause between two looks whether all have come."""


class ElasticCourse(Course):
    """The rounds of a member on a coordinator.

    Args:
        held: its state.
        progress: where it stands in the round.
        served: its rounds, its seat and its peers.
    """

    def __init__(self, held: Held, progress: Progress, served: Served) -> None:
        super().__init__(held, progress, served, served.transport)
        self._served, self._elastic = served, served.transport
        self._joined = False
        progress.land = self.land

    def join(self) -> None:
        """Joins, if that has not happened yet: at the beginning with all, or later where the others are.

        Raises:
            ChronosError: the coordinator refuses this member, or is away for too long.
        """
        if self._joined or self._served.finished:
            return
        self._joined = True
        try:
            if self._elastic.join(self._served, self._held, "start"):
                self.land()
                return
            try:
                self._muster()
            except MovedError:
                self.land()
        except BaseException:
            self._served.leave()
            raise

    def close(self, fitness: float) -> None:
        try:
            super().close(fitness)
            if self._progress.ended:
                self._part()
        except MovedError:
            self.land()

    def finish(self) -> None:
        try:
            super().finish()
        except MovedError:
            self.land()

    def land(self) -> None:
        """Does what the others do where this member came in, until its loop can go on with them."""
        while True:
            try:
                return self._follow()
            except MovedError:
                continue

    # --- parts -------------------------------------------------------------------------------------

    def _follow(self) -> None:
        held, moved, point = self._held, self._held.moved, self._elastic.point
        held.place_loaders(moved["loaders"], owes=point == "gradients")
        if point == "gradients":
            plan = replace(self._served.begin(), consensus=moved["consensus"])
            self._progress.begin(plan, int(moved["step"]))
            self._progress.skips = int(moved["contexts"])
        elif point == "start":
            self._muster()
        elif point == "report":
            held.ranked = True
            self.become(self._served.close_round(int(moved["round"]), held.fitness))
            self._go_on()
        elif point == "select" and held.decision is not None:
            self.become(held.decision)
            self._go_on()
        elif point == "finish":
            super().finish()
        elif point == "end":
            self._part()
        else:
            raise InvalidRequestError(
                f"this worker came while the others were at {point!r}, where nobody can come in; start it again"
            )

    def _go_on(self) -> None:
        if self._progress.ended:
            self._part()
        else:
            self.begin()

    def _muster(self) -> None:
        """Waits until every place is taken; all then begin with the weights of the first member."""
        done: list[bool] = []

        def take(found: list[Tensor] | None) -> None:
            if found is not None:
                self._held.weights.take(found, self._held.weights.tensors())
                done.append(True)

        while not done:
            self._elastic.together(self._looked, take, "start")
            if not done:
                time.sleep(GATHER_SECONDS)

    def _looked(self) -> list[Tensor] | None:
        ready = self._elastic.senior and self._served.ready()
        if not any(self._elastic.gather(float(ready))):
            return None
        first = min(self._elastic.gather(float(self._elastic.rank)))
        return self._held.weights.received(self._elastic, int(first))

    def _part(self) -> None:
        """The training is over: whoever leaves knows that all have the final weights."""
        self._progress.ended = True
        self._elastic.together(lambda: self._elastic.gather(0.0), lambda _: None, "end")
        self._served.leave()
