"""Child processes that announce when they are ready, are stopped in time, and never outlive their parent.

A service writes one JSON line to stdout when it is ready, ``{"event": "listening", "address": ...}``: see
:func:`announce`. Everything a child writes is kept in a short tail, which is what an error shows.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from chronos_common.errors import ProcessError

READY_EVENTS: Final = ("listening", "ready")
TAIL_LINES: Final = 200
READER_SECONDS: Final = 5.0

# Runs in a bare interpreter that then becomes the program. PR_SET_PDEATHSIG (1) survives exec; the check
# closes the gap in which the parent may have died before the call.
_DIE_WITH_PARENT: Final = """
import ctypes, os, sys
parent = int(sys.argv[1])
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
    if os.getppid() != parent:
        sys.exit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""


def announce(event: str = "listening", **facts: str | int) -> None:
    """Tells whoever started this process that it is ready: one JSON line on stdout."""
    print(json.dumps({"event": event, **facts}), flush=True)  # noqa: T201 - the line is the interface


@cache
def _launcher() -> ThreadPoolExecutor:
    """The thread that starts all children.

    Linux sends the death signal when the *thread* that started a child ends, so that it must be one which
    lives as long as the process: this one ends at the interpreter's exit, when every child should be gone.
    """
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="chronos-launcher")


class ManagedProcess:
    """One child process in a process group of its own.

    Used as a context manager, it is stopped at the end of the block. Where the system allows it (Linux),
    the kernel kills the child as soon as this process dies, however that happens.

    Args:
        argv: program and arguments.
        name: for messages.
        env: its whole environment (see ``child_environment``); None inherits this process's.
        cwd: its working directory; None is this process's.
        on_line: receives every line it writes, stdout and stderr alike, from a thread of this class.
        log_file: also appends every line there.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        name: str,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        on_line: Callable[[str], object] | None = None,
        log_file: str | Path | None = None,
    ) -> None:
        self.name = name
        self._argv = list(argv)
        self._env = None if env is None else dict(env)
        self._cwd = cwd
        self._on_line = on_line
        self._log_file = log_file
        self._process: subprocess.Popen[str] | None = None
        self._readers: list[threading.Thread] = []
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._facts: dict[str, Any] = {}
        self._changed = threading.Event()
        self._lock = threading.Lock()

    def start(self) -> Self:
        """Starts the program.

        Raises:
            ProcessError: it is running already, or the system cannot start it.
        """
        if self._process is not None and self._process.poll() is None:
            raise ProcessError(
                f"{self.name} is running already, as process {self._process.pid}", name=self.name
            )
        self._facts, self._changed = {}, threading.Event()
        self._process = _launcher().submit(self._spawn).result()
        self._readers = [
            threading.Thread(target=self._read, args=(stream, ready), daemon=True)
            for stream, ready in ((self._process.stdout, True), (self._process.stderr, False))
        ]
        for reader in self._readers:
            reader.start()
        return self

    def _spawn(self) -> subprocess.Popen[str]:
        guard = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid())]
        try:
            return subprocess.Popen(
                [*guard, *self._argv],
                env=self._env,
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise ProcessError(f"{self.name} cannot be started: {error}", name=self.name) from error

    def _read(self, stream: IO[str], ready: bool) -> None:
        with stream, contextlib.ExitStack() as stack:
            log = stack.enter_context(open(self._log_file, "a")) if self._log_file is not None else None
            for line in stream:
                line = line.rstrip("\n")
                with self._lock:
                    self._tail.append(line)
                    if log is not None:
                        print(line, file=log, flush=True)
                if self._on_line is not None:
                    self._on_line(line)
                if ready and not self._facts:
                    self._facts = _announcement(line)
                    if self._facts:
                        self._changed.set()
        if ready:
            self._changed.set()

    # --- observing -------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """Process id, which is also the id of its process group."""
        return self._started().pid

    @property
    def returncode(self) -> int | None:
        """Exit code; negative for a signal, None while it runs."""
        return self._started().poll()

    @property
    def tail(self) -> str:
        """The last lines that it wrote."""
        with self._lock:
            return "\n".join(self._tail)

    def wait_ready(self, timeout_seconds: float = 60.0) -> Mapping[str, Any]:
        """What the program announced, for example ``{"event": "listening", "address": "127.0.0.1:4242"}``.

        Raises:
            ProcessError: it ended, or said nothing in time; the message holds its last lines.
        """
        process = self._started()
        in_time = self._changed.wait(timeout_seconds)
        if self._facts:
            return dict(self._facts)
        if not in_time:
            raise self._failure(f"did not become ready within {timeout_seconds:g} s")
        # stdout was closed without an announcement: the program is ending or has ended.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(READER_SECONDS)
            self._join()
        raise self._failure(f"ended before it was ready, with exit code {process.poll()}")

    def wait(self, timeout_seconds: float | None = None) -> int:
        """Waits until the program ends by itself; its exit code.

        Raises:
            ProcessError: it did not end in time.
        """
        try:
            code = self._started().wait(timeout_seconds)
        except subprocess.TimeoutExpired as error:
            raise self._failure(f"is still running after {timeout_seconds:g} s") from error
        self._join()
        return code

    def check_running(self) -> None:
        """Raises a ``ProcessError`` with its last lines if the program has ended."""
        if self.returncode is not None:
            raise self._failure(f"ended with exit code {self.returncode}")

    # --- stopping --------------------------------------------------------------------------------

    def send_signal(self, number: signal.Signals) -> None:
        """Signals the whole group; nothing happens when it is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def kill(self) -> None:
        """SIGKILL to the group: nothing is cleaned up, as after a power cut."""
        self.send_signal(signal.SIGKILL)
        self._started().wait()
        self._join()

    def stop(self, timeout_seconds: float = 15.0) -> int:
        """SIGTERM, and SIGKILL to what is left after the time; the exit code."""
        process = self._started()
        if process.poll() is None:
            self.send_signal(signal.SIGCONT)
            self.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout_seconds)
        self.kill()
        return process.returncode

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise ProcessError(f"{self.name} has not been started", name=self.name)
        return self._process

    def _join(self) -> None:
        for reader in self._readers:
            reader.join(READER_SECONDS)

    def _failure(self, what: str) -> ProcessError:
        lines = self.tail or "(nothing)"
        return ProcessError(
            f"{self.name} ({shlex.join(self._argv)}) {what}; its last lines:\n{lines}", name=self.name
        )


