"""Commands on their way through an actor, and those of them that wait for a version."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chronos_common.engine import RunEngine

Command = Callable[[RunEngine, float], Any]
"""Decides something: given the engine and monotonic seconds, returns the answer or raises the refusal."""


@dataclass(kw_only=True, eq=False)
class Job:
    """A command and the future of its answer.

    Attributes:
        command: what is to be decided.
        future: done early when the caller has gone away.
        worker_id: of a checkout under a lease; empty for everything else.
        deadline: until when it may wait, in monotonic seconds.
        result: the answer, once decided; it leaves with :meth:`answer`.
        error: the refusal, once decided.
    """

    command: Command
    future: asyncio.Future[Any]
    worker_id: str = ""
    deadline: float = 0.0
    result: Any = None
    error: BaseException | None = None

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.future.done()

    def answer(self) -> None:
        """Lets the decision out."""
        if self.error is not None:
            self.fail(self.error)
        elif not self.abandoned:
            self.future.set_result(self.result)

    def fail(self, error: BaseException) -> None:
        """Ends the job with an error, whatever was decided."""
        if not self.abandoned:
            self.future.set_exception(error)


class Parking:
    """Checkouts that wait for a version: at most one for each worker, any number for readers."""

    def __init__(self) -> None:
        self._jobs: list[Job] = []

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, job: object) -> bool:
        return job in self._jobs

    def add(self, job: Job) -> None:
        """Lets a checkout wait."""
        self._jobs.append(job)

    def take(self) -> list[Job]:
        """All that wait, in order of arrival; they wait no longer."""
        jobs, self._jobs = self._jobs, []
        return jobs

    def end(self, worker_id: str, error: BaseException) -> bool:
        """Ends the waiting checkouts of a worker; returns whether there was one."""
        ended = [job for job in self._jobs if job.worker_id == worker_id]
        for job in ended:
            job.fail(error)
        self._jobs = [job for job in self._jobs if job.worker_id != worker_id]
        return bool(ended)

    def fail_overdue(self, now: float, error: BaseException) -> None:
        """Ends those whose time is up while nothing can be decided."""
        for job in self.take():
            if now < job.deadline and not job.abandoned:
                self.add(job)
            else:
                job.fail(error)

    def next_deadline(self) -> float | None:
        """When the first of them gives up, or ``None``."""
        return min((job.deadline for job in self._jobs), default=None)
