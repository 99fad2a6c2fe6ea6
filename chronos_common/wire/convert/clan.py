"""Clans on the wire: definitions, views, rounds and what became of them. Genes have a file of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from chronos_common.clan.checking import ClanReport
from chronos_common.clan.definition import ClanDefinition, algorithm_from_text
from chronos_common.clan.events import Move, RoundClosed, RoundPlan
from chronos_common.clan.history import MemberRecord, RoundRecord
from chronos_common.clan.phases import Phase, PhaseKind
from chronos_common.clan.records import canonical
from chronos_common.clan.views import ClanView, FetchedRound, MemberView
from chronos_common.errors import MalformedPayloadError
from chronos_common.pb.chronos.v1 import clan_pb2
from chronos_common.pb.chronos.v1 import population_pb2 as pb
from chronos_common.wire.convert import scalars
from chronos_common.wire.convert.genes import (
    alleles_from_pb,
    alleles_to_pb,
    genome_from_pb,
    genome_to_pb,
    value_from_pb,
    value_to_pb,
)


def definition_to_pb(definition: ClanDefinition) -> pb.ClanDefinition:
    """The definition of a clan."""
    return pb.ClanDefinition(
        algorithm=canonical(definition.config.to_json()),
        genes=alleles_to_pb(definition.genes),
        seed=definition.seed,
        round=scalars.duration_to_pb(definition.round_seconds),
        gather=scalars.duration_to_pb(definition.gather_seconds),
    )


def definition_from_pb(message: pb.ClanDefinition) -> ClanDefinition:
    """The definition of a clan.

    Raises:
        ConfigurationError: settings or genes that cannot work.
        InvalidRequestError: numbers that cannot be.
    """
    return ClanDefinition(
        config=algorithm_from_text(message.algorithm),
        genes=alleles_from_pb(message.genes),
        seed=scalars.count_from_pb(message.seed, "seed"),
        round_seconds=scalars.duration_from_pb(message.round, "round"),
        gather_seconds=scalars.duration_from_pb(message.gather, "gather"),
    )


def view_to_pb(view: ClanView) -> pb.ClanStatus:
    """How a clan stands."""
    return pb.ClanStatus(
        clan_id=view.clan_id,
        definition=definition_to_pb(view.definition),
        round=view.round,
        step=view.step,
        running=view.running,
        finished=view.finished,
        epoch=view.epoch,
        members=[
            pb.ClanMember(
                member=one.member,
                worker_id=one.worker_id,
                incarnation=one.incarnation,
                address=one.address,
                alive=one.alive,
                genome=genome_to_pb(one.genome),
                reported=one.reported,
            )
            for one in view.members
        ],
    )


def view_from_pb(message: pb.ClanStatus) -> ClanView:
    """How a clan stands."""
    return ClanView(
        clan_id=message.clan_id,
        definition=definition_from_pb(message.definition),
        round=message.round,
        step=message.step,
        running=message.running,
        finished=message.finished,
        epoch=message.epoch,
        members=tuple(
            MemberView(
                member=one.member,
                worker_id=one.worker_id,
                incarnation=one.incarnation,
                address=one.address,
                alive=one.alive,
                genome=genome_from_pb(one.genome),
                reported=one.reported if one.HasField("reported") else None,
            )
            for one in message.members
        ),
    )


def round_to_pb(found: FetchedRound) -> pb.ClanRound:
    """What the members do in a round."""
    plan = found.plan
    return pb.ClanRound(
        number=plan.round,
        first_step=plan.first_step,
        schedule_start=plan.schedule_start,
        phases=[pb.ClanPhase(kind=phase.kind, steps=phase.steps) for phase in plan.phases],
        genomes={
            member: genome_to_pb(genome) for member, genome in enumerate(plan.genomes) if genome is not None
        },
        consensus={name: value_to_pb(value) for name, value in plan.consensus.items()},
        finished=found.finished,
    )


def round_from_pb(message: clan_pb2.FetchRoundResponse, places: int) -> FetchedRound:
    """What the members do in a round.

    Args:
        message: the answer.
        places: of the clan.

    Raises:
        MalformedPayloadError: a phase that this release does not know.
    """
    found = message.round
    plan = RoundPlan(
        round=found.number,
        first_step=found.first_step,
        schedule_start=found.schedule_start,
        phases=tuple(Phase(kind=_phase(phase.kind), steps=phase.steps) for phase in found.phases),
        genomes=tuple(
            genome_from_pb(found.genomes[member]) if member in found.genomes else None
            for member in range(places)
        ),
        consensus=values_from_pb(found.consensus),
    )
    return FetchedRound(plan=plan, epoch=message.epoch, finished=found.finished)


def decision_to_pb(decision: RoundClosed) -> pb.ClanDecision:
    """What becomes of the members."""
    return pb.ClanDecision(
        round=decision.round,
        ranking=decision.ranking,
        moves=[pb.ClanMove(target=move.target, source=move.source) for move in decision.moves],
        restart=decision.restart,
        soup=decision.soup,
        finished=decision.finished,
    )


def decision_from_pb(message: pb.ClanDecision) -> RoundClosed:
    """What becomes of the members."""
    return RoundClosed(
        round=message.round,
        ranking=tuple(message.ranking),
        moves=tuple(Move(target=move.target, source=move.source) for move in message.moves),
        restart=message.restart,
        soup=tuple(message.soup),
        finished=message.finished,
    )


def record_to_pb(record: RoundRecord) -> pb.ClanRecord:
    """A round that has closed."""
    return pb.ClanRecord(
        first_step=record.first_step,
        steps=record.steps,
        fan_out=record.fan_out,
        decision=decision_to_pb(record.decision),
        members=[
            pb.ClanResult(
                member=one.member,
                worker_id=one.worker,
                genome_id=one.genome_id,
                parents=one.parents,
                born=one.born,
                fitness=one.fitness,
                genes={name: value_to_pb(value) for name, value in one.genes.items()},
            )
            for one in record.members
        ],
    )


def record_from_pb(message: pb.ClanRecord) -> RoundRecord:
    """A round that has closed."""
    return RoundRecord(
        number=message.decision.round,
        first_step=message.first_step,
        steps=message.steps,
        fan_out=message.fan_out,
        decision=decision_from_pb(message.decision),
        members=tuple(
            MemberRecord(
                member=one.member,
                worker=one.worker_id,
                genome_id=one.genome_id,
                parents=tuple(one.parents),
                born=one.born,
                fitness=one.fitness,
                genes=values_from_pb(one.genes),
            )
            for one in message.members
        ),
    )


def report_to_pb(report: ClanReport) -> clan_pb2.VerifyClanResponse:
    """What a replay found."""
    return clan_pb2.VerifyClanResponse(
        clean=report.clean,
        rounds=report.rounds,
        entries=report.entries,
        problem=report.problem,
        from_entry=report.from_entry,
        digest=report.digest,
    )


def report_from_pb(message: clan_pb2.VerifyClanResponse) -> ClanReport:
    """What a replay found."""
    return ClanReport(
        clean=message.clean,
        rounds=message.rounds,
        entries=message.entries,
        problem=message.problem,
        from_entry=message.from_entry,
        digest=message.digest,
    )


def values_from_pb(message: Mapping[str, pb.GeneValue]) -> dict[str, Any]:
    """What genes are set to."""
    return {name: value_from_pb(message[name]) for name in sorted(message)}


def _phase(name: str) -> PhaseKind:
    kinds: tuple[PhaseKind, ...] = get_args(PhaseKind)
    for kind in kinds:
        if name == kind:
            return kind
    raise MalformedPayloadError(
        f"a round has a phase {name[:40]!r}, which this release does not know; upgrade it"
    )
