"""The log lines of commits: with the trace that they carry, they join those of the worker."""

from __future__ import annotations

from chronos_common.engine import CommitAnswer, CommitQuery
from chronos_common.runtime import get_logger

_log = get_logger(__name__)


def log_commit(run_id: str, query: CommitQuery, answer: CommitAnswer | None = None, reason: str = "") -> None:
    """One line on a commit, after it is durable or refused.

    What is durable is told at level debug: there may be thousands a second, and the journal has them all.

    Args:
        run_id: the run that it names.
        query: the commit.
        answer: what was answered; ``None`` to one that was refused.
        reason: why it was refused.
    """
    facts = {"run": run_id, "worker": query.worker_id, "version": query.base, "seq": query.seq}
    if answer is None:
        _log.info("commit refused", **facts, reason=reason)
    else:
        _log.debug(
            "commit durable",
            **facts,
            staleness=answer.staleness,
            newest=answer.version,
            duplicate=answer.duplicate,
        )
