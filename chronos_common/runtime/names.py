"""Names of processes: a stable one for each worker, a random one for each start of it."""

from __future__ import annotations

import re
import secrets
import socket

MAX_NAME = 128


def default_worker_id(hostname: str | None = None) -> str:
    """A worker id that a restart on the same machine or pod gets again: the host name, without its domain.

    It has to be stable: a worker that came back under another name would leave the old one behind as a dead
    member whose lease has to expire.

    Args:
        hostname: the machine's name; by default asked of the operating system.
    """
    short = (socket.gethostname() if hostname is None else hostname).partition(".")[0]
    return re.sub(r"[^A-Za-z0-9_-]+", "-", short).strip("-")[:MAX_NAME] or "worker"


def new_instance_id() -> str:
    """A random id of this process (128 bits, hexadecimal): tells a reconnect from a second process."""
    return secrets.token_hex(16)
