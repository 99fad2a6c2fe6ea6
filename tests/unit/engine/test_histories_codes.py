"""Histories of runs that send every value as a code, at least one way, and compress the other too."""

from __future__ import annotations

from tests.support.histories import Histories, many

HISTORIES = 800


class CodedHistories(Histories):
    """See ``tests.support.histories``."""

    pipelines = (
        ("int8", "int8"),
        ("int8", "topk25"),
        ("topk10+int8", "int8"),
        ("int8", "topk10+int8"),
    )


TestCodedHistories = many(CodedHistories, HISTORIES)
