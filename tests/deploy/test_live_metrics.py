"""A real Prometheus scrapes a real coordinator and worker: every query of rules and dashboard has an answer there."""

from __future__ import annotations

import json
import re
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from chronos_common.codec import encode
from chronos_common.engine import CompressionConfig, WorkSpec
from chronos_common.engine.local import describe_run
from chronos_common.errors import WorkerNotMemberError
from chronos_common.outer.memory import MemoryConfig
from chronos_common.runtime import ManagedProcess, ProcessGroup, child_environment
from chronos_common.versions import RoundConfig
from chronos_common.wire import SyncCoordinatorClient
from tests.support.coordinator_process import free_port
from tests.support.live_jobs import MEMBERS, busy_jobs
from tests.support.polling import poll
from tests.support.problems import Shifts
from tests.support.prometheus import query, tool
from tests.support.promql import parse, selected
from tests.support.rules import PROMETHEUS, RECORDED, ROOT, RULES, TARGETS, document

pytestmark = [pytest.mark.deploy, pytest.mark.process, pytest.mark.timeout(180)]

RUN = "watched"
SIZE = 2_000
NEVER_IN_HEALTH = {
    "ALERTS": {"alertstate", "alertname"},
    "chronos_rpc_seconds_count": {"code"},
}
"""Series and labels whose chosen values a healthy system does not have."""


@dataclass(frozen=True)
class System:
    prometheus: str
    coordinator: str

    def ask(self, expression: str) -> list[dict[str, Any]]:
        filled = expression.replace("$__rate_interval", "10s").replace("$run", ".*")
        return query(self.prometheus, filled)


def python(module: str, *flags: str, name: str) -> ManagedProcess:
    argv = [sys.executable, "-m", module, *flags, "--log-format=json"]
    return ManagedProcess(argv, name=name, cwd=ROOT, env=child_environment(threads=1))


def a_worker(coordinator: str, name: str, *flags: str) -> ManagedProcess:
    known = (f"--coordinator={coordinator}", f"--worker-id={name}", "--problem=tests.support.*")
    return python("chronos_worker", *known, *flags, name=name)


def reachable(place: str) -> Callable[[], str | None]:
    def read() -> str | None:
        try:
            with urllib.request.urlopen(f"http://{place}", timeout=5) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, ConnectionError):
            return None

    return read


