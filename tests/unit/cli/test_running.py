"""`run`: what it creates, where, and what it shows."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from chronos_common.cli import running
from chronos_common.cli.cluster import ClusterConfig
from chronos_common.compression import GuardConfig
from chronos_common.engine import VersionRecord
from chronos_common.errors import ProcessError
from chronos_common.outer import OuterConfig
from tests.support.fake_client import Cli, FakeClient, run_view, version_record

PROBLEM = """
import torch
from chronos_common.problem import InnerProblem, InnerState, OuterParameter

class Ridge(InnerProblem):
    def __init__(self, size=2):
        self.size = int(size)
    def outer_parameters(self):
        return {"decay": OuterParameter(torch.ones(self.size, dtype=torch.float64), scale="log", bounds=(1e-6, 100.0))}
    def init_inner(self, outer, ctx):
        return InnerState({"theta": torch.zeros(2, dtype=torch.float64)})
    def inner_loss(self, inner, outer, batch, ctx):
        return (outer["decay"] * inner.params["theta"].square()).sum()
    def outer_loss(self, inner, outer, batch, ctx):
        return inner.params["theta"].sum()

class OnlyOuter(InnerProblem):
    def outer_parameters(self):
        return {"decay": 1.0}
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    folder = tmp_path / "problems"
    folder.mkdir()
    (folder / "ridge_for_run.py").write_text(PROBLEM)
    return str(folder)


class FakeCluster:
    """Stands in for ``LocalCluster``."""

    started: list[ClusterConfig]
    address = "local:1"

    def __init__(self, config: ClusterConfig) -> None:
        self.started.append(config)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def check(self) -> None:
        return


@pytest.fixture
def world(
    fake: type[FakeClient], monkeypatch: pytest.MonkeyPatch
) -> tuple[type[FakeClient], type[FakeCluster]]:
    """Neither processes nor a coordinator: a run that is followed finishes."""

    def follow(
        client: FakeClient, run_id: str, *, on_version: Callable[[VersionRecord], object], **options: object
    ) -> str:
        on_version(version_record(1))
        client.finish(run_id)
        return "finished"

    FakeCluster.started = []
    monkeypatch.setattr(running, "follow", follow)
    monkeypatch.setattr(running, "LocalCluster", FakeCluster)
    return fake, FakeCluster


World = tuple[type[FakeClient], type[FakeCluster]]


def test_without_a_coordinator_it_starts_one_that_allows_this_problem_only(
    cli: Cli, world: World, path: str, tmp_path: Path
) -> None:
    fake, cluster = world
    done = cli("run", "ridge_for_run:Ridge", "--path", path, "--data", str(tmp_path / "d"), "--versions", "7")
    assert done.code == 0, done.err
    (started,) = cluster.started
    assert started.problems == ("ridge_for_run:Ridge",)
    assert (started.workers, started.paths) == (2, (Path(path),))
    assert (started.store, started.logs) == (tmp_path / "d", tmp_path / "d" / "logs")
    config, _, run_id = fake.created[0]
    assert started.run_id == run_id
    assert run_id.startswith("ridge-")
    assert config.max_versions == 7
    assert "outer.decay  1, 1" in done.out
    assert "finished (reached max_versions)" in done.out


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("speed=3", "no such rule"),
        ("quorum=3", "no such rule"),
        ("merge=loudest", "merges are"),
        ("trim=0.2", "only 'trimmed_mean' trims"),
        ("decay=half", "wrong type"),
        ("max_in_flight=1", "raise max_in_flight"),
        ("max_in_flight=NaN", "a whole number"),
        ("grace_seconds=-1", "0 or more"),
        ("grace_seconds=1e9", "above the longest lease"),
    ],
)
def test_rules_that_cannot_be_are_refused(cli: Cli, path: str, setting: str, message: str) -> None:
    done = cli("run", "ridge_for_run:Ridge", "--path", path, "--round-set", setting)
    assert done.code == 2
    assert message in " ".join(done.err.split())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("up.name=int8", "no such setting"),
        ("speed=3", "no such setting"),
        ("down.index_encoding=huffman", "choose one of"),
        ("significance.minimum=2", "thresholds cross"),
        ("significance.max_skips=NaN", "a whole number"),
        ("guard.calm_ratio=1", "thresholds cross"),
        ("keep_versions=-1", "0 or more"),
    ],
)
def test_compression_that_cannot_be_is_refused(
    cli: Cli, world: World, path: str, setting: str, message: str
) -> None:
    done = cli("run", "ridge_for_run:Ridge", "--path", path, "--compress-set", setting)
    assert done.code == 2
    assert message in " ".join(done.err.split())
    assert not world[1].started


def test_a_quorum_beyond_the_workers_that_are_started_is_refused(cli: Cli, world: World, path: str) -> None:
    done = cli("run", "ridge_for_run:Ridge", "--path", path, "--local", "3", "--quorum", "4")
    assert done.code == 2
    assert "3 workers are started here" in " ".join(done.err.split())
    assert not world[1].started
    assert cli("run", "ridge_for_run:Ridge", "--path", path, "--local", "4", "--quorum", "4").code == 0


