"""Declared series as collectors in a registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from chronos_common.metrics.declaration import Series


class Collectors:
    """The collectors of one table, by series."""

    def __init__(self, table: Iterable[Series], registry: CollectorRegistry) -> None:
        self._made: dict[str, Any] = {}
        for series in table:
            options: dict[str, Any] = {"buckets": series.buckets} if series.buckets else {}
            kind = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}[series.kind]
            self._made[series.name] = kind(
                series.name, series.help, series.labels, registry=registry, **options
            )

    def add(self, series: Series, amount: float = 1.0, **labels: str) -> None:
        """Adds to a counter."""
        self._of(series, labels).inc(amount)

    def set(self, series: Series, value: float, **labels: str) -> None:
        """Sets a gauge."""
        self._of(series, labels).set(value)

    def follow(self, series: Series, read: Callable[[], float]) -> None:
        """Lets a gauge without labels ask for its value whenever it is scraped."""
        self._of(series, {}).set_function(read)

    def observe(self, series: Series, value: float, **labels: str) -> None:
        """Adds a value to a histogram."""
        self._of(series, labels).observe(value)

    def forget(self, **labels: str) -> None:
        """Removes all that carries these labels."""
        for collector in self._made.values():
            if labels.keys() <= set(collector._labelnames):  # no public way to ask
                collector.remove_by_labels(labels)

    def _of(self, series: Series, labels: Mapping[str, str]) -> Any:
        collector = self._made[series.name]
        return collector.labels(**labels) if labels else collector
