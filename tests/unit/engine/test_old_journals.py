"""Journals of the releases before this one are read for ever, and hash to what they hashed to."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from chronos_common.engine import from_parts, replay, state_digest, to_parts, verify

FILES = sorted((Path(__file__).parent / "journals").glob("*.json"))
JOURNALS = [(file.stem, name) for file in FILES for name in json.loads(file.read_text(encoding="utf-8"))]


def read(file: str, name: str) -> dict[str, Any]:
    text = (Path(__file__).parent / "journals" / f"{file}.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)[name]
    return found


@pytest.mark.parametrize(("file", "name"), JOURNALS)
def test_it_replays_to_the_state_that_its_release_had(file: str, name: str) -> None:
    stored = read(file, name)
    parts = [
        (kind, meta, None if payload is None else base64.b64decode(payload))
        for kind, meta, payload in stored["entries"]
    ]
    events = [from_parts(*entry) for entry in parts]
    assert [to_parts(event) for event in events] == parts, "the texts are part of what is hashed"
    report = verify(events)
    assert (report.clean, report.problem) == (True, "")
    assert state_digest(replay(events)) == stored["state_digest"]
