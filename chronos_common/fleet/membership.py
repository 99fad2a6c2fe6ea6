"""Membership by heartbeat, with incarnations.

A worker id is stable; each process of it is an *incarnation*. A process that registers with a new
instance id supersedes the one before; the same instance id is a reconnect. Incarnations are durable,
liveness is not: after a restart of the coordinator a worker is alive again as soon as it speaks.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from chronos_common.errors import (
    ConfigurationError,
    IncarnationSupersededError,
    InvalidRequestError,
    OverloadedError,
    WorkerUnknownError,
)
from chronos_common.runtime import require_kinds

MAX_NAME_BYTES = 255
REMEMBERED_INSTANCES = 64
"""Superseded processes of one worker that are still recognised; forgotten when the coordinator restarts."""


@dataclass(frozen=True, kw_only=True)
class FleetConfig:
    """How workers prove that they live.

    Attributes:
        heartbeat_seconds: how often a worker says that it lives.
        timeout_seconds: silence after which it counts as dead.
        max_workers: most workers that may be alive at once; one more is let in when another is gone, and a run
            whose quorum is larger is refused.
    """

    heartbeat_seconds: float = 1.0
    timeout_seconds: float = 5.0
    max_workers: int = 10_000

    def __post_init__(self) -> None:
        require_kinds(self)
        if not (math.isfinite(self.heartbeat_seconds) and self.heartbeat_seconds > 0.0):
            raise ConfigurationError(f"heartbeat_seconds is {self.heartbeat_seconds}; it must be above 0")
        if not (math.isfinite(self.timeout_seconds) and self.timeout_seconds >= 2 * self.heartbeat_seconds):
            raise ConfigurationError(
                f"timeout_seconds is {self.timeout_seconds}, below two heartbeats of {self.heartbeat_seconds} s: "
                "one lost heartbeat would expel a healthy worker"
            )
        if self.max_workers < 1:
            raise ConfigurationError(f"max_workers is {self.max_workers}; it must be 1 or more")


@dataclass(frozen=True, kw_only=True)
class Registration:
    """What is durable about a worker."""

    worker_id: str
    incarnation: int
    instance_id: str


@dataclass(frozen=True, kw_only=True)
class Member:
    """A worker as the fleet sees it; ``last_seen`` is ``None`` while it has not spoken since the start."""

    registration: Registration
    last_seen: float | None = None


def require_name(value: str, field: str) -> None:
    """Raises ``InvalidRequestError`` unless ``value`` can name a worker, an instance or a run."""
    if not value or len(value.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES or not value.isprintable():
        raise InvalidRequestError(
            f"{field} must be 1 to {MAX_NAME_BYTES} bytes of printable text, not {value[:40]!r}", field=field
        )


class Fleet:
    """All workers that a coordinator knows."""

    def __init__(self, config: FleetConfig, known: Iterable[Registration] = ()) -> None:
        self._config = config
        self._members = {r.worker_id: Member(registration=r) for r in known}
        self._former: dict[str, deque[str]] = {}

    def require_room(self, worker_id: str, now: float) -> None:
        """Raises ``OverloadedError`` if the worker would be one more than may be alive at once.

        To be asked when a worker registers. One that fell silent and speaks again is not kept out.
        """
        living = len(self.live(now))
        if living >= self._config.max_workers and not self.is_live(worker_id, now):
            raise OverloadedError(
                f"{living} workers are alive, as many as max_workers admits; worker {worker_id!r} may try again "
                "when one of them is gone",
                worker_id=worker_id,
                limit=self._config.max_workers,
            )

    def decide_registration(self, worker_id: str, instance_id: str) -> Registration:
        """The registration that a Register call results in; make it durable, then :meth:`register` it.

        Calls for one worker must take turns: decide, make durable, register, then the next one.

        Raises:
            InvalidRequestError: a name that cannot be one.
            IncarnationSupersededError: the instance was superseded before. A call of it that was delayed, or
                two processes under one name, must not push the newer one out again.
        """
        require_name(worker_id, "worker_id")
        require_name(instance_id, "instance_id")
        old = self._members.get(worker_id)
        if old is None:
            return Registration(worker_id=worker_id, incarnation=1, instance_id=instance_id)
        if old.registration.instance_id == instance_id:
            return old.registration
        if instance_id in self._former.get(worker_id, ()):
            raise IncarnationSupersededError(
                f"instance {instance_id!r} of worker {worker_id!r} was superseded by a newer process; stop this "
                "one or rename it",
                worker_id=worker_id,
                current=old.registration.incarnation,
            )
        return Registration(
            worker_id=worker_id, incarnation=old.registration.incarnation + 1, instance_id=instance_id
        )

    def register(self, registration: Registration, now: float) -> bool:
        """Takes a durable registration; returns whether it superseded another process."""
        old = self._members.get(registration.worker_id)
        self._members[registration.worker_id] = Member(registration=registration, last_seen=now)
        if old is None or old.registration.incarnation == registration.incarnation:
            return False
        former = self._former.setdefault(registration.worker_id, deque(maxlen=REMEMBERED_INSTANCES))
        former.append(old.registration.instance_id)
        return True

    def current_incarnation(self, worker_id: str) -> int:
        """Newest incarnation of a worker.

        Raises:
            WorkerUnknownError: it never registered.
        """
        member = self._members.get(worker_id)
        if member is None:
            raise WorkerUnknownError(
                f"worker {worker_id!r} has not registered; call RegisterWorker first", worker_id=worker_id
            )
        return member.registration.incarnation

    def require_current(self, worker_id: str, incarnation: int) -> None:
        """Raises ``WorkerUnknownError`` or ``IncarnationSupersededError`` unless the process is the current one."""
        current = self.current_incarnation(worker_id)
        if incarnation != current:
            raise IncarnationSupersededError(
                f"incarnation {incarnation} of worker {worker_id!r} is not the current one, {current}; "
                "a newer process owns this worker id: stop this one or rename it",
                worker_id=worker_id,
                incarnation=incarnation,
                current=current,
            )

    def seen(self, worker_id: str, incarnation: int, now: float) -> None:
        """Notes that a process spoke; raises as :meth:`require_current`."""
        self.require_current(worker_id, incarnation)
        self._members[worker_id] = Member(registration=self._members[worker_id].registration, last_seen=now)

    def left(self, worker_id: str, incarnation: int) -> None:
        """Notes that a process said goodbye; raises as :meth:`require_current`."""
        self.require_current(worker_id, incarnation)
        self._members[worker_id] = Member(registration=self._members[worker_id].registration)

    def is_live(self, worker_id: str, now: float) -> bool:
        """Whether the worker spoke within the timeout."""
        member = self._members.get(worker_id)
        return member is not None and self._alive(member, now)

    def live(self, now: float) -> tuple[str, ...]:
        """Live workers, sorted."""
        return tuple(sorted(name for name, member in self._members.items() if self._alive(member, now)))

    def expire(self, now: float) -> tuple[str, ...]:
        """Workers that have just fallen silent for too long; each is reported once."""
        dead = tuple(
            name
            for name, member in sorted(self._members.items())
            if member.last_seen is not None and not self._alive(member, now)
        )
        for name in dead:
            self._members[name] = Member(registration=self._members[name].registration)
        return dead

    def next_expiry(self) -> float | None:
        """When the next live worker would expire, or ``None``."""
        seen = [member.last_seen for member in self._members.values() if member.last_seen is not None]
        return min(seen) + self._config.timeout_seconds if seen else None

    def _alive(self, member: Member, now: float) -> bool:
        return member.last_seen is not None and now < member.last_seen + self._config.timeout_seconds
