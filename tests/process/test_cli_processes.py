"""`chronos` as a user runs it: real processes, a problem in the user's own file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from chronos_common.cli.imports import import_path
from chronos_common.cli.offline import state_offline
from chronos_common.engine.local import optimize
from chronos_common.outer import OuterConfig
from chronos_common.problem import load_problem
from tests.support.polling import poll

pytestmark = pytest.mark.process

PROBLEM = '''
import torch
from torch import nn
from chronos_common.problem import ModuleProblem, OuterParameter

def data(seed, size):
    x = torch.randn(size, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return x, x @ torch.tensor([[1.0], [-2.0], [0.5], [0.0], [0.0]], dtype=torch.float64)

def penalty(params, outer):
    return (outer["decay"] * params["weight"].square()).sum()

class OwnRidge(ModuleProblem):
    """Weight decay for each feature, on mini-batches."""
    def __init__(self):
        torch.manual_seed(1)
        super().__init__(
            nn.Linear(5, 1, bias=False, dtype=torch.float64), data(1, 40), data(2, 30),
            outer={"decay": OuterParameter(torch.full((5,), 0.1, dtype=torch.float64), scale="log"),
                   "shift": OuterParameter(torch.tensor(0.5, dtype=torch.float64), bounds=(0.0, 0.6))},
            loss=nn.functional.mse_loss, regulariser=lambda p, o: penalty(p, o) + o["shift"] * p["weight"].sum(),
            learning_rate=0.05, momentum=0.5, batch_size=8, validation_batch_size=10,
        )
'''


class User:
    """Somebody in a directory of their own, who can find every process that came of a command."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.mark = f"chronos-test-{uuid.uuid4().hex}"
        (home / "own_problem.py").write_text(PROBLEM)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "chronos_common.cli", *arguments],
            cwd=self.home,
            env={**os.environ, "TEST_MARK": self.mark, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
        out, err = process.communicate(timeout=110)
        assert process.returncode == code, err
        return out, err

    def run(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        return self.finish(self.start(*arguments), code)

    def processes(self) -> list[int]:
        """Processes that carry this user's mark in their environment."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
        return found


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    user = User(tmp_path)
    yield user
    left = user.processes()
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, "a command left processes behind"


def test_one_worker_equals_the_single_process_loop(user: User) -> None:
    options = (
        "--versions 12 --inner-steps 7 --seed 3 --local 1 --quorum 1 --learning-rate 0.2 --run-id same --json"
    )
    out, err = user.run("run", "own_problem:OwnRidge", *options.split())
    assert err == ""
    document = json.loads(out)
    assert (document["status"], document["version"], document["staleness"]) == ("finished", 12, {"0": 12})
    bounds = [(parameter["lower"], parameter["upper"]) for parameter in document["config"]["parameters"]]
    assert bounds == [(None, None), (0.0, 0.6)]

    served = state_offline(str(user.home / "chronos-data"), "same")
    with import_path([user.home]):
        problem = load_problem("own_problem:OwnRidge", allow=["own_problem:*"])
        local = optimize(problem, outer=OuterConfig(learning_rate=0.2), versions=12, inner_steps=7, seed=3)
    del sys.modules["own_problem"]
    for name, value in local.stored.items():
        np.testing.assert_allclose(served.published[name], value, rtol=1e-12, atol=1e-12)
        shown = document["outer"][name]["values"]
        np.testing.assert_allclose(shown, local.outer[name].numpy(), rtol=1e-12, atol=1e-12)
    moved = [
        float(np.abs(local.stored[name] - start).max())
        for name, start in (("decay", np.log(0.1)), ("shift", 0.5))
    ]
    assert min(moved) > 0.05


def test_a_problem_that_always_diverges_has_not_succeeded(user: User) -> None:
    problem = user.home / "own_problem.py"
    problem.write_text(PROBLEM.replace("penalty(p, o) +", "float('nan') *"))
    out, err = user.run("run", "own_problem:OwnRidge", "--versions", "3", "--local", "1", code=1)
    assert "3 accepted (3 skipped)" in out
    last = err.splitlines()[-1]
    assert "no update was ever applied" in last
    assert last.endswith("chronos-data/logs/worker-*.log")


def test_a_terminated_run_says_how_to_go_on(user: User) -> None:
    process = user.start(
        "run", "own_problem:OwnRidge", "--versions", "0", "--local", "1", "--run-id", "ended"
    )
    assert process.stderr is not None
    assert any("round" in line for line in iter(process.stderr.readline, ""))
    process.send_signal(signal.SIGTERM)
    _, err = user.finish(process, 143)
    assert "terminated at version" in err
    assert "--run-id ended goes on" in err
    assert "Traceback" not in err


def test_an_interrupted_run_leaves_nothing_behind_and_goes_on(user: User) -> None:
    command = ["run", "own_problem:OwnRidge", "--versions", "80", "--inner-steps", "5", "--run-id", "long"]
    process = user.start(*command, "--local", "2")
    assert process.stderr is not None
    lines = iter(process.stderr.readline, "")
    assert any(line.startswith("long: round") for line in lines)
    process.send_signal(signal.SIGINT)
    rest = "".join(lines)
    assert process.wait(60) == 130
    process.stderr.close()
    assert process.stdout is not None
    process.stdout.close()
    assert "interrupted at version" in rest
    assert "Traceback" not in rest
    assert user.processes() == []
    reached = state_offline(str(user.home / "chronos-data"), "long").version
    assert 0 < reached < 80

    out, _ = user.run(*command, "--local", "1", "--json")
    assert json.loads(out)["version"] == 80
    out, _ = user.run("verify", "long", "--store", "chronos-data")
    assert out.startswith("run long is clean: replayed 80 versions")
    user.run("export", "long", "--store", "chronos-data", "--out", "long.safetensors")
    tensors = load_file(user.home / "long.safetensors")
    assert sorted(tensors) == ["inner.weight", "outer.decay", "outer.shift"]
    assert tensors["inner.weight"].shape == (1, 5)


def test_a_killed_command_takes_its_processes_with_it(user: User) -> None:
    process = user.start("run", "own_problem:OwnRidge", "--versions", "0", "--local", "1")
    assert process.stderr is not None
    assert any("round" in line for line in iter(process.stderr.readline, ""))
    assert len(user.processes()) == 3
    process.kill()
    process.communicate()
    poll(lambda: not user.processes(), "the end of its children")


def test_a_failing_worker_is_one_line_with_the_path_of_its_log(user: User) -> None:
    # The command can import the problem; its workers, which are told another directory first, cannot.
    problem = user.home / "own_problem.py"
    problem.write_text(
        PROBLEM.replace(
            "class OwnRidge",
            "import sys\nif 'chronos_worker' in sys.argv[0]:\n    raise ImportError('no licence')\n\nclass OwnRidge",
        )
    )
    _, err = user.run("run", "own_problem:OwnRidge", "--local", "1", code=1)
    last = err.splitlines()[-1]
    assert last.startswith("chronos: error: worker 1 ended with exit code 1 (")
    assert "no licence" in last
    assert last.endswith("its log is chronos-data/logs/worker-1.log")