def test_every_option_arrives(cli: Cli, world: World, path: str) -> None:
    fake, cluster = world
    options = (
        "--set size=3 --estimator unrolled --estimator-set truncation=2 --inner-steps 9 --seed 5 "
        "--evaluate-every 0 --outer-optimizer sgd --learning-rate 0.5 --momentum 0.9 --max-staleness 4 "
        "--compress-up int8 --compress-down topk20 --cold-start --quorum 2 --round-set merge=trimmed_mean "
        "--round-set trim=0.2 --round-set grace_seconds=0.5 --run-id mine --coordinator lab:7 --json "
        "--compress-set significance.minimum=0.5 --compress-set significance.maximum=2 "
        "--compress-set down.index_encoding=block16 --compress-set keep_versions=9"
    )
    levels = ("--outer-set", "beta1=0.5", "--level", "slow * period=7 optimizer=adamw")
    done = cli("run", "ridge_for_run:Ridge", "--path", path, *options.split(), *levels)
    assert done.code == 0, done.err
    assert json.loads(done.out)["run_id"] == "mine"
    assert done.err == ""
    assert not cluster.started
    assert set(fake.addresses) == {"lab:7"}
    config, _, run_id = fake.created[0]
    assert run_id == "mine"
    assert config.parameters[0].shape == (3,)
    assert json.loads(config.work.problem_config) == {"size": 3}
    assert (config.work.estimator, json.loads(config.work.estimator_config)) == (
        "unrolled",
        {"truncation": 2},
    )
    assert (config.work.inner_steps, config.work.seed, config.work.evaluate_every) == (9, 5, 0)
    assert config.work.cold_start
    assert (config.outer.name, config.outer.learning_rate, config.outer.momentum) == ("sgd", 0.5, 0.9)
    assert config.outer.beta1 == 0.5
    (slow,) = config.outer.levels
    assert (slow.name, slow.period, slow.optimizer) == ("slow", 7, OuterConfig(name="adamw"))
    assert (config.compression.up.name, config.compression.down.name) == ("int8", "topk20")
    assert (config.compression.significance.minimum, config.compression.significance.maximum) == (0.5, 2)
    assert (config.compression.down.index_encoding, config.compression.keep_versions) == ("block16", 9)
    assert config.compression.guard == GuardConfig()
    assert (config.rounds.merge, config.rounds.trim, config.rounds.grace_seconds) == (
        "trimmed_mean",
        0.2,
        0.5,
    )
    assert (config.rounds.max_staleness, config.rounds.max_in_flight, config.rounds.quorum) == (4, 5, 2)


