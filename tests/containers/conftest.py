"""The images, built once, and one cluster of them; figures of what is measured go to ``--figures FILE``.

Nothing here is skipped: without a container engine these tests fail and say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks._harness import Report
from tests.support.containers.engine import build, require_engine
from tests.support.containers.project import COORDINATOR, TAG, WORKER, Project

WORKERS = 3
_figures = pytest.StashKey[Report]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--figures", type=Path, metavar="FILE", help="write what was measured there, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_figures] = Report(benchmark="containers", seeds=[0])


def pytest_sessionfinish(session: pytest.Session) -> None:
    path = session.config.getoption("--figures", None)
    if path is not None:
        report = session.config.stash[_figures]
        report.rows.sort(key=lambda row: (row["what"], row["measure"]))
        report.bars.sort(key=lambda bar: bar.name)
        path.write_text(report.to_json())


class Figures:
    """Collects what is measured, and fails the test whose bar is missed."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def note(self, what: str, measure: str, value: float) -> None:
        """A figure that no bar is about."""
        self._report.rows.append({"what": what, "measure": measure, "value": value})

    def require(self, what: str, measure: str, value: float, op: str, bound: float) -> None:
        """A figure and its bar."""
        self.note(what, measure, value)
        self._report.require(f"{what}: {measure}", value, op, bound)
        bar = self._report.bars[-1]
        assert bar.ok, f"{bar.name} is {value:.4g}, not {op} {bound:g}"


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Figures:
    return Figures(request.config.stash[_figures])


@pytest.fixture(scope="session")
def images(figures: Figures) -> dict[str, str]:
    """Both images, built as the compose file says: service to tag."""
    require_engine()
    config: dict[str, Any] = Project(CHRONOS_VERSION=TAG).config()
    for service in (COORDINATOR, WORKER):
        figures.note(service, "image built, seconds (layers may be cached)", build(service, config))
    return {service: config["services"][service]["image"] for service in (COORDINATOR, WORKER)}


@pytest.fixture(scope="session")
def cluster(images: dict[str, str]) -> Iterator[Project]:
    """A coordinator, three workers and Prometheus, which the tests leave as they found it: healthy."""
    with Project(CHRONOS_VERSION=TAG, CHRONOS_PROBLEMS="weight_decay:*") as project:
        project.up(workers=WORKERS)
        yield project
