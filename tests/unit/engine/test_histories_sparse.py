"""Histories of runs that send a few values, both ways."""

from __future__ import annotations

from tests.support.histories import Histories, many

HISTORIES = 800


class SparseHistories(Histories):
    """See ``tests.support.histories``."""

    pipelines = (
        ("topk10+int8", "topk10+int8"),
        ("topk5", "topk25"),
        ("topk25+int8", "topk5+int8"),
    )


TestSparseHistories = many(SparseHistories, HISTORIES)