def test_the_environment_names_a_coordinator_unless_local_is_asked_for(
    cli: Cli, world: World, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, cluster = world
    monkeypatch.setenv("CHRONOS_CLI__COORDINATOR", "lab:7")
    assert cli("run", "ridge_for_run:Ridge", "--path", path).code == 0
    assert not cluster.started
    assert cli("run", "ridge_for_run:Ridge", "--path", path, "--local", "3").code == 0
    assert cluster.started[0].workers == 3


@pytest.mark.parametrize("as_json", [False, True])
def test_detached_it_returns_at_once(cli: Cli, world: World, path: str, as_json: bool) -> None:
    options = ["--coordinator", "lab:7", "--detach", "--run-id", "mine"] + (["--json"] if as_json else [])
    done = cli("run", "ridge_for_run:Ridge", "--path", path, *options)
    assert done.code == 0
    assert (json.loads(done.out)["status"] if as_json else "active") == "active"
    assert as_json or "chronos watch mine" in done.out


def test_a_run_that_is_over_is_shown_not_followed(
    cli: Cli, world: World, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, _ = world

    def create(self: FakeClient, config: object, payload: bytes, *, run_id: str = "") -> object:
        fake.created.append((config, payload, run_id))  # type: ignore[arg-type]
        self.runs[run_id] = run_view(run_id, config=config, status="finished", version=100)
        return self.runs[run_id]

    monkeypatch.setattr(fake, "create_run", create)
    monkeypatch.setattr(running, "follow", lambda *_, **__: pytest.fail("followed"))
    assert cli("run", "ridge_for_run:Ridge", "--path", path, "--run-id", "old").code == 0


@pytest.mark.parametrize(
    ("where", "advice"),
    [("local", "at version 0; the same command with --run-id mine goes on"), ("lab:7", "chronos watch mine")],
)
@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_ended_by_a_signal_it_says_how_to_go_on(
    cli: Cli,
    world: World,
    path: str,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    advice: str,
    number: signal.Signals,
    code: int,
    word: str,
) -> None:
    def interrupt(*_: object, **__: object) -> str:
        signal.raise_signal(number)
        pytest.fail("the signal came to nothing")

    monkeypatch.setattr(running, "follow", interrupt)
    options = [] if where == "local" else ["--coordinator", where]
    done = cli("run", "ridge_for_run:Ridge", "--path", path, "--run-id", "mine", *options)
    assert done.code == code
    assert advice in done.err
    assert done.err.count(word) == 1


def test_interrupted_where_the_coordinator_is_gone_it_still_says_how_to_go_on(
    cli: Cli, world: World, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, _ = world

    def interrupt(client: FakeClient, run_id: str, **_: object) -> str:
        fake.runs.clear()
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "follow", interrupt)
    done = cli("run", "ridge_for_run:Ridge", "--path", path, "--run-id", "mine")
    assert done.code == 130
    assert "interrupted at version unknown; the same command with --run-id mine" in done.err


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    ("where", "advice"), [("local", "d/logs/worker-*.log"), ("lab:7", "logs of the workers")]
)
def test_a_run_that_only_skipped_has_failed(
    cli: Cli, world: World, path: str, monkeypatch: pytest.MonkeyPatch, where: str, advice: str, as_json: bool
) -> None:
    def follow(client: FakeClient, run_id: str, **_: object) -> str:
        client.runs[run_id] = run_view(
            run_id, config=client.runs[run_id].config, status="finished", version=3, accepted=3, skipped=3
        )
        return "finished"

    monkeypatch.setattr(running, "follow", follow)
    monkeypatch.chdir(path)
    options = ["--data", "d"] if where == "local" else ["--coordinator", where]
    done = cli("run", "ridge_for_run:Ridge", "--run-id", "r", *options, *(["--json"] if as_json else []))
    assert done.code == 1
    assert "no update was ever applied: all 3 commits were skips" in done.err
    assert advice in done.err
    assert json.loads(done.out)["commits"]["skipped"] == 3 if as_json else "(3 skipped)" in done.out


def test_the_result_is_in_the_json(cli: Cli, world: World, path: str) -> None:
    options = ["--path", path, "--json"]
    small = json.loads(cli("run", "ridge_for_run:Ridge", *options).out)
    assert small["outer"] == {"decay": {"shape": [2], "values": [1.0, 1.0]}}
    (parameter,) = small["config"]["parameters"]
    assert (parameter["lower"], parameter["upper"]) == (1e-6, 100.0)
    large = json.loads(cli("run", "ridge_for_run:Ridge", "--set", "size=65", *options).out)
    assert large["outer"] == {"decay": {"shape": [65], "min": 1.0, "mean": 1.0, "max": 1.0}}
    text = cli("run", "ridge_for_run:Ridge", "--set", "size=65", "--path", path).out
    assert "65, from 1 to 1, mean 1" in " ".join(text.split())


def test_a_failed_process_is_one_line(
    cli: Cli, world: World, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise ProcessError("worker 1 ended with exit code 1 (no memory); its log is logs/worker-1.log")

    monkeypatch.setattr(running, "follow", fail)
    done = cli("run", "ridge_for_run:Ridge", "--path", path)
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith("chronos: error: worker 1 ended")


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (("absent_module:X",), 1, "absent_module"),
        (("ridge_for_run:Missing",), 1, "Missing"),
        (("ridge_for_run:OnlyOuter",), 1, "init_inner"),
        (("ridge_for_run:Ridge", "--set", "color=red"), 2, "color"),
        (("ridge_for_run:Ridge", "--set", "size=abc"), 2, "constructor of problem 'ridge_for_run:Ridge'"),
        (("ridge_for_run:Ridge", "--estimator", "magic"), 2, "implicit"),
        (("ridge_for_run:Ridge", "--estimator-set", "magic=1"), 2, "damping"),
        (("ridge_for_run:Ridge", "--learning-rate", "-1"), 2, "learning_rate"),
        (("ridge_for_run:Ridge", "--compress-down", "zip"), 2, "compression down: unknown pipeline 'zip'"),
        (("ridge_for_run",), 2, "package.module:ClassName"),
    ],
)
def test_what_cannot_work_is_said_before_anything_starts(
    cli: Cli, world: World, path: str, arguments: tuple[str, ...], code: int, part: str
) -> None:
    fake, cluster = world
    done = cli("run", *arguments, "--path", path)
    assert done.code == code
    assert part in done.err
    assert not cluster.started
    assert not fake.created


@pytest.mark.parametrize(
    ("problem", "name"),
    [("a.b:HyperCleaning", "hyper-cleaning-"), ("a:MAML2Demo", "maml2-demo-"), ("a:x", "x-")],
)
def test_names_are_made_of_the_problem(problem: str, name: str) -> None:
    assert running.make_name(problem).startswith(name)


def test_a_report_is_written_at_the_end(cli: Cli, world: World, path: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = cli("run", "ridge_for_run:Ridge", "--path", path, "--run-id", "mine", "--report", str(out))
    assert done.code == 0, done.err
    assert "report.png" in done.out
    assert json.loads((out / "report.json").read_text())["run_id"] == "mine"