def configuration(folder: Path, targets: dict[str, int]) -> None:
    """That of the deployment, with this machine's ports and a second where it has many."""
    settings = document("prometheus.yml")
    settings["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    settings["scrape_configs"] = [
        {
            "job_name": job["job_name"],
            "static_configs": [{"targets": [f"127.0.0.1:{targets[job['job_name']]}"]}],
        }
        for job in settings["scrape_configs"]
    ]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    (folder / "rules.yml").write_text(
        (PROMETHEUS / "rules.yml").read_text(encoding="utf-8"), encoding="utf-8"
    )


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A run that is being optimised, with compression, a worker that keeps state, a refusal and a retry in its past.

    Beside it a data plan and a clan.
    """
    folder = tmp_path_factory.mktemp("live")
    ports = {"chronos-coordinator": free_port(), "chronos-worker": free_port()}
    address, prometheus = (f"127.0.0.1:{free_port()}" for _ in range(2))
    configuration(folder, ports)
    worker = a_worker(
        address, "w", f"--state-dir={folder / 'state'}", f"--metrics-port={ports['chronos-worker']}"
    )
    coordinator = python(
        "chronos_coordinator",
        f"--port={address.rpartition(':')[2]}",
        f"--store-path={folder / 'store'}",
        "--store-snapshot-entries=20",
        "--fleet-heartbeat-seconds=0.2",
        "--fleet-timeout-seconds=2.0",
        f"--metrics-port={ports['chronos-coordinator']}",
        name="coordinator",
    )
    server = ManagedProcess(
        [
            *tool("prometheus", folder),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'series'}",
            f"--web.listen-address={prometheus}",
        ],
        name="prometheus",
        cwd=folder,
    )
    with ProcessGroup() as group:
        group.add(server)
        group.add(worker)
        shown = reachable(f"127.0.0.1:{ports['chronos-worker']}/metrics")
        poll(lambda: "chronos_worker_retries_total{" in (shown() or ""), "a retry", timeout_seconds=60)
        group.add(coordinator)
        coordinator.wait_ready(60)
        worker.wait_ready(60)
        begin(address)
        poll(reachable(f"{prometheus}/-/ready"), "Prometheus", timeout_seconds=60)
        with busy_jobs(address):
            yield System(prometheus, address)


def begin(address: str) -> None:
    work = WorkSpec(
        problem="tests.support.problems:Shifts", problem_config=json.dumps({"size": SIZE}), inner_steps=2
    )
    compression = CompressionConfig.named("topk10+int8", "topk10+int8")
    config, start = describe_run(
        Shifts(size=SIZE), work=work, rounds=RoundConfig(quorum=1), compression=compression
    )
    config = replace(config, memory=MemoryConfig())
    with SyncCoordinatorClient(address) as client:
        client.create_run(config, encode("identity", start), run_id=RUN)
        stranger = client.register("stranger", "instance")
        with pytest.raises(WorkerNotMemberError):
            client.commit(
                RUN,
                worker_id="stranger",
                incarnation=stranger.incarnation,
                seq=1,
                prev_applied=0,
                base=10**6,
                payload=encode("identity", start),
            )
        client.deregister("stranger", stranger.incarnation)


def test_every_query_has_an_answer_from_a_running_system(system: System) -> None:
    queries = {rule["record"] for rule in RECORDED} | {target["expr"] for _, target in TARGETS}
    for text in sorted(queries):
        poll(lambda text=text: system.ask(text), f"an answer to {text}", timeout_seconds=60)


def test_every_chosen_value_of_a_label_is_exported_by_a_running_system(system: System) -> None:
    expressions = [rule["expr"] for rule in RULES] + [target["expr"] for _, target in TARGETS]
    for selector in (found for text in expressions for found in selected(parse(text))):
        assert selector.name is not None
        for matcher in selector.matchers.matchers:
            if matcher.name in NEVER_IN_HEALTH.get(selector.name, ()) or matcher.name == "run":
                continue
            for value in re.fullmatch(r"[\w.*|-]+", matcher.value)[0].split("|"):  # type: ignore[index]
                series = f'{selector.name}{{{matcher.name}=~"{value}"}}'
                poll(lambda series=series: system.ask(series), f"a series {series}", timeout_seconds=60)


def test_what_the_headline_shows_is_what_compression_saves(system: System) -> None:
    # The first messages, a whole version among them, save nothing: the ratio gets there as the run goes on.
    saved = "run:chronos_traffic_saved:ratio5m > 0.6"
    [sample] = poll(lambda: system.ask(saved), "a headline", timeout_seconds=60)
    assert float(sample["value"][1]) < 1.0
    [version] = system.ask("chronos_version")
    assert version["metric"]["run"] == RUN


def test_health_is_silent_until_a_worker_dies(system: System) -> None:
    poll(lambda: system.ask("run:chronos_versions:rate5m > 0"), "versions", timeout_seconds=60)
    assert system.ask('ALERTS{alertstate="firing"}') == []
    with a_worker(system.coordinator, "mortal", "--metrics-port=none") as mortal:
        mortal.wait_ready(60)
        all_there = f"chronos_live_workers == {2 + MEMBERS}"
        poll(lambda: system.ask(all_there), "one worker more", timeout_seconds=60)
        mortal.send_signal(signal.SIGKILL)
        lost = 'ALERTS{alertname="ChronosWorkersLost", alertstate="firing", severity="warning"}'
        poll(lambda: system.ask(lost), "the alert", timeout_seconds=60)
