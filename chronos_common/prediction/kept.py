"""Experience that outlives its process: a file with a line of JSON for each report, read when it is opened.

For the library and the command; a coordinator keeps its own in its store. A line is durable before the report is
answered. Several processes may append to one file: each sees what the others wrote when it opens it. A line
that a crash cut off is passed over and logged; a file that holds anything else is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chronos_common.errors import ArtefactError, PredictionError
from chronos_common.prediction.comparison import Workload
from chronos_common.prediction.devices import DeviceSpec
from chronos_common.prediction.experience import Experience, MeasuredStep, steps_to_json, training_to_json
from chronos_common.runtime import get_logger

log = get_logger(__name__)


class KeptExperience:
    """An :class:`Experience` in a file.

    Args:
        path: of the file; made with its folder by the first report.

    Raises:
        ArtefactError: the file holds something else, or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known = Experience()
        for event in _events(path):
            try:
                self.known.apply(event)
            except PredictionError as error:
                raise ArtefactError(
                    f"{path} holds a report that cannot be: {error}; move the file away"
                ) from error

    def report_training(self, work: Workload, epochs: float) -> int:
        """Takes a training in that stopped by itself; how many are known when it is durable.

        Raises:
            BadWorkloadError: it cannot have stopped by itself, or a number that cannot be.
            ArtefactError: the file cannot be written; the report does not count then.
        """
        return self._report(training_to_json(work, epochs))

    def report_steps(self, machine: str, device: DeviceSpec, steps: Sequence[MeasuredStep]) -> int:
        """Takes measured steps in; how many are known of the machine when they are durable.

        Raises:
            BadWorkloadError: none were given, or a number that cannot be.
            ArtefactError: the file cannot be written; the report does not count then.
        """
        return self._report(steps_to_json(machine, device, steps))

    def _report(self, event: Mapping[str, Any]) -> int:
        tried = Experience.from_json(self.known.to_json())
        found = tried.apply(event)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _append(self.path, json.dumps(event, sort_keys=True, allow_nan=False))
        except OSError as error:
            raise ArtefactError(
                f"{self.path} cannot be written: {error.strerror or error}; choose another file"
            ) from error
        self.known = tried
        return found


def _append(path: Path, line: str) -> None:
    with path.open("ab") as file:
        # Closes a line that a crash cut off.
        opening = b"\n" if file.tell() and not path.read_bytes().endswith(b"\n") else b""
        file.write(opening + line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _events(path: Path) -> list[Mapping[str, Any]]:
    try:
        text = path.read_bytes().decode() if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{path} cannot be read ({error}); choose another file") from error
    found: list[Mapping[str, Any]] = []
    lines = [line for line in text.split("\n") if line.strip()]
    for number, line in enumerate(lines, start=1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            if not line.startswith("{"):
                raise ArtefactError(
                    f"{path}, line {number}, is no report to a predictor ({error}); choose another file"
                ) from error
            log.warning("report to the predictor passed over: it was cut off", file=str(path), line=number)
    return found
