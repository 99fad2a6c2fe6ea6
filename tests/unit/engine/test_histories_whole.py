"""Histories of runs that compress nothing, or one direction only."""

from __future__ import annotations

from tests.support.histories import Histories, many

HISTORIES = 400


class WholeHistories(Histories):
    """See ``tests.support.histories``."""

    pipelines = (
        ("identity", "identity"),
        ("identity", "identity"),
        ("identity", "identity"),
        ("topk5", "identity"),
        ("identity", "topk10+int8"),
    )


TestWholeHistories = many(WholeHistories, HISTORIES)
