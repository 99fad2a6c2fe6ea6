"""``chronos-health ADDRESS [SERVICE]``: asks a service whether it serves, by the gRPC health protocol.

For health checks of containers, which run it every few seconds: it imports gRPC and nothing else of Chronos.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

PROG: Final = "chronos-health"
TIMEOUT_SECONDS: Final = 4.0
UNHEALTHY: Final = 1

EPILOG = f"exit codes: 0 it serves, {UNHEALTHY} it does not, 2 wrong usage"


def check(address: str, service: str = "", *, timeout_seconds: float = TIMEOUT_SECONDS) -> str:
    """Asks once; empty when it serves, else what is wrong, in one line.

    Args:
        address: ``host:port``.
        service: name of the service; empty asks for the server as a whole.
        timeout_seconds: how long the answer may take, connecting included.
    """
    what = f"{service} at {address}" if service else address
    with grpc.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout_seconds)
        except grpc.RpcError as error:
            return f"{what} does not serve: {_reason(error, service)}"
    name = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return "" if name == "SERVING" else f"{what} does not serve: it says {name}; it is starting or stopping"


def _reason(error: grpc.RpcError, service: str) -> str:
    code = error.code()
    if code is grpc.StatusCode.NOT_FOUND:
        return f"it has no service {service!r} (yet)"
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return "nobody answers; is it running, and is this its gRPC port?"
    return f"{code.name}: {error.details()}"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog=PROG, description="Asks a service whether it serves, by the gRPC health protocol.", epilog=EPILOG
    )
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument("service", nargs="?", default="", help="name of the service; default: the server")
    parser.add_argument("--timeout-seconds", type=float, default=TIMEOUT_SECONDS, metavar="SECONDS")
    options = parser.parse_args(argv)
    problem = check(options.address, options.service, timeout_seconds=options.timeout_seconds)
    if problem:
        sys.stderr.write(f"{PROG}: {problem}\n")
    return UNHEALTHY if problem else 0


if __name__ == "__main__":
    sys.exit(main())
