"""`chronos memory`, and the options of `run` that concern it, with a coordinator that is none."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from chronos_common.cli import warm_start
from chronos_common.cli.warm_start import NewRun, choose
from chronos_common.codec import encode
from chronos_common.engine import RunConfig, WorkSpec
from chronos_common.engine.local import describe_run
from chronos_common.engine.views import MemoryView
from chronos_common.engine.warm_start import WarmStartCandidate
from chronos_common.errors import ConfigurationError, RunNotFoundError
from chronos_common.hypergradient import make_estimator
from chronos_common.outer.memory import Counts, LossTrend, Neighbour, Prediction
from examples.ridge import Ridge
from tests.support.fake_client import Cli, FakeClient

NAN = math.nan
VIEW = MemoryView(
    entries=2,
    size_bytes=4096,
    max_entries=1000,
    max_bytes=16 << 20,
    counts=Counts(stored=3, evicted=1, hits=2, predictions=2, failures=1, shortened=4),
    mean_cosine=0.75,
    trend=LossTrend(entries=2, slope=-0.5, first=1.0, last=0.5, best=0.25, best_version=7),
    forbidden=((3, 0.1, "burst"),),
)
NEIGHBOUR = Neighbour(
    number=5,
    version=4,
    loss=0.5,
    source="notebook",
    distance=0.125,
    cosine=0.9,
    relevance=1.5,
    half=True,
    values={},
    gradient={},
)
OFFERS = [
    WarmStartCandidate(run_id="s1", version=9, outer_loss=0.5, similarity=1.0, optimizer_state=True),
    WarmStartCandidate(
        run_id="s2", version=3, outer_loss=None, similarity=0.0, optimizer_state=False, problem="it has bias"
    ),
]


@pytest.fixture
def remembering(fake: type[FakeClient], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    answers: dict[str, Any] = {
        "describe_memory": VIEW,
        "retrieve_similar": [NEIGHBOUR],
        "predict_gradient": Prediction(
            gradient={"decay": np.array([1.0, 2.0])}, neighbours=3, nearest=0.5, loss=NAN, cosine=0.25
        ),
        "find_warm_starts": OFFERS,
    }
    for name in answers:
        monkeypatch.setattr(
            FakeClient, name, lambda self, *_, _name=name, **__: answers[_name], raising=False
        )
    return answers


@pytest.mark.usefixtures("remembering")
class TestCommands:
    def test_show(self, cli: Cli) -> None:
        done = cli("memory", "show", "r1")
        assert done.code == 0, done.err
        for part in ("2 of at most 1000", "3 stored, 1 evicted", "0.75", "shortened 4", "burst", "version 7"):
            assert part in done.out
        found = json.loads(cli("memory", "show", "r1", "--json").out)
        assert (found["entries"], found["bytes"], found["shortened"]) == (2, 4096, 4)
        assert found["trend"]["best_version"] == 7
        assert found["forbidden"] == [{"version": 3, "radius": 0.1, "reason": "burst"}]

    def test_similar(self, cli: Cli) -> None:
        assert "notebook" in cli("memory", "similar", "r1", "-k", "3").out
        (entry,) = json.loads(cli("memory", "similar", "r1", "--json").out)["entries"]
        assert (entry["number"], entry["distance"], entry["half"]) == (5, 0.125, True)

    def test_predict(self, cli: Cli) -> None:
        assert "from 3 entries" in cli("memory", "predict", "r1").out
        found = json.loads(cli("memory", "predict", "r1", "--json").out)
        assert (found["neighbours"], found["loss"], found["mean_cosine"]) == (3, None, 0.25)
        assert found["gradient"]["decay"] == {"shape": [2], "values": [1.0, 2.0]}

    def test_sources(self, cli: Cli) -> None:
        out = cli("memory", "sources", "r1").out
        assert "s1" in out
        assert "it has bias" in out
        found = json.loads(cli("memory", "sources", "r1", "--json").out)["sources"]
        assert [one["problem"] for one in found] == ["", "it has bias"]


def test_nothing_to_show_is_said(cli: Cli, remembering: dict[str, Any]) -> None:
    remembering["retrieve_similar"] = []
    remembering["find_warm_starts"] = []
    remembering["predict_gradient"] = Prediction(
        gradient={}, neighbours=0, nearest=math.inf, loss=NAN, cosine=NAN
    )
    assert "remembers nothing yet" in cli("memory", "similar", "r1").out
    assert "remembers nothing yet" in cli("memory", "predict", "r1").out
    assert "no other run" in cli("memory", "sources", "r1").out
    assert json.loads(cli("memory", "predict", "r1", "--json").out)["nearest"] is None


def test_a_setting_that_is_none_is_refused(cli: Cli, fake: type[FakeClient]) -> None:
    for setting, message in (
        ("size=3", "no such setting"),
        ("decay=2", "at most 1"),
        ("decay=x", "wrong type"),
    ):
        done = cli("run", "lab:Problem", "--memory-set", setting)
        assert done.code == 2
        assert message in " ".join(done.err.split())


class Source:
    """A coordinator with some finished runs, by their λ."""

    def __init__(self, config: RunConfig, offers: dict[str, float], problem: str = "") -> None:
        self.config, self.offers, self.problem, self.exists = config, offers, problem, False

    def get_run(self, run_id: str) -> None:
        if not self.exists:
            raise RunNotFoundError(f"there is no run {run_id!r}")

    def find_warm_starts(self, config: RunConfig, *, run_id: str = "") -> list[WarmStartCandidate]:
        found = [replace(OFFERS[0], run_id=name, problem=self.problem) for name in self.offers]
        return [one for one in found if run_id in ("", one.run_id)]


@pytest.fixture
def new_run() -> NewRun:
    problem = Ridge(6)
    config, start = describe_run(problem, work=WorkSpec(inner_steps=200))
    return NewRun(
        config=config,
        payload=encode("identity", start),
        problem=problem,
        estimator=make_estimator("implicit"),
    )


@pytest.fixture(autouse=True)
def values(monkeypatch: pytest.MonkeyPatch) -> None:
    class Newest:
        def __init__(self, value: float) -> None:
            self.stored = {"decay": np.full(6, math.log(value))}

    monkeypatch.setattr(
        warm_start, "newest_values", lambda client, run_id, _config: Newest(client.offers[run_id])
    )


def chosen(new_run: NewRun, offers: dict[str, float], wanted: str, **more: Any) -> str:
    client: Any = Source(new_run.config, offers, **more)
    return choose(client, new_run, wanted, run_id="new")


def test_the_start_with_the_lower_loss_is_taken(new_run: NewRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert chosen(new_run, {"good": 1e-3}, "good") == "good"
    assert "begins from good" in capsys.readouterr().err
    assert chosen(new_run, {"bad": 9.0}, "bad") == ""
    assert "begins from the cold start" in capsys.readouterr().err


def test_auto_tries_the_first_few_and_begins_cold_without_any(new_run: NewRun) -> None:
    assert (
        chosen(new_run, {"bad": 9.0, "good": 1e-3, "worse": 10.0, "best, too late": 1e-4}, "auto") == "good"
    )
    assert chosen(new_run, {}, "auto") == ""


def test_a_named_run_that_cannot_be_used_is_an_error(new_run: NewRun) -> None:
    with pytest.raises(ConfigurationError, match="it has bias"):
        chosen(new_run, {"other": 1.0}, "other", problem="it has bias")
    assert chosen(new_run, {"other": 1.0}, "auto", problem="it has bias") == ""


def test_a_run_that_is_there_already_goes_on_as_it_began(new_run: NewRun) -> None:
    client: Any = Source(new_run.config, {"good": 1e-3})
    client.exists = True
    assert choose(client, new_run, "good", run_id="new") == ""
