"""The client of a coordinator: typed methods, typed errors, a deadline on every call."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing

from chronos_common.engine.config import RunConfig
from chronos_common.engine.events import ACTIVE
from chronos_common.engine.verify import VerifyReport
from chronos_common.engine.views import CheckoutQuery, CommitQuery, MetricSample, RunView
from chronos_common.errors import UnavailableError
from chronos_common.pb.chronos.v1 import coordinator_pb2, metrics_pb2
from chronos_common.prediction.machine import Machine
from chronos_common.versions import HYPERGRADIENT
from chronos_common.wire.chunks import (
    PayloadReader,
    chunk_messages,
    message_bytes,
    require_admissible,
    require_message,
)
from chronos_common.wire.clan_client import ClanClient
from chronos_common.wire.convert import calls, scalars, views
from chronos_common.wire.convert.config import config_to_pb
from chronos_common.wire.convert.prediction import machine_to_pb
from chronos_common.wire.data_client import DataPlanClient
from chronos_common.wire.memory_client import MemoryClient
from chronos_common.wire.peers_client import PeersClient
from chronos_common.wire.prediction_client import PredictionClient
from chronos_common.wire.results import CheckoutResult, CommitResult, RegisterResult, WatchUpdate


class CoordinatorClient(MemoryClient, DataPlanClient, ClanClient, PredictionClient, PeersClient):
    """Talks to one coordinator; an async context manager.

    It connects with the first call and again after every loss of the connection. Every method raises the
    class of ``chronos_common.errors`` that the coordinator raised, or ``UnavailableError`` when the call got
    lost on the way. Methods that may be repeated safely are repeated a few times while the coordinator is
    away; commits, checkouts, deregistrations and reported metrics are not.

    Args:
        address: ``host:port``.
        deadlines: the deadline budget; the coordinator's should be the same.
        limits: what the client sends and takes.
        security: TLS and the token; by default neither. Certificates and tokens are read again when their files
            change.
    """

    # --- runs ------------------------------------------------------------------------------------

    async def create_run(
        self,
        config: RunConfig,
        initial_payload: bytes,
        *,
        run_id: str = "",
        warm_start: str = "",
        warm_start_optimizer: bool = False,
    ) -> RunView:
        """Creates a run, or returns the one that has this id and definition.

        Args:
            config: the definition.
            initial_payload: values of all outer parameters in stored coordinates, an identity payload.
            run_id: identity; empty makes one up.
            warm_start: a run whose newest version becomes version 0; ``"auto"`` is the most similar finished one.
            warm_start_optimizer: take over the optimiser's state too, where it fits.

        Raises:
            RunExistsError: the id is taken by another definition.
            ConfigurationError: a definition that cannot work.
            PayloadError: initial values that do not fit it, or are too large for one message.
        """
        request = coordinator_pb2.CreateRunRequest(
            run_id=run_id or f"run-{uuid.uuid4().hex[:12]}",
            config=config_to_pb(config),
            initial_payload=initial_payload,
            warm_start=warm_start,
            warm_start_optimizer=warm_start_optimizer,
        )
        require_message(request.ByteSize(), self.limits.max_message_bytes)
        return views.run_from_pb((await self.call(self.coordinator().CreateRun, request)).run)

    async def get_run(self, run_id: str) -> RunView:
        """One run; raises ``RunNotFoundError``."""
        request = coordinator_pb2.GetRunRequest(run_id=run_id)
        return views.run_from_pb((await self.call(self.coordinator().GetRun, request)).run)

    async def list_runs(self) -> list[RunView]:
        """All runs, newest first."""
        answer = await self.call(self.coordinator().ListRuns, coordinator_pb2.ListRunsRequest())
        return [views.run_from_pb(run) for run in answer.runs]

    async def stop_run(self, run_id: str, *, reason: str = "") -> RunView:
        """Ends a run; an ended one stays as it is. Raises ``RunNotFoundError``."""
        request = coordinator_pb2.StopRunRequest(run_id=run_id, reason=reason)
        return views.run_from_pb((await self.call(self.coordinator().StopRun, request)).run)

    async def verify_run(self, run_id: str, *, from_snapshot: bool = False) -> VerifyReport:
        """Replays a run's journal, or what follows its newest snapshot; raises ``RunNotFoundError``."""
        request = coordinator_pb2.VerifyRunRequest(run_id=run_id, from_snapshot=from_snapshot)
        seconds = self.deadlines.scan_seconds
        return views.report_from_pb(await self.call(self.coordinator().VerifyRun, request, seconds))

    async def watch_run(
        self, run_id: str, *, after_version: int = 0, give_up_seconds: float | None = None
    ) -> AsyncIterator[WatchUpdate]:
        """Yields published versions above a given one, each once and in order, until the run ends.

        After the first message, a lost connection or a restarted coordinator only makes a pause.

        Args:
            run_id: the run.
            after_version: the last version that is known.
            give_up_seconds: how long a pause may become; ``None`` is for ever.

        Raises:
            RunNotFoundError: no such run.
            UnavailableError: no connection at first, or a pause that became too long.
        """
        newest, status = after_version, ""
        clock = asyncio.get_running_loop().time
        heard, pause = clock(), self.deadlines.reconnect_initial_seconds
        while status in ("", ACTIVE):
            try:
                async with aclosing(self._watch_once(run_id, newest)) as updates:
                    async for update in updates:
                        heard, pause = clock(), self.deadlines.reconnect_initial_seconds
                        status = update.status
                        if update.record is not None and update.record.version <= newest:
                            continue
                        newest = newest if update.record is None else update.record.version
                        yield update
            except UnavailableError:
                if not status or (give_up_seconds is not None and clock() - heard > give_up_seconds):
                    raise
            if status in ("", ACTIVE):
                await asyncio.sleep(pause)
                pause = min(2 * pause, self.deadlines.reconnect_max_seconds)

    # --- workers ---------------------------------------------------------------------------------

    async def register(
        self, worker_id: str, instance_id: str, *, device: str = "cpu", machine: Machine | None = None
    ) -> RegisterResult:
        """Announces a worker process. The same ``instance_id`` again is a reconnect, another supersedes it.

        With a probed ``machine`` the coordinator knows how fast the worker is before its first commit.
        """
        request = coordinator_pb2.RegisterWorkerRequest(
            worker_id=worker_id,
            instance_id=instance_id,
            device=device,
            machine=None if machine is None else machine_to_pb(machine),
        )
        answer = await self.call(self.coordinator().RegisterWorker, request)
        return RegisterResult(
            incarnation=answer.incarnation,
            heartbeat_seconds=scalars.duration_from_pb(answer.heartbeat_interval, "heartbeat_interval"),
            chains={chain.run_id: chain.last_applied for chain in answer.chains},
            max_payload_bytes=answer.max_payload_bytes,
        )

    async def heartbeat(
        self, worker_id: str, incarnation: int, *, holding: Iterable[tuple[str, int]] = ()
    ) -> tuple[str, ...]:
        """Says that a worker lives and which (run, base version) it works on; returns runs that have ended.

        Raises:
            WorkerUnknownError: it must register first.
            IncarnationSupersededError: a newer process has taken the worker's name.
        """
        request = coordinator_pb2.HeartbeatRequest(
            worker_id=worker_id, incarnation=incarnation, holding=calls.holding_to_pb(holding)
        )
        return tuple((await self.call(self.coordinator().Heartbeat, request)).ended_runs)

    async def deregister(self, worker_id: str, incarnation: int, *, reason: str = "") -> None:
        """Ends a worker's membership and returns its leases; raises as :meth:`heartbeat`."""
        request = coordinator_pb2.DeregisterWorkerRequest(
            worker_id=worker_id, incarnation=incarnation, reason=reason
        )
        await self.call(self.coordinator().DeregisterWorker, request)

    async def checkout(
        self,
        run_id: str = "",
        *,
        worker_id: str = "",
        incarnation: int = 0,
        known: int | None = None,
        min_version: int = 0,
        wait_seconds: float = 0.0,
        except_runs: Sequence[str] = (),
    ) -> CheckoutResult:
        """Takes out the newest version, under a lease if a worker asks.

        Args:
            run_id: the run; empty is any active one.
            worker_id: who asks; empty reads without a lease.
            incarnation: which process of it.
            known: version that the caller holds; nothing is sent when it is still the newest.
            min_version: wait for a version of at least this number.
            wait_seconds: how long the coordinator may let the call wait.
            except_runs: runs to leave out where ``run_id`` is empty.

        Raises:
            WaitExpiredError: nothing to hand out within the time.
            RefusalError: the run, the worker or the version known is not what the coordinator has.
            PayloadError: the answer is damaged or larger than this client takes.
            UnavailableError: the coordinator is away, or was silent in the middle of the payload.
        """
        query = CheckoutQuery(
            run_id=run_id,
            worker_id=worker_id,
            incarnation=incarnation,
            known=known,
            min_version=min_version,
            wait_seconds=wait_seconds,
            except_runs=tuple(except_runs),
        )
        request = calls.checkout_query_to_pb(query)
        longest = wait_seconds + self.deadlines.transfer_seconds(self.limits.max_payload_bytes)
        clock = asyncio.get_running_loop().time
        started = clock()
        async with aclosing(self.stream(self.coordinator().CheckoutVersion, request, longest)) as messages:
            reader: PayloadReader[coordinator_pb2.CheckoutHeader] = PayloadReader(
                messages,
                idle_seconds=self.deadlines.idle_seconds,
                header_seconds=wait_seconds + self.deadlines.call_seconds,
                peer=f"the coordinator at {self.address}",
            )
            header = await reader.header()
            header_seconds = clock() - started
            payload = await reader.payload(self.limits.max_payload_bytes)
        return CheckoutResult(
            run_id=header.run_id,
            version=scalars.version_from_pb(header.versions, "versions"),
            digest=header.digest,
            not_modified=header.not_modified,
            parts=calls.parts_from_pb(header, payload),
            work_seconds=scalars.duration_from_pb(header.work_time, "work_time"),
            shard=(header.shard.index, header.shard.count),
            work_share=calls.share_from_pb(header.work_share),
            last_applied=header.last_applied,
            applied_by=header.applied_by,
            status=scalars.status_from_pb(header.status),
            bytes_received=reader.message_bytes,
            bytes_sent=message_bytes(request),
            header_seconds=header_seconds,
        )

    async def commit(
        self,
        run_id: str,
        *,
        worker_id: str,
        incarnation: int,
        seq: int,
        prev_applied: int,
        base: int,
        payload: bytes | None,
        kind: str = HYPERGRADIENT,
        work: float = 1.0,
        samples: int = 0,
        tasks: int = 1,
        metrics: Mapping[str, float] | None = None,
        timing: Mapping[str, float] | None = None,
        residual_lost: bool = False,
    ) -> CommitResult:
        """Commits an update; returns when it is durable.

        After an ``UnavailableError`` or a ``StoreError`` nobody knows whether it was applied: send the very
        same commit again, or a later one with the same ``prev_applied``.

        Args:
            run_id: the run.
            worker_id: who.
            incarnation: which process of it.
            seq: place in the worker's chain, from 1, growing.
            prev_applied: last seq known to be applied; 0 for none.
            base: version that the update was computed at.
            payload: the encoded update; ``None`` is a skip.
            kind: kind of update; must be the run's.
            work: share of the assigned inner loop that was done, in (0, 1].
            samples: samples seen.
            tasks: tasks worked on.
            metrics: finite numbers measured at the base version.
            timing: seconds since the last commit, of ``compute``, ``wait`` and ``communication``.
            residual_lost: declares that what the worker owed before, if anything, is lost.

        Raises:
            ChainBrokenError: ``details['last_applied']`` says where the chain stands.
            StaleCommitError: ``details['staleness']`` says how far behind the base is.
            RefusalError: any other refusal; nothing has changed.
            PayloadError: an update that can never be accepted.
        """
        query = CommitQuery(
            worker_id=worker_id,
            incarnation=incarnation,
            seq=seq,
            prev_applied=prev_applied,
            base=base,
            kind=kind,
            work=work,
            payload=payload,
            samples=samples,
            tasks=tasks,
            metrics={} if metrics is None else metrics,
            timing={} if timing is None else timing,
            residual_lost=residual_lost,
        )
        body = b"" if payload is None else payload
        require_admissible(len(body), self.limits.max_payload_bytes)
        header = calls.commit_header_to_pb(run_id, query)
        sent = 0

        def messages() -> Iterator[coordinator_pb2.CommitUpdateRequest]:
            nonlocal sent
            for message in chunk_messages(header, body, coordinator_pb2.CommitUpdateRequest):
                sent += message_bytes(message)
                yield message

        seconds = self.deadlines.transfer_seconds(len(body))
        answer = await self.call(self.coordinator().CommitUpdate, messages(), seconds)
        return CommitResult(
            staleness=answer.staleness,
            weight=answer.weight,
            version=answer.version,
            duplicate=answer.duplicate,
            last_applied=answer.last_applied,
            status=scalars.status_from_pb(answer.status),
            bytes_received=message_bytes(answer),
            bytes_sent=sent,
        )

    # --- metrics ---------------------------------------------------------------------------------

    async def report_metrics(self, run_id: str, samples: Iterable[MetricSample]) -> None:
        """Stores samples; raises ``RunNotFoundError``, ``InvalidRequestError`` or ``NonFiniteError``."""
        request = metrics_pb2.ReportMetricsRequest(
            run_id=run_id, samples=[views.sample_to_pb(sample) for sample in samples]
        )
        await self.call(self.metrics().ReportMetrics, request)

    async def query_metrics(
        self, run_id: str, names: Sequence[str] = (), *, after_version: int = 0, limit: int = 0
    ) -> list[MetricSample]:
        """Samples, oldest first: of some series or all, above a version, at most ``limit`` (0 is the most)."""
        request = metrics_pb2.QueryMetricsRequest(
            run_id=run_id, names=names, after_version=after_version, limit=limit
        )
        return views.samples_from_pb((await self.call(self.metrics().QueryMetrics, request)).samples)

    async def _watch_once(self, run_id: str, after_version: int) -> AsyncGenerator[WatchUpdate, None]:
        request = coordinator_pb2.WatchRunRequest(run_id=run_id, after_version=after_version)
        stream = self.stream(self.coordinator().WatchRun, request, self.deadlines.watch_seconds)
        async with aclosing(stream) as messages:
            async for message in messages:
                record = views.event_from_pb(message.event) if message.HasField("event") else None
                yield WatchUpdate(record=record, status=scalars.status_from_pb(message.status))
