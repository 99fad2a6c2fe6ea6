"""The client's methods of clans; see :class:`chronos_common.wire.client.CoordinatorClient`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from chronos_common.clan.checking import ClanReport
from chronos_common.clan.definition import ClanDefinition
from chronos_common.clan.events import RoundClosed
from chronos_common.clan.history import RoundRecord
from chronos_common.clan.views import ClanView, FetchedRound, Place
from chronos_common.pb.chronos.v1 import clan_pb2 as pb
from chronos_common.wire.chunks import require_message
from chronos_common.wire.convert import clan as convert
from chronos_common.wire.convert import scalars
from chronos_common.wire.transport import Transport


class ClanClient(Transport):
    """Creates clans, takes part in them and looks at them. Unknown clans raise ``ClanNotFoundError``."""

    async def create_clan(self, clan_id: str, definition: ClanDefinition) -> ClanView:
        """Creates a clan, or returns the one that has this id and definition.

        Raises:
            ClanExistsError: the id is taken by another definition.
            ConfigurationError: a definition that cannot work.
        """
        request = pb.CreateClanRequest(clan_id=clan_id, definition=convert.definition_to_pb(definition))
        return convert.view_from_pb((await self.call(self.clans().CreateClan, request)).status)

    async def describe_clan(self, clan_id: str) -> ClanView:
        """How a clan stands."""
        request = pb.DescribeClanRequest(clan_id=clan_id)
        return convert.view_from_pb((await self.call(self.clans().DescribeClan, request)).status)

    async def list_clans(self) -> list[str]:
        """Ids of all clans."""
        return list((await self.call(self.clans().ListClans, pb.ListClansRequest())).clan_ids)

    async def watch_clan(self, clan_id: str) -> AsyncIterator[ClanView]:
        """How a clan stands, now and after each change; several changes may come as one.

        Raises:
            UnavailableError: the stream was cut; ask again.
        """
        request = pb.WatchClanRequest(clan_id=clan_id)
        stream = self.stream(self.clans().WatchClan, request, self.deadlines.watch_seconds)
        async with aclosing(stream) as messages:
            async for message in messages:
                yield convert.view_from_pb(message.status)

    async def clan_history(self, clan_id: str, first_round: int = 0) -> list[RoundRecord]:
        """The rounds that have closed, oldest first; those that are no longer kept are missing."""
        request = pb.ReadHistoryRequest(clan_id=clan_id, first_round=first_round)
        stream = self.stream(self.clans().ReadHistory, request, self.deadlines.scan_seconds)
        async with aclosing(stream) as messages:
            return [convert.record_from_pb(message.record) async for message in messages]

    async def join_clan(
        self,
        clan_id: str,
        worker_id: str,
        incarnation: int,
        *,
        member: int | None = None,
        address: str = "",
    ) -> Place:
        """Gives a registered worker a place; repeated, the same one.

        Raises:
            SeatTakenError: another living worker has the place that was asked for.
            ClanFullError: no place is free.
            WorkerUnknownError, IncarnationSupersededError: it must register, or was replaced.
        """
        request = pb.JoinClanRequest(
            clan_id=clan_id, worker_id=worker_id, incarnation=incarnation, member=member, address=address
        )
        answer = await self.call(self.clans().JoinClan, request)
        return Place(
            member=answer.member,
            source=answer.source if answer.HasField("source") else None,
            view=convert.view_from_pb(answer.status),
        )

    async def leave_clan(self, clan_id: str, worker_id: str, incarnation: int) -> None:
        """Ends a membership; the others go on without it."""
        request = pb.LeaveClanRequest(clan_id=clan_id, worker_id=worker_id, incarnation=incarnation)
        await self.call(self.clans().LeaveClan, request)

    async def remove_member(
        self, clan_id: str, worker_id: str, incarnation: int, *, member: int, epoch: int
    ) -> int:
        """Ends the membership of a process that this member cannot reach; the epoch of the membership now.

        Args:
            clan_id: the clan.
            worker_id: who asks.
            incarnation: which process of it.
            member: place of the one that cannot be reached.
            epoch: of the membership in which it could not be; nothing happens if the place has changed hands since.

        Raises:
            WorkerNotMemberError: who asks takes no part (any more).
        """
        request = pb.RemoveMemberRequest(
            clan_id=clan_id, worker_id=worker_id, incarnation=incarnation, member=member, epoch=epoch
        )
        return int((await self.call(self.clans().RemoveMember, request)).epoch)

    async def fetch_round(
        self, clan_id: str, worker_id: str, incarnation: int, *, places: int, wait_seconds: float = 0.0
    ) -> FetchedRound:
        """The running round, or the next one, which begins when every living member's place is taken.

        Args:
            clan_id: the clan.
            worker_id: who.
            incarnation: which process of it.
            places: of the clan (its ``population_size``).
            wait_seconds: how long the coordinator may wait for members.

        Raises:
            WorkerNotMemberError: it takes no part (any more).
            WaitExpiredError: members are missing.
        """
        request = pb.FetchRoundRequest(
            clan_id=clan_id,
            worker_id=worker_id,
            incarnation=incarnation,
            wait=scalars.duration_to_pb(wait_seconds),
        )
        seconds = wait_seconds + self.deadlines.call_seconds
        return convert.round_from_pb(await self.call(self.clans().FetchRound, request, seconds), places)

    async def report_fitness(
        self,
        clan_id: str,
        worker_id: str,
        incarnation: int,
        *,
        number: int,
        fitness: float,
        genome_id: str = "",
    ) -> bool:
        """Reports a round's validation loss; whether the round has closed. The first report counts.

        Raises:
            WorkerNotMemberError: it takes no part (any more).
            RoundMismatchError: the round has not begun.
            GenomeMismatchError: the member's genome is not ``genome_id``.
        """
        request = pb.ReportFitnessRequest(
            clan_id=clan_id,
            worker_id=worker_id,
            incarnation=incarnation,
            round=number,
            fitness=fitness,
            genome_id=genome_id,
        )
        return bool((await self.call(self.clans().ReportFitness, request)).closed)

    async def close_round(
        self, clan_id: str, worker_id: str, incarnation: int, *, number: int, wait_seconds: float = 0.0
    ) -> RoundClosed:
        """What became of the members after a round; repeated, the same.

        Raises:
            WorkerNotMemberError: it takes no part (any more).
            RoundMismatchError: the round has not begun, or is no longer kept.
            WaitExpiredError: others have not reported yet.
        """
        request = pb.CloseRoundRequest(
            clan_id=clan_id,
            worker_id=worker_id,
            incarnation=incarnation,
            round=number,
            wait=scalars.duration_to_pb(wait_seconds),
        )
        seconds = wait_seconds + self.deadlines.call_seconds
        return convert.decision_from_pb((await self.call(self.clans().CloseRound, request, seconds)).decision)

    async def save_clan(self, clan_id: str) -> bytes:
        """What a training checkpoint has to keep of a clan: JSON."""
        return bytes((await self.call(self.clans().SaveClan, pb.SaveClanRequest(clan_id=clan_id))).state)

    async def restore_clan(self, clan_id: str, state: bytes) -> ClanView:
        """Goes back to a checkpoint; all members may ask for it. Raises ``InvalidRequestError`` for another clan's."""
        request = pb.RestoreClanRequest(clan_id=clan_id, state=state)
        require_message(request.ByteSize(), self.limits.max_message_bytes)
        return convert.view_from_pb((await self.call(self.clans().RestoreClan, request)).status)

    async def verify_clan(self, clan_id: str) -> ClanReport:
        """What a replay of the clan's journal finds."""
        request = pb.VerifyClanRequest(clan_id=clan_id)
        answer = await self.call(self.clans().VerifyClan, request, self.deadlines.scan_seconds)
        return convert.report_from_pb(answer)
