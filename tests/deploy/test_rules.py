"""The PrometheusRule of the cluster has the rules that Prometheus reads elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support.manifests import Manifests
from tools import prometheus_rule

pytestmark = pytest.mark.deploy


def test_the_groups_are_those_of_the_rules_file(manifests: Manifests) -> None:
    (rule,) = manifests.all("PrometheusRule")
    assert rule["spec"] == yaml.safe_load(prometheus_rule.RULES.read_text(encoding="utf-8"))


def test_a_manifest_that_was_not_made_anew_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prometheus_rule.main(["--check"]) == 0
    rules, manifest = tmp_path / "rules.yml", tmp_path / "rules.yaml"
    monkeypatch.setattr(prometheus_rule, "RULES", rules)
    monkeypatch.setattr(prometheus_rule, "MANIFEST", manifest)
    rules.write_text("groups: []\n")
    assert prometheus_rule.main(["--check"]) == 1
    assert prometheus_rule.main([]) == 0
    assert prometheus_rule.main(["--check"]) == 0
    rules.write_text("# why\ngroups:\n  - {name: g, rules: [{record: r, expr: '1'}]}\n")
    assert prometheus_rule.main(["--check"]) == 1
    assert "run python tools/prometheus_rule.py" in capsys.readouterr().err
    prometheus_rule.main([])
    assert "  # why\n" in manifest.read_text()
    assert yaml.safe_load(manifest.read_text())["spec"]["groups"][0]["name"] == "g"
