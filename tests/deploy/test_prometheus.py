"""Prometheus' configuration and rules: valid, of existing series only, every alert proved and explained."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.prometheus import ToolMissingError, promtool, tool
from tests.support.promql import UnknownNameError, declared, labels_of, parse, selected
from tests.support.rules import ALERTS, PROMETHEUS, RECORDED, ROOT, RULES, document, recorded

pytestmark = pytest.mark.deploy

RUNBOOK = ROOT / "docs" / "observability.md"
CASES = document("rules.test.yml")["tests"]


@pytest.mark.parametrize(
    "check",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "--lint=all", "--lint-fatal", "rules.yml"),
        ("test", "rules", "rules.test.yml"),
    ],
    ids=" ".join,
)
def test_promtool_finds_no_fault(check: tuple[str, ...]) -> None:
    assert "SUCCESS" in promtool(*check, folder=PROMETHEUS)


def test_promtool_would_find_a_fault(tmp_path: Path) -> None:
    rules = (PROMETHEUS / "rules.yml").read_text(encoding="utf-8")
    (tmp_path / "rules.yml").write_text(rules.replace("> 0.1", "> 0.9"), encoding="utf-8")
    (tmp_path / "rules.test.yml").write_text((PROMETHEUS / "rules.test.yml").read_text(encoding="utf-8"))
    with pytest.raises(AssertionError, match="ChronosRefusals"):
        promtool("test", "rules", "rules.test.yml", folder=tmp_path)


def test_a_missing_promtool_is_a_failure_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError, match="package prometheus"):
        tool("promtool", tmp_path)


@pytest.mark.parametrize("rule", RECORDED, ids=lambda rule: rule["record"])
def test_recording_rules_know_their_series_and_carry_the_labels_of_their_name(rule: dict[str, Any]) -> None:
    level = rule["record"].partition(":")[0]
    assert recorded()[rule["record"]] == set(level.split("_"))


@pytest.mark.parametrize("rule", RECORDED, ids=lambda rule: rule["record"])
def test_every_recording_rule_has_a_case(rule: dict[str, Any]) -> None:
    expressions = [parse(case["expr"]) for test in CASES for case in test.get("promql_expr_test", [])]
    assert rule["record"] in {found.name for expression in expressions for found in selected(expression)}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_alerts_are_of_existing_series_and_say_what_is_wrong(rule: dict[str, Any]) -> None:
    labels = labels_of(parse(rule["expr"]), declared() | recorded())
    assert labels is not None
    assert rule["labels"]["severity"] in {"critical", "warning"}
    notes = rule["annotations"]
    assert notes.keys() == {"summary", "description", "runbook_url"}
    for text in notes.values():
        assert set(re.findall(r"\$labels\.(\w+)", text)) <= labels, text


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_every_alert_has_a_case_where_it_fires_and_one_where_it_is_silent(rule: dict[str, Any]) -> None:
    found = [
        bool(case["exp_alerts"])
        for test in CASES
        for case in test.get("alert_rule_test", [])
        if case["alertname"] == rule["alert"]
    ]
    assert set(found) == {True, False}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_every_alert_has_a_section_in_the_runbook(rule: dict[str, Any]) -> None:
    path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert path == RUNBOOK.relative_to(ROOT).as_posix()
    headings = re.findall(r"^#+ (.+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    assert anchor == rule["alert"].lower()
    assert rule["alert"] in headings


def test_the_runbook_speaks_of_no_alert_that_there_is_not() -> None:
    spoken = set(re.findall(r"\bChronos[A-Z]\w+", RUNBOOK.read_text(encoding="utf-8")))
    assert spoken == {rule["alert"] for rule in ALERTS}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert", rule.get("record")))
def test_rules_depend_on_no_name_that_a_deployment_chooses(rule: dict[str, Any]) -> None:
    matchers = [m for found in selected(parse(rule["expr"])) for m in found.matchers.matchers]
    assert not {"job", "instance"} & {matcher.name for matcher in matchers}


@pytest.mark.parametrize(
    "expression",
    [
        "chronos_versions",
        "sum by (worker) (chronos_version)",
        'chronos_version{worker="w"}',
        "histogram_quantile(0.9, sum by (run) (rate(chronos_commit_staleness_versions_bucket[5m])))",
        "chronos_rpc_seconds",
        "chronos_rpc_seconds_count / on (run) group_left () chronos_version",
        "sum by (run) (chronos_version) / sum(chronos_version)",
    ],
)
def test_the_check_finds_names_that_do_not_exist_and_sides_that_never_match(expression: str) -> None:
    with pytest.raises(UnknownNameError):
        labels_of(parse(expression), declared())
