from __future__ import annotations

import json

from chronos_common.pb.chronos.v1 import (
    clan_pb2,
    coordinator_pb2,
    data_pb2,
    memory_pb2,
    metrics_pb2,
    peers_pb2,
    prediction_pb2,
)
from chronos_common.wire.channel import IDEMPOTENT_METHODS, keepalive_options, service_config
from chronos_common.wire.deadlines import MIN_KEEPALIVE_SECONDS, DeadlineConfig

SERVICES = {
    service.full_name: service
    for module in (coordinator_pb2, memory_pb2, metrics_pb2, data_pb2, clan_pb2, prediction_pb2, peers_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
}


def test_methods_that_are_repeated_exist() -> None:
    for service, method in IDEMPOTENT_METHODS:
        assert method in SERVICES[service].methods_by_name


def test_streams_and_what_counts_twice_are_never_repeated() -> None:
    repeated = {method for _, method in IDEMPOTENT_METHODS}
    assert not repeated & {
        "CommitUpdate",
        "CheckoutVersion",
        "WatchRun",
        "DeregisterWorker",
        "ReportMetrics",
        "UploadSizes",
        "StreamShares",
        "SaveData",
        "RestoreData",
    }


def test_only_unavailability_is_repeated() -> None:
    (method_config,) = json.loads(service_config(DeadlineConfig()))["methodConfig"]
    policy = method_config["retryPolicy"]
    assert policy["retryableStatusCodes"] == ["UNAVAILABLE"]
    assert (policy["initialBackoff"], policy["maxBackoff"]) == ("0.1s", "0.4s")
    assert len(method_config["name"]) == len(IDEMPOTENT_METHODS)


def test_the_server_takes_the_pings_of_every_client() -> None:
    allowed = dict(keepalive_options(DeadlineConfig(budget_seconds=300.0), server=True))
    eager = dict(keepalive_options(DeadlineConfig(budget_seconds=0.2), server=False))
    assert allowed["grpc.http2.min_ping_interval_without_data_ms"] < eager["grpc.keepalive_time_ms"]
    assert eager["grpc.keepalive_time_ms"] == 1000 * MIN_KEEPALIVE_SECONDS
    assert "grpc.http2.min_ping_interval_without_data_ms" not in eager
