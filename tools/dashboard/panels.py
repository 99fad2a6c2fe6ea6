"""From what a panel shows to the JSON that Grafana reads (schema version 39, of Grafana 10.4 and later)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

COLUMNS: Final = 24
"""The width of Grafana's grid."""

Json = dict[str, Any]
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel.

    Attributes:
        title: in a few words.
        about: what it says, and what to make of it.
        unit: of the values, as Grafana names it: ``short``, ``s``, ``bytes``, ``percentunit``, ...
        queries: PromQL by legend; ``{{label}}`` stands for a label's value.
        kind: Grafana's panel type: ``timeseries``, ``stat`` or ``heatmap``.
        width: in columns.
        height: in grid rows.
        stacked: series add up.
        log: a logarithmic axis.
        limits: value to colour, from which on it applies (``stat`` panels).
        maximum: of the axis, if it has one.
    """

    title: str
    about: str
    unit: str
    queries: Mapping[str, str]
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    stacked: bool = False
    log: bool = False
    limits: Mapping[float, str] = field(default_factory=dict)
    maximum: float | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """Panels under one heading that can be folded; the first row of a dashboard may have none."""

    title: str
    panels: Sequence[Panel]


def dashboard(rows: Sequence[Row]) -> Json:
    """The whole document."""
    return {
        "uid": "chronos",
        "title": "Chronos",
        "description": "Runs, traffic, staleness, workers and the store of a Chronos coordinator.",
        "tags": ["chronos"],
        "schemaVersion": 39,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": [_datasource_variable(), _run_variable()]},
        "annotations": {"list": [_alerts()]},
        "panels": list(_laid_out(rows)),
    }


def _datasource_variable() -> Json:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "hide": 0,
        "refresh": 1,
    }


def _run_variable() -> Json:
    query = "label_values(chronos_version, run)"
    return {
        "name": "run",
        "label": "Run",
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": "run"},
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
        "refresh": 2,
        "sort": 1,
        "hide": 0,
    }


def _alerts() -> Json:
    return {
        "name": "Alerts",
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": 'ALERTS{alertname=~"Chronos.*", alertstate="firing"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{severity}}",
    }


def _laid_out(rows: Sequence[Row]) -> Iterator[Json]:
    numbers, top = count(1), 0
    for row in rows:
        if row.title:
            yield {
                "id": next(numbers),
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
                "panels": [],
            }
            top += 1
        left = tallest = 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                left, top, tallest = 0, top + tallest, 0
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            yield {"id": next(numbers), "gridPos": place, **_panel(panel)}
            left, tallest = left + panel.width, max(tallest, panel.height)
        top += tallest


def _panel(panel: Panel) -> Json:
    is_heatmap = panel.kind == "heatmap"
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": DATASOURCE,
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": DATASOURCE,
                "expr": query,
                "legendFormat": legend,
                "format": "heatmap" if is_heatmap else "time_series",
                "instant": panel.kind == "stat",
                "range": panel.kind != "stat",
            }
            for number, (legend, query) in enumerate(panel.queries.items())
        ],
        "fieldConfig": {"defaults": _field(panel), "overrides": []},
        "options": _OPTIONS[panel.kind] | ({"yAxis": {"unit": panel.unit}} if is_heatmap else {}),
    }


def _field(panel: Panel) -> Json:
    steps = [{"color": colour, "value": value} for value, colour in panel.limits.items()]
    defaults: Json = {
        "unit": panel.unit,
        "thresholds": {"mode": "absolute", "steps": [{"color": "green", "value": None}, *steps]},
    }
    if panel.maximum is not None:
        defaults |= {"min": 0, "max": panel.maximum}
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "lineWidth": 1,
            "fillOpacity": 30 if panel.stacked else 0,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none"},
            "scaleDistribution": {"type": "log", "log": 10} if panel.log else {"type": "linear"},
        }
    return defaults


_OPTIONS: Final[Mapping[str, Json]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "none",
        "textMode": "auto",
    },
    "heatmap": {
        "calculate": False,
        "cellGap": 1,
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 32},
        "rowsFrame": {"layout": "le"},
        "tooltip": {"show": True, "yHistogram": True},
    },
}
