"""The rules that Prometheus reads, and the queries that the dashboard asks, as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.promql import Labels, declared, labels_of, parse
from tools.dashboard.__main__ import PATH

ROOT: Final = Path(__file__).resolve().parents[2]
PROMETHEUS: Final = ROOT / "deploy" / "prometheus"


def document(name: str) -> Any:
    """A file of Prometheus' folder."""
    return yaml.safe_load((PROMETHEUS / name).read_text(encoding="utf-8"))


RULES: Final[list[dict[str, Any]]] = [
    rule for group in document("rules.yml")["groups"] for rule in group["rules"]
]
RECORDED: Final = [rule for rule in RULES if "record" in rule]
ALERTS: Final = [rule for rule in RULES if "alert" in rule]

DASHBOARD: Final[dict[str, Any]] = json.loads(PATH.read_text(encoding="utf-8"))
PANELS: Final = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS: Final[list[tuple[str, dict[str, Any]]]] = [
    (panel["title"], target) for panel in PANELS for target in panel["targets"]
]


def recorded() -> dict[str, Labels]:
    """The recording rules' own series, each made of those that are declared or recorded before it."""
    known = declared()
    names = {}
    for rule in RECORDED:
        labels = labels_of(parse(rule["expr"]), known)
        assert labels is not None, f"{rule['record']} records a scalar"
        names[rule["record"]] = known[rule["record"]] = labels
    return names