def _announcement(line: str) -> dict[str, Any]:
    """The facts of an announcement; empty for any other line."""
    if not line.startswith("{"):
        return {}
    try:
        facts = json.loads(line)
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) and facts.get("event") in READY_EVENTS else {}


class ProcessGroup:
    """Several children that end together: a cluster on one machine, in the order it was started.

    Used as a context manager; at its end the youngest child is stopped first, all within one deadline.

    Args:
        stop_seconds: how long each child may take to end after SIGTERM before it is killed.
    """

    def __init__(self, *, stop_seconds: float = 15.0) -> None:
        self._stop_seconds = stop_seconds
        self._children: list[ManagedProcess] = []

    @property
    def children(self) -> Sequence[ManagedProcess]:
        """The children, oldest first."""
        return tuple(self._children)

    def add(self, child: ManagedProcess) -> ManagedProcess:
        """Starts a child that ends with the group."""
        child.start()
        self._children.append(child)
        return child

    def replace(self, ended: ManagedProcess, child: ManagedProcess) -> ManagedProcess:
        """Starts a child in the place of one that has ended."""
        child.start()
        self._children[self._children.index(ended)] = child
        return child

    def check(self) -> None:
        """Raises a ``ProcessError`` if a child has failed; one that ended with code 0 is done."""
        for child in self._children:
            if child.returncode not in (None, 0):
                child.check_running()

    def stop(self) -> None:
        """Ends all of them, youngest first; the first error is raised after the last child has ended."""
        with contextlib.ExitStack() as stack:
            while self._children:
                # Callbacks run in reverse order of registration: the youngest child is registered last.
                stack.callback(self._children.pop(0).stop, self._stop_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
