"""A data plan as clients see it."""

from __future__ import annotations

from dataclasses import dataclass

from chronos_common.data.definition import DataPlanConfig
from chronos_common.data.job import DataJob
from chronos_common.data.slices import Slices


@dataclass(frozen=True, kw_only=True)
class MemberView:
    """A member: its speed as it is estimated, what it finished and what it holds; ``rank`` -1 is none."""

    worker_id: str
    incarnation: int
    rank: int
    node: int
    alpha_seconds: float
    beta_seconds: float
    finished: int
    open_shares: int


@dataclass(frozen=True, kw_only=True)
class DataView:
    """How a plan stands; ``imbalance`` is the slowest member's seconds over the mean, ``None`` before any report."""

    plan_id: str
    config: DataPlanConfig
    sized: int
    first_missing: int
    epoch: int
    next_step: int
    turns: int
    finished: int
    open: int
    returned: int
    over: bool
    imbalance: float | None
    members: tuple[MemberView, ...]


def data_view(plan_id: str, job: DataJob, slices: Slices) -> DataView:
    """Puts a view together."""
    names = job.ledger.members
    speeds = job.speeds.speeds(names)
    return DataView(
        plan_id=plan_id,
        config=job.config,
        sized=slices.sized,
        first_missing=slices.first_missing,
        epoch=job.ledger.epoch,
        next_step=job.ledger.next_step,
        turns=job.ledger.next_turn - 1,
        finished=job.ledger.finished,
        open=job.ledger.open_samples,
        returned=job.ledger.returned_samples,
        over=job.ledger.over,
        imbalance=job.imbalance,
        members=tuple(
            MemberView(
                worker_id=name,
                incarnation=job.members[name].incarnation,
                rank=job.members[name].rank,
                node=job.members[name].node,
                alpha_seconds=float(alpha),
                beta_seconds=float(beta),
                finished=job.finished.get(name, 0),
                open_shares=len(job.ledger.shares(name)),
            )
            for name, alpha, beta in zip(names, speeds.alpha, speeds.beta, strict=True)
        ),
    )
