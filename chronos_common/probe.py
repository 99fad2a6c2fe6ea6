"""``chronos-health ADDRESS [SERVICE]``: asks a service whether it serves, by the gRPC health protocol.

For health checks of containers, which run it every few seconds: it imports gRPC and nothing else of Chronos.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

PROG: Final = "chronos-health"
TIMEOUT_SECONDS: Final = 4.0
UNHEALTHY: Final = 1

VARIABLES: Final = "CHRONOS_CLIENT__"
"""Before the names of the TLS options in capitals: the variables that workers and ``chronos`` read too."""

EPILOG = (
    f"The TLS options are also read from {VARIABLES}TLS_CA and so on. "
    f"exit codes: 0 it serves, {UNHEALTHY} it does not, 2 wrong usage"
)


@dataclass(frozen=True, kw_only=True)
class ProbeTls:
    """How to reach a port that speaks TLS; PEM files.

    Attributes:
        ca: authorities that the server's certificate must come from; without them the probe is plaintext.
        cert: certificate of the prober, for servers that ask for one.
        key: its private key.
        server_name: name that the server's certificate must be for, where it is not the host of the address.
    """

    ca: str = ""
    cert: str = ""
    key: str = ""
    server_name: str = ""

    def channel(self, address: str) -> grpc.Channel:
        """A channel to ``address``. Raises ``OSError`` for a file that cannot be read."""
        if not self.ca:
            return grpc.insecure_channel(address)
        credentials = grpc.ssl_channel_credentials(
            root_certificates=Path(self.ca).read_bytes(),
            private_key=Path(self.key).read_bytes() if self.key else None,
            certificate_chain=Path(self.cert).read_bytes() if self.cert else None,
        )
        override = (("grpc.ssl_target_name_override", self.server_name),) if self.server_name else ()
        return grpc.secure_channel(address, credentials, options=override)


PLAINTEXT: Final = ProbeTls()


def check(
    address: str,
    service: str = "",
    *,
    timeout_seconds: float = TIMEOUT_SECONDS,
    tls: ProbeTls = PLAINTEXT,
) -> str:
    """Asks once; empty when it serves, else what is wrong, in one line.

    Args:
        address: ``host:port``.
        service: name of the service; empty asks for the server as a whole.
        timeout_seconds: how long the answer may take, connecting included.
        tls: how to reach a port that speaks TLS.
    """
    what = f"{service} at {address}" if service else address
    try:
        opened = tls.channel(address)
    except OSError as error:
        return f"{what} cannot be asked: {error}"
    with opened as channel:
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
        return "nobody answers; is it running, is this its gRPC port, and does that speak TLS?"
    return f"{code.name}: {error.details()}"


TLS_OPTIONS: Final = {
    "tls_ca": "PEM of the authorities that the server's certificate must come from; without it: plaintext",
    "tls_cert": "PEM of the prober's certificate, for servers that ask for one",
    "tls_key": "PEM of its private key",
    "tls_server_name": "name that the server's certificate must be for, if not the host of the address",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog=PROG, description="Asks a service whether it serves, by the gRPC health protocol.", epilog=EPILOG
    )
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument("service", nargs="?", default="", help="name of the service; default: the server")
    parser.add_argument("--timeout-seconds", type=float, default=TIMEOUT_SECONDS, metavar="SECONDS")
    for name, meaning in TLS_OPTIONS.items():
        variable = VARIABLES + name.upper()
        parser.add_argument(
            f"--{name.replace('_', '-')}", default=os.environ.get(variable, ""), metavar="X", help=meaning
        )
    options = parser.parse_args(argv)
    if bool(options.tls_cert) != bool(options.tls_key):
        parser.error("--tls-cert and --tls-key go together")
    tls = ProbeTls(
        ca=options.tls_ca, cert=options.tls_cert, key=options.tls_key, server_name=options.tls_server_name
    )
    problem = check(options.address, options.service, timeout_seconds=options.timeout_seconds, tls=tls)
    if problem:
        sys.stderr.write(f"{PROG}: {problem}\n")
    return UNHEALTHY if problem else 0


if __name__ == "__main__":
    sys.exit(main())
