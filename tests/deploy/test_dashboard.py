"""The Grafana dashboard: what its source makes, whole, and of existing series only."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.support.promql import declared, labels_of, parse, selected
from tests.support.rules import DASHBOARD, PANELS, ROOT, RULES, TARGETS, recorded
from tools.dashboard.__main__ import main, render
from tools.dashboard.panels import COLUMNS

pytestmark = pytest.mark.deploy

GRAFANA = ROOT / "deploy" / "grafana"
UNITS = {"short", "s", "bytes", "Bps", "ops", "percentunit"}


def test_the_file_is_what_its_source_makes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--check"]) == 0
    copy = tmp_path / "chronos.json"
    monkeypatch.setattr("tools.dashboard.__main__.PATH", copy)
    assert main(["--check"]) == 1
    assert "python -m tools.dashboard" in capsys.readouterr().err
    assert main([]) == main(["--check"]) == 0
    assert copy.read_text(encoding="utf-8") == render()


@pytest.mark.parametrize(("title", "target"), TARGETS, ids=lambda part: part if isinstance(part, str) else "")
def test_queries_are_of_existing_series_and_legends_of_existing_labels(
    title: str, target: dict[str, Any]
) -> None:
    labels = labels_of(parse(target["expr"]), declared() | recorded())
    assert labels is not None
    spoken = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
    heatmap = target["format"] == "heatmap"
    assert spoken == labels if not heatmap else spoken == {"le"}, "a legend must tell every series apart"


@pytest.mark.parametrize(("title", "target"), TARGETS, ids=lambda part: part if isinstance(part, str) else "")
def test_what_has_a_run_follows_the_choice_of_runs(title: str, target: dict[str, Any]) -> None:
    known = declared() | recorded()
    for selector in selected(parse(target["expr"])):
        assert selector.name is not None
        chosen = {(matcher.name, matcher.value) for matcher in selector.matchers.matchers}
        assert (("run", "$run") in chosen) == ("run" in known[selector.name])


def test_every_series_of_a_run_that_rules_or_panels_leave_out_is_left_out_on_purpose() -> None:
    expressions = [target["expr"] for _, target in TARGETS]
    expressions += [rule["expr"] for rule in RULES]
    used = {selector.name for text in expressions for selector in selected(parse(text))}
    names = {re.sub("_(bucket|sum|count)$", "", name) for name in used if name is not None}
    unused = {re.sub("_(bucket|sum|count)$", "", name) for name in declared()} - names
    assert unused == {
        "chronos_worker_commits_total",  # the coordinator's count is the one that is durable
        "chronos_worker_ledger_mass",
        "chronos_worker_received_bytes_total",
        "chronos_worker_seconds_total",
        "chronos_worker_sent_bytes_total",
        "process_virtual_memory_bytes",
    }


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_panels_say_what_they_show_in_which_unit(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["targets"]
    references = [target["refId"] for target in panel["targets"]]
    assert len(set(references)) == len(references)
    for part in (panel, *panel["targets"]):
        assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def unknown_to(kept: Any, given: Any, where: str) -> set[str]:
    """Places of what was given and not kept."""
    if isinstance(given, dict) and isinstance(kept, dict):
        found = {f"{where}.{name}" for name in given.keys() - kept.keys()}
        return found.union(
            *(unknown_to(kept[n], given[n], f"{where}.{n}") for n in given.keys() & kept.keys())
        )
    if isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        return set().union(*(unknown_to(*pair, f"{where}[]") for pair in zip(kept, given, strict=True)))
    return set() if kept == given else {where}


def test_grafanas_own_model_knows_every_field() -> None:
    """Parsed and written again by Grafana's library, which drops what it does not know and refuses wrong kinds."""
    register_default_plugins()
    kept = json.loads(JSONEncoder().encode(Dashboard.from_json(DASHBOARD)))
    formats = {f"dashboard.annotations.list[].{name}Format" for name in ("title", "text")}  # Prometheus' own
    assert unknown_to(kept, DASHBOARD, "dashboard") == formats
    wrong = {
        **DASHBOARD,
        "panels": [{**PANELS[0], "gridPosition": {}, "fieldConfig": {"defaults": {"units": "s"}}}],
    }
    kept = json.loads(JSONEncoder().encode(Dashboard.from_json(wrong)))
    found = {"dashboard.panels[].gridPosition", "dashboard.panels[].fieldConfig.defaults.units"}
    assert unknown_to(kept, wrong, "dashboard") == formats | found


def test_panels_lie_beside_each_other() -> None:
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert all(place["x"] + place["w"] <= COLUMNS for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)


def test_the_saved_traffic_is_what_one_sees_first() -> None:
    first = min(PANELS, key=lambda panel: (panel["gridPos"]["y"], panel["gridPos"]["x"]))
    assert first["title"] == "Traffic saved"
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows[:2] == ["Progress", "Traffic"]


def test_variables_and_provisioning_fit() -> None:
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables.keys() == {"datasource", "run"}
    name, label = re.findall(r"\w+", variables["run"]["query"]["query"])[1:]
    assert label in declared()[name]
    sources = yaml.safe_load(
        (GRAFANA / "provisioning/datasources/prometheus.yml").read_text(encoding="utf-8")
    )
    assert [source["type"] for source in sources["datasources"]] == ["prometheus"]
    boards = yaml.safe_load((GRAFANA / "provisioning/dashboards/chronos.yml").read_text(encoding="utf-8"))
    assert [provider["type"] for provider in boards["providers"]] == ["file"]
