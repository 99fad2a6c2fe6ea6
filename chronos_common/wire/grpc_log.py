"""Keeps gRPC's own log off stderr; imported before grpc, which reads this once, when it is imported.

It repeats, once per attempt and in the words of its TLS library, what ``chronos_common.wire.diagnosis`` says in one
line, and is not structured. ``GRPC_VERBOSITY=INFO`` in the environment brings it back.
"""

from __future__ import annotations

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")
