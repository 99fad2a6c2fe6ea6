"""`export`, and reading a store without a coordinator."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from chronos_common.cli.offline import state_offline, verify_offline
from chronos_common.codec import encode
from chronos_common.engine import ACTIVE, Created, RunConfig, WorkSpec, to_parts
from chronos_common.errors import RunNotFoundError, StoreError
from chronos_common.outer import OuterSpec
from chronos_common.store import JournalEntry, RunRecord, open_store
from tests.support.fake_client import SPECS, Cli, FakeClient, run_view

PROBLEM = """
import torch
from chronos_common.problem import InnerProblem, InnerState, OuterParameter, Task

class Two(InnerProblem):
    inner_learning_rate = 1.0
    def __init__(self, tasks=1):
        self.names = [f"task{i}" for i in range(tasks)]
    def outer_parameters(self):
        return {"decay": OuterParameter(torch.ones(2, dtype=torch.float64), scale="log")}
    def tasks(self, ctx):
        return [Task(index=i, name=name) for i, name in enumerate(self.names)]
    def init_inner(self, outer, ctx):
        return InnerState({"theta": torch.zeros(2, dtype=torch.float64)}, {"count": torch.tensor([3.0])})
    def inner_loss(self, inner, outer, batch, ctx):
        return 0.5 * (inner.params["theta"] - outer["decay"]).square().sum()
"""


@pytest.fixture
def problems(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A directory with a module of a name that no other test uses."""
    folder = tmp_path / "problems"
    folder.mkdir()
    (folder / "two_problem.py").write_text(PROBLEM)
    return folder


def config(tasks: int = 1, path: str = "two_problem:Two") -> RunConfig:
    work = WorkSpec(problem=path, problem_config=json.dumps({"tasks": tasks}), inner_steps=1)
    return RunConfig(parameters=SPECS, work=work)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with the run ``r1`` at version 0, where u = log λ = (0, log 2)."""
    folder = tmp_path / "store"
    created = Created(
        config=config().to_json(), payload=encode("identity", {"decay": np.log(np.array([1.0, 2.0]))})
    )
    kind, meta, payload = to_parts(created)
    opened = open_store(folder)
    opened.acquire("test")
    record = RunRecord(run_id="r1", status=ACTIVE, config=created.config, created_at=1.0)
    opened.create_run(record, [JournalEntry(seq=1, kind=kind, time=1.0, meta=meta, payload=payload)]).result()
    opened.close()
    return folder


def test_a_store_is_verified_and_read_without_a_coordinator(store: Path, cli: Cli) -> None:
    assert verify_offline(str(store), "r1").clean
    assert state_offline(str(store), "r1").version == 0
    done = cli("verify", "r1", "--store", str(store))
    assert (done.code, done.out) == (
        0,
        "run r1 is clean: replayed 0 versions from 1 journal entries, beginning at the first\n",
    )


def test_a_run_or_store_that_is_not_there_is_named(store: Path, tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError, match="it holds: r1"):
        verify_offline(str(store), "r2")
    with pytest.raises(StoreError):
        verify_offline(str(tmp_path / "nothing"), "r1")


def test_export_writes_natural_values_and_the_solved_state(
    store: Path, problems: Path, cli: Cli, tmp_path: Path
) -> None:
    out = tmp_path / "deep" / "r1.safetensors"
    done = cli("export", "r1", "--store", str(store), "--path", str(problems), "--out", str(out))
    assert done.code == 0, done.err
    tensors = load_file(out)
    np.testing.assert_allclose(tensors["outer.decay"], [1.0, 2.0], rtol=1e-15)
    np.testing.assert_allclose(tensors["inner.theta"], [1.0, 2.0], rtol=1e-15)
    assert tensors["inner.count"].tolist() == [3.0]
    with safe_open(out, "numpy") as file:
        metadata = file.metadata()
    assert (metadata["run_id"], metadata["version"]) == ("r1", "0")
    assert metadata["digest"] == state_offline(str(store), "r1").digest


def test_numbers_stay_numbers(fake: type[FakeClient], cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "number_problem.py").write_text(
        """
import torch
from chronos_common.problem import InnerProblem, InnerState, OuterParameter

class Number(InnerProblem):
    def outer_parameters(self):
        return {"rate": OuterParameter(torch.tensor(1.0, dtype=torch.float64), scale="log"), "shift": 1.0}
    def init_inner(self, outer, ctx):
        return InnerState({"theta": torch.tensor(0.0), "wide": torch.zeros(3, 2).T})
    def inner_loss(self, inner, outer, batch, ctx):
        return inner.params["theta"] ** 2 + inner.params["wide"].sum()
"""
    )
    specs = (
        OuterSpec(name="rate", shape=(), dtype="float64", scale="log"),
        OuterSpec(name="shift", shape=(), dtype="float32"),
    )
    work = WorkSpec(problem="number_problem:Number", inner_steps=1)
    fake.runs["r1"] = run_view(config=RunConfig(parameters=specs, work=work))
    out = tmp_path / "r1.safetensors"
    done = cli("export", "r1", "--path", str(tmp_path), "--out", str(out))
    assert (done.code, done.err) == (0, "")
    shapes = {name: value.shape for name, value in load_file(out).items()}
    assert shapes == {"outer.rate": (), "outer.shift": (), "inner.theta": (), "inner.wide": (2, 3)}


def test_several_tasks_have_their_own_names(
    fake: type[FakeClient], problems: Path, cli: Cli, tmp_path: Path
) -> None:
    fake.runs["r1"] = run_view(config=config(tasks=2))
    out = tmp_path / "r1.safetensors"
    done = cli("export", "r1", "--path", str(problems), "--out", str(out), "--json")
    assert json.loads(done.out)["tensors"] == [
        "inner.task0.count",
        "inner.task0.theta",
        "inner.task1.count",
        "inner.task1.theta",
        "outer.decay",
    ]


@pytest.mark.parametrize("path", ["absent_problem:Two", ""])
def test_without_the_problem_the_outer_parameters_are_still_written(
    fake: type[FakeClient], cli: Cli, tmp_path: Path, path: str
) -> None:
    work = WorkSpec(problem=path)
    fake.runs["r1"] = run_view(config=RunConfig(parameters=SPECS, work=work))
    out = tmp_path / "r1.safetensors"
    done = cli("export", "r1", "--out", str(out))
    assert done.code == 0
    assert done.err.startswith("chronos: θ is left out: ")
    assert list(load_file(out)) == ["outer.decay"]


def test_outer_only_says_nothing_about_the_rest(fake: type[FakeClient], cli: Cli, tmp_path: Path) -> None:
    done = cli("export", "r1", "--out", str(tmp_path / "x"), "--outer-only")
    assert (done.code, done.err) == (0, "")


def test_a_file_that_cannot_be_written_is_named(fake: type[FakeClient], cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = cli("export", "r1", "--out", str(tmp_path / "file" / "x"), "--outer-only")
    assert done.code == 2
    assert "cannot write" in done.err
