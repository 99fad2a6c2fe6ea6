"""`chronos data`, with a coordinator that is none."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from chronos_common.data import PlanConfig
from chronos_common.data.definition import DataPlanConfig
from chronos_common.data.views import DataView, MemberView
from chronos_common.errors import DataPlanNotFoundError
from tests.support.fake_client import Cli, FakeClient

VIEW = DataView(
    plan_id="speech",
    config=DataPlanConfig(samples=1000, plan=PlanConfig(batch_size=100)),
    sized=1000,
    first_missing=1000,
    epoch=2,
    next_step=4,
    turns=25,
    finished=250,
    open=150,
    returned=0,
    over=False,
    imbalance=1.0625,
    members=(
        MemberView(
            worker_id="w1",
            incarnation=1,
            rank=-1,
            node=0,
            alpha_seconds=0.25,
            beta_seconds=0.125,
            finished=99,
            open_shares=2,
        ),
    ),
)


@pytest.fixture
def plans(fake: type[FakeClient], monkeypatch: pytest.MonkeyPatch) -> list[DataView]:
    views = [VIEW]

    def describe(_: FakeClient, plan_id: str) -> DataView:
        if plan_id != "speech":
            raise DataPlanNotFoundError(f"there is no data plan {plan_id!r}; list the plans to see their ids")
        return views.pop(0) if len(views) > 1 else views[0]

    monkeypatch.setattr(FakeClient, "describe_data", describe, raising=False)
    monkeypatch.setattr(FakeClient, "list_data_plans", lambda _: list(views), raising=False)
    return views


@pytest.mark.usefixtures("plans")
def test_show_says_how_a_plan_stands_and_how_fast_members_are(cli: Cli) -> None:
    done = cli("data", "show", "speech")
    assert done.code == 0
    for text in ("250 of 1,000", "4 of 10 dealt", "1.0625", "w1", "0.125", "all there"):
        assert text in done.out
    facts: dict[str, Any] = json.loads(cli("data", "show", "speech", "--json").out)
    assert (facts["plan_id"], facts["steps"], facts["members"][0]["beta_seconds"]) == ("speech", 10, 0.125)


def test_list_names_every_plan(cli: Cli, plans: list[DataView]) -> None:
    assert "speech" in cli("data", "list").out
    assert [plan["plan_id"] for plan in json.loads(cli("data", "list", "--json").out)["plans"]] == ["speech"]
    plans.clear()
    assert "no data plan" in cli("data", "list").out


def test_watch_goes_on_until_the_epoch_is_over(cli: Cli, plans: list[DataView]) -> None:
    plans[:] = [replace(VIEW, sized=5, first_missing=5, imbalance=None), VIEW, replace(VIEW, over=True)]
    lines = cli("data", "watch", "speech", "--every", "0.05").out.splitlines()
    assert len(lines) == 3
    assert "imbalance -" in lines[0]
    assert lines[2].endswith("over")


@pytest.mark.usefixtures("plans")
def test_watch_prints_as_many_lines_as_asked_for(cli: Cli) -> None:
    done = cli("data", "watch", "speech", "--every", "0.05", "--count", "2", "--json")
    assert done.out.count('"plan_id"') == 2


@pytest.mark.usefixtures("plans")
def test_an_unknown_plan_is_one_line(cli: Cli) -> None:
    done = cli("data", "show", "nothing")
    assert done.code == 1
    assert "chronos data list" in done.err
