"""Settings of a worker."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from chronos_common.errors import ConfigurationError
from chronos_common.wire import DEFAULT_PORT

_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """What a worker works on, for whom and how.

    Attributes:
        coordinator: address of the coordinator, host:port.
        worker_id: stable name of this worker, unique among all workers and the same after a restart; empty
            takes the host's name. A second process of the same name supersedes the first.
        run_id: the run to work on; empty takes any active run, one after the other.
        problems: shell-style patterns of the problems that may be imported, over "package.module:Name"; "*"
            also matches dots. Without one, every problem is refused.
        paths: directories that problems are imported from, before the installed packages.
        state_dir: directory that keeps, through a crash or a restart, what this worker still owes to its runs
            (what compression left out of its commits, what was refused, what was never answered) and where its
            training stands. It must outlive the process and be the same after a restart; workers with different
            ids may share it. Without one, what is owed dies with the process, and its successor declares it lost.
        state_theta_seconds: the inner parameters are written to the state directory at most this often, and take
            at most a twentieth of the time; what is owed is written before every commit.
        device: where to compute, cpu, cuda, cuda:N, or auto (cuda where there is one).
        machine: file that `chronos probe` wrote on this machine; it tells the coordinator how fast this worker is
            before its first commit.
        threads: threads of one tensor operation in this process; none leaves it to the library.
        connect_seconds: how long the coordinator may be away before the first answer; the worker then ends. none
            waits for ever, as it does after that answer.
        drain_seconds: how long the piece of work in hand may still take after SIGTERM.
        wait_seconds: longest time that one call waits for a version; the worker then asks again.
        max_failures: consecutive updates that diverge or are refused as unusable before it leaves the run.
        retry_seconds: first pause after a call that failed; it doubles, with jitter.
        max_retry_seconds: longest pause.
    """

    coordinator: str = f"127.0.0.1:{DEFAULT_PORT}"
    worker_id: str = ""
    run_id: str = field(default="", metadata={"flag": "--run"})
    problems: tuple[str, ...] = field(default=(), metadata={"flag": "--problem"})
    paths: tuple[str, ...] = field(default=(), metadata={"flag": "--path"})
    state_dir: Path | None = None
    state_theta_seconds: float = 1.0
    device: str = "cpu"
    machine: Path | None = None
    threads: int | None = 1
    connect_seconds: float | None = 300.0
    drain_seconds: float = 10.0
    wait_seconds: float = 20.0
    max_failures: int = 5
    retry_seconds: float = 0.1
    max_retry_seconds: float = 5.0

    def __post_init__(self) -> None:
        host, _, port = self.coordinator.rpartition(":")
        if not host or not port.isdecimal():
            raise ConfigurationError(f"coordinator is {self.coordinator!r}; write host:port")
        for path in self.paths:
            if not Path(path).is_dir():
                raise ConfigurationError(f"--path {path}: there is no such directory", field="paths")
        if not _DEVICE.fullmatch(self.device):
            raise ConfigurationError(f"device is {self.device!r}; it must be cpu, cuda, cuda:N or auto")
        for name in ("threads", "max_failures"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(f"{name} is {value}; it must be 1 or more")
        for name in (
            "state_theta_seconds",
            "connect_seconds",
            "drain_seconds",
            "wait_seconds",
            "retry_seconds",
            "max_retry_seconds",
        ):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0.0):
                raise ConfigurationError(f"{name} is {value}; it must be finite and 0 or more")
        if not 0.0 < self.retry_seconds <= self.max_retry_seconds:
            raise ConfigurationError(
                f"retry_seconds is {self.retry_seconds}; it must be above 0 and at most max_retry_seconds = "
                f"{self.max_retry_seconds}"
            )
