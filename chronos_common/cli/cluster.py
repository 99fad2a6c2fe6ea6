"""A coordinator and workers as processes of this machine, for as long as a command runs."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from chronos_common.errors import ConfigurationError, ProcessError
from chronos_common.runtime import ManagedProcess, ProcessGroup, child_environment

COORDINATOR = "coordinator"
START_SECONDS = 60.0
STOP_SECONDS = 10.0
PLAIN_SERVER = ("--tls-cert", "none", "--tls-key", "none", "--tls-client-ca", "none", "--token-file", "none")
PLAIN_CLIENT = (
    *("--tls-ca", "none", "--tls-cert", "none", "--tls-key", "none"),
    *("--tls-server-name", "", "--token-file", "none"),
)
"""On loopback, among processes of one user; what environment or file say of other coordinators is not meant."""

CAUSES = ("problem", "error", "exception")
"""Fields of a log line that say what was wrong."""


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """What to start.

    Attributes:
        store: directory of the SQLite store; runs in it go on. What workers owe is kept beneath it.
        logs: directory of the logs, one file for each process.
        workers: number of worker processes, at least 1.
        run_id: the only run that the workers work on; they end with it. Empty is any run, one after the other.
        problems: patterns of the problems that the workers may import.
        paths: directories that the workers look for problems in, before the installed packages.
        threads: threads of one tensor operation in a worker.
    """

    store: Path
    logs: Path
    workers: int = 3
    run_id: str = ""
    problems: tuple[str, ...] = ()
    paths: tuple[Path, ...] = ()
    threads: int = 1

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ConfigurationError(f"there are {self.workers} workers to start; there must be 1 or more")


class LocalCluster:
    """Starts the services of a :class:`ClusterConfig` on loopback and stops them at the end of the block.

    However this process ends, the services end with it (the kernel kills them where it can).

    Attributes:
        address: ``host:port`` of the coordinator.
    """

    def __init__(self, config: ClusterConfig) -> None:
        self.config = config
        self.address = ""
        self._group = ProcessGroup(stop_seconds=STOP_SECONDS)
        self._killed: Counter[str] = Counter()
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        try:
            self.config.logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"cannot write to {self.config.logs}: {error.strerror}; choose another directory"
            ) from error
        with ExitStack() as stack:
            stack.enter_context(self._group)
            self._start()
            self._cleanup = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    def wait_for_workers(self) -> None:
        """Returns when every worker is registered.

        Raises:
            ProcessError: one of them ended or took too long; one line, with the path of its log.
        """
        for worker in self._group.children[1:]:
            self._ready(worker)

    def check(self) -> None:
        """Looks whether work goes on: nobody waits for a worker that was killed while another one lives.

        Raises:
            ProcessError: the coordinator or the last worker has ended, or a worker has failed by itself; one
                line, with the path of its log.
        """
        coordinator, *workers = self._group.children
        if coordinator.returncode is not None:
            raise self._failure(coordinator, _end(coordinator.returncode))
        # One that ended with 0 found that its run is over.
        failed = [(worker, worker.returncode) for worker in workers if worker.returncode]
        for worker, code in failed:
            if code > 0 or len(failed) == len(workers):
                raise self._failure(worker, _end(code))

    @property
    def kills(self) -> dict[str, int]:
        """Processes that a signal has ended, by kind."""
        killed = self._killed + Counter(
            _kind(child.name) for child in self._group.children if (child.returncode or 0) < 0
        )
        return {kind: killed[kind] for kind in ("coordinator", "worker")}

    @property
    def advice(self) -> str:
        """Where to look when no work is done."""
        return f"the logs are in {self.config.logs}"

    def leave(self, run_id: str) -> None:
        """A run is given up: it ends with the cluster."""

    def kill(self, name: str) -> None:
        """SIGKILL to the process ``"coordinator"`` or ``"worker N"``, as after a power cut."""
        self._child(name).kill()

    def restart(self, name: str) -> None:
        """Starts a process anew that was killed, with its address or worker id; returns when it is ready.

        Raises:
            ProcessError: it did not start; one line, with the path of its log.
        """
        ended = self._child(name)
        child = self._group.replace(ended, self._process(name))
        self._killed[_kind(name)] += 1
        self._ready(child)

    def pause(self, name: str) -> None:
        """SIGSTOP: the process hangs and keeps its connections."""
        self._child(name).send_signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """SIGCONT."""
        self._child(name).send_signal(signal.SIGCONT)

    # --- inside ----------------------------------------------------------------------------------

    def _start(self) -> None:
        coordinator = self._group.add(self._process(COORDINATOR))
        self.address = str(self._ready(coordinator)["address"])
        for number in range(1, self.config.workers + 1):
            self._group.add(self._process(f"worker {number}"))

    def _process(self, name: str) -> ManagedProcess:
        if name == COORDINATOR:
            arguments = self._coordinator_arguments()
            environment = child_environment(threads=1, PYTHONSAFEPATH="1")
        else:
            arguments = self._worker_arguments(name)
            environment = worker_environment(self.config.paths, threads=self.config.threads)
        return ManagedProcess(
            [sys.executable, *arguments, "--log-format", "json"],
            name=name,
            env=environment,
            log_file=log_file(self.config.logs, name),
        )

    def _coordinator_arguments(self) -> list[str]:
        port = self.address.rpartition(":")[2] or "0"
        return [
            "-m",
            "chronos_coordinator",
            "--port",
            port,
            "--store-path",
            str(self.config.store),
            *PLAIN_SERVER,
        ]

    def _worker_arguments(self, name: str) -> list[str]:
        arguments = ["-m", "chronos_worker", "--coordinator", self.address, *PLAIN_CLIENT]
        arguments += ["--worker-id", name.replace(" ", "-")]
        arguments += ["--state-dir", str(self.config.store / "workers")]
        arguments += ["--run", self.config.run_id] if self.config.run_id else []
        for pattern in self.config.problems:
            arguments += ["--problem", pattern]
        return arguments

    def _child(self, name: str) -> ManagedProcess:
        return next(child for child in self._group.children if child.name == name)

    def _ready(self, child: ManagedProcess) -> dict[str, object]:
        try:
            return dict(child.wait_ready(START_SECONDS))
        except ProcessError as error:
            code = child.returncode
            what = f"did not start within {START_SECONDS:g} s" if code is None else _end(code)
            raise self._failure(child, what) from error

    def _failure(self, child: ManagedProcess, what: str) -> ProcessError:
        cause = _cause(child.tail)
        return ProcessError(
            f"{child.name} {what}{f' ({cause})' if cause else ''}; its log is {log_file(self.config.logs, child.name)}",
            name=child.name,
        )


def log_file(logs: Path, name: str) -> Path:
    """Where the output of the process ``name`` is kept."""
    return logs / f"{name.replace(' ', '-')}.log"


def worker_environment(paths: Sequence[Path], *, threads: int) -> dict[str, str]:
    """The environment of a worker that finds problems in ``paths``, and nowhere by accident.

    Python would put the working directory first on the path; ``PYTHONSAFEPATH`` leaves that to ``paths``.
    """
    inherited = os.environ.get("PYTHONPATH", "")
    parts = [str(path.resolve()) for path in paths] + ([inherited] if inherited else [])
    return child_environment(threads=threads, PYTHONSAFEPATH="1", PYTHONPATH=os.pathsep.join(parts))


def _kind(name: str) -> str:
    return name.partition(" ")[0]


def _end(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _cause(tail: str) -> str:
    """What a service said last about why it ended: its own error line, or the last line there is."""
    lines = [_readable(line.strip()) for line in tail.splitlines() if line.strip()]
    errors = [line for line in lines if ": error: " in line]
    return (errors or lines)[-1].rpartition(": error: ")[2][:300] if lines else ""


def _readable(line: str) -> str:
    """A line of a structured log as the event and what was wrong, if anything; any other line as it is."""
    try:
        record = json.loads(line)
    except ValueError:
        return line
    if not isinstance(record, dict) or "event" not in record:
        return line
    if record.get("level") in ("debug", "info"):
        return f"the last it said is '{record['event']}'"
    details = [str(record[key]) for key in CAUSES if record.get(key)]
    return ": ".join([str(record["event"]), *details])
