"""Members of a peer group or a clan as processes, and what they have said so far."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any, Protocol

from tests.support.polling import poll


class Orders(Protocol):
    """What a member shall do, for the module that it is declared in."""

    @property
    def name(self) -> str: ...

    def text(self) -> str: ...


class MemberProcess:
    """One member; started at once."""

    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        self.said: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", type(orders).__module__, orders.text()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def steps(self) -> list[dict[str, Any]]:
        return [line for line in tuple(self.said) if "done" in line]

    @property
    def step(self) -> int:
        return max((line["step"] for line in tuple(self.said) if "step" in line), default=0)

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def reach(self, step: int, *, timeout_seconds: float = 60.0) -> None:
        """Returns when it has done so many steps."""
        poll(lambda: self.step >= step, f"{self.orders.name} at step {step}", timeout_seconds=timeout_seconds)

    def stop_at(self, step: int) -> None:
        """It is done with that step."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{step}\n")
        self._process.stdin.flush()

    def finished(self) -> dict[str, Any]:
        """The last thing it says; it then waits for :meth:`release`."""
        poll(
            lambda: "finished" in self.said[-1],
            f"the end of {self.orders.name}",
            timeout_seconds=30.0,
        )
        return self.said[-1]

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def release(self) -> int:
        """Lets it leave; its exit code."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        return self._process.wait(30.0)

    def close(self) -> None:
        self._process.kill()
        self._process.wait(30.0)
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said.append(json.loads(line))


class Members:
    """Members by name."""

    def __init__(self) -> None:
        self._all: list[MemberProcess] = []

    def start(self, orders: Orders) -> MemberProcess:
        member = MemberProcess(orders)
        self._all.append(member)
        return member

    def close(self) -> None:
        for member in self._all:
            member.close()


@contextlib.contextmanager
def members() -> Iterator[Members]:
    started = Members()
    try:
        yield started
    finally:
        started.close()


def longest_pause(member: MemberProcess, since: float) -> float:
    """Seconds between two of its steps around a moment of the wall clock, at most."""
    times: list[float] = [line["at"] for line in member.steps]
    return max(after - before for before, after in itertools.pairwise(times) if after > since)
