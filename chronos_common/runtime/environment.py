"""The environment that services are started with: memory allocator and thread pools."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

MALLOC_TUNABLES: Final[Mapping[str, str]] = {
    "glibc.malloc.hugetlb": "1",
    "glibc.malloc.mmap_threshold": str(1 << 30),
    "glibc.malloc.trim_threshold": str(4 << 30),
}
"""Keeps large buffers in the heap, on huge pages. By default glibc maps and unmaps every message of more than
a few hundred kilobytes, and the kernel clears its pages each time; messages of tens of megabytes then spend
most of their time in page faults. glibc reads this once, when a process starts."""

THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def child_environment(
    base: Mapping[str, str] | None = None, *, threads: int | None = None, **extra: str
) -> dict[str, str]:
    """The environment of a child process.

    Args:
        base: what to start from; by default this process's environment, read now. Tunables and thread
            counts that it sets already are kept.
        threads: size of the numerical libraries' thread pools; None leaves that to them.
        extra: further variables, which win.
    """
    env = dict(os.environ if base is None else base)
    tunables = [part for part in env.get("GLIBC_TUNABLES", "").split(":") if part]
    named = {part.partition("=")[0] for part in tunables}
    tunables += [f"{name}={value}" for name, value in MALLOC_TUNABLES.items() if name not in named]
    env["GLIBC_TUNABLES"] = ":".join(tunables)
    if threads is not None:
        env |= {name: env.get(name) or str(threads) for name in THREAD_VARIABLES}
    env.setdefault("PYTHONUNBUFFERED", "1")
    return env | extra
