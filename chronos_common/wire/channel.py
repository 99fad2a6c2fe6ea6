"""Channels: connections of a client, with the retries, limits and keepalive that fit the server's."""

from __future__ import annotations

import json
from typing import Any, Final

import grpc

from chronos_common.wire.deadlines import MIN_KEEPALIVE_SECONDS, DeadlineConfig
from chronos_common.wire.limits import WireLimits
from chronos_common.wire.security import ClientSecurity
from chronos_common.wire.tls import client_credentials

IDEMPOTENT_METHODS: Final = (
    ("chronos.v1.CoordinatorService", "CreateRun"),
    ("chronos.v1.CoordinatorService", "GetRun"),
    ("chronos.v1.CoordinatorService", "ListRuns"),
    ("chronos.v1.CoordinatorService", "StopRun"),
    ("chronos.v1.CoordinatorService", "VerifyRun"),
    ("chronos.v1.CoordinatorService", "RegisterWorker"),
    ("chronos.v1.CoordinatorService", "Heartbeat"),
    ("chronos.v1.MetricsService", "QueryMetrics"),
    ("chronos.v1.MemoryService", "DescribeMemory"),
    ("chronos.v1.MemoryService", "RetrieveSimilar"),
    ("chronos.v1.MemoryService", "PredictGradient"),
    ("chronos.v1.MemoryService", "FindWarmStarts"),
    ("chronos.v1.DataService", "CreateDataPlan"),
    ("chronos.v1.DataService", "DescribeData"),
    ("chronos.v1.DataService", "ListDataPlans"),
    ("chronos.v1.DataService", "JoinData"),
    ("chronos.v1.DataService", "LeaveData"),
    ("chronos.v1.DataService", "FinishShares"),
    ("chronos.v1.ClanService", "CreateClan"),
    ("chronos.v1.ClanService", "DescribeClan"),
    ("chronos.v1.ClanService", "ListClans"),
    ("chronos.v1.ClanService", "JoinClan"),
    ("chronos.v1.ClanService", "LeaveClan"),
    ("chronos.v1.ClanService", "RemoveMember"),
    ("chronos.v1.ClanService", "FetchRound"),
    ("chronos.v1.ClanService", "ReportFitness"),
    ("chronos.v1.ClanService", "CloseRound"),
    ("chronos.v1.ClanService", "SaveClan"),
    ("chronos.v1.ClanService", "VerifyClan"),
    ("chronos.v1.PredictionService", "ListDevices"),
    ("chronos.v1.PredictionService", "PredictTraining"),
    ("chronos.v1.PeerService", "JoinGroup"),
    ("chronos.v1.PeerService", "WatchGroup"),
    ("chronos.v1.PeerService", "ReportFailure"),
    ("chronos.v1.PeerService", "LeaveGroup"),
)
"""Methods that gRPC repeats by itself. A commit is not among them: its caller decides, since between two
attempts the answer to an earlier one may change what is to be sent. CreateRun is: the client always gives
the run a name. A checkout is not either: a worker that waits in vain should hear of it."""

MAX_ATTEMPTS: Final = 5
"""The most that gRPC allows."""

Option = tuple[str, Any]


def open_channel(
    address: str,
    *,
    deadlines: DeadlineConfig | None = None,
    limits: WireLimits | None = None,
    security: ClientSecurity | None = None,
) -> grpc.aio.Channel:
    """A channel to ``host:port``; call it inside the event loop that will use it. It connects when used.

    Raises:
        ConfigurationError: certificates that cannot be used.
    """
    deadlines = DeadlineConfig() if deadlines is None else deadlines
    limits = WireLimits() if limits is None else limits
    initial_ms = _milliseconds(deadlines.reconnect_initial_seconds)
    options: list[Option] = [
        ("grpc.service_config", service_config(deadlines)),
        ("grpc.enable_retries", 1),
        ("grpc.initial_reconnect_backoff_ms", initial_ms),
        # Whatever its name says: how long one attempt may take at least, before it is given up.
        ("grpc.min_reconnect_backoff_ms", _milliseconds(deadlines.connect_seconds)),
        ("grpc.max_reconnect_backoff_ms", _milliseconds(deadlines.reconnect_max_seconds)),
        ("grpc.max_receive_message_length", limits.max_message_bytes),
        ("grpc.max_send_message_length", limits.max_message_bytes),
        # Two clients in one process are two workers, with a connection and a back-off each.
        ("grpc.use_local_subchannel_pool", 1),
        *keepalive_options(deadlines, server=False),
    ]
    if security is None or not security.tls:
        return grpc.aio.insecure_channel(address, options=options)
    if security.tls_server_name:
        options.append(("grpc.ssl_target_name_override", security.tls_server_name))
    return grpc.aio.secure_channel(address, client_credentials(security), options=options)


def service_config(deadlines: DeadlineConfig) -> str:
    """The retry policy as JSON: ``UNAVAILABLE`` only, on idempotent methods only."""
    policy = {
        "maxAttempts": MAX_ATTEMPTS,
        "initialBackoff": f"{deadlines.reconnect_initial_seconds:g}s",
        "maxBackoff": f"{deadlines.reconnect_max_seconds:g}s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    names = [{"service": service, "method": method} for service, method in IDEMPOTENT_METHODS]
    return json.dumps({"methodConfig": [{"name": names, "retryPolicy": policy}]})


def keepalive_options(deadlines: DeadlineConfig, *, server: bool) -> list[Option]:
    """Pings on silent connections; set on both sides, since a server cuts clients that ping more than it allows."""
    interval_ms = _milliseconds(deadlines.keepalive_seconds)
    options: list[Option] = [
        ("grpc.keepalive_time_ms", interval_ms),
        ("grpc.keepalive_timeout_ms", _milliseconds(deadlines.keepalive_timeout_seconds)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    if server:
        # Below what any client does, whatever its budget: its pings are never an offence.
        least_ms = _milliseconds(MIN_KEEPALIVE_SECONDS / 2)
        options.append(("grpc.http2.min_ping_interval_without_data_ms", least_ms))
    return options


def _milliseconds(seconds: float) -> int:
    return max(1, round(1000 * seconds))
