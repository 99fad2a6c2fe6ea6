"""Each request that must be refused, over a real connection to a real process: typed, and nothing changes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from chronos_common import errors
from chronos_common.codec import encode
from chronos_common.pb.chronos.v1 import coordinator_pb2 as pb
from chronos_common.pb.chronos.v1 import coordinator_pb2_grpc
from chronos_common.store import StreamKey, open_store
from chronos_common.wire import CoordinatorClient, WireLimits
from chronos_common.wire.status import from_rpc_error
from tests.support.clients import BUDGET, MAX_PAYLOAD_BYTES, Committer
from tests.support.coordinator_process import CoordinatorProcess, coordinator_process
from tests.support.serving import payload, run_config

pytestmark = pytest.mark.process

Attempt = Callable[[Committer], Awaitable[object]]
COMMIT_PATH = "/chronos.v1.CoordinatorService/CommitUpdate"


def arrays(**values: Any) -> bytes:
    return encode("identity", {name: np.asarray(value) for name, value in values.items()})


def commit(base: int = 2, **changes: Any) -> Attempt:
    """The worker's next commit, with something wrong about it."""
    return lambda worker: worker.commit(base, **changes)


def garbled(flip: int) -> bytes:
    content = bytearray(payload(1.0))
    content[flip] ^= 0xFF
    return bytes(content)


async def oversized(worker: Committer) -> object:
    """A client that has no limit of its own."""
    limits = WireLimits()
    async with CoordinatorClient(worker.client.address, deadlines=BUDGET, limits=limits) as unlimited:
        worker.client = unlimited
        return await worker.commit(2, payload=b"\0" * (MAX_PAYLOAD_BYTES + 1))


def raw(*messages: bytes, header_first: bool = False) -> Attempt:
    """Bytes instead of messages."""

    async def send(worker: Committer) -> object:
        first = [pb.CommitUpdateRequest(header=header(worker)).SerializeToString()] if header_first else []
        async with grpc.aio.insecure_channel(worker.client.address) as channel:
            method: Any = channel.stream_unary(COMMIT_PATH)
            try:
                return await method(iter([*first, *messages]), timeout=5.0)
            except grpc.aio.AioRpcError as error:
                raise from_rpc_error(error) from error

    return send


def header(worker: Committer, **changes: Any) -> pb.CommitHeader:
    fields: dict[str, Any] = {
        "run_id": worker.run_id,
        "worker_id": worker.worker_id,
        "incarnation": worker.incarnation,
        "seq": worker.applied + 1,
        "prev_applied": worker.applied,
        "base": [pb.FragmentVersion(version=2)],
        "work": 1.0,
        "payload_bytes": len(payload()),
    }
    return pb.CommitHeader(**{**fields, **changes})


def streamed(chunks: list[bytes], **changes: Any) -> Attempt:
    """A commit of these chunks."""

    async def send(worker: Committer) -> object:
        first = pb.CommitUpdateRequest(header=header(worker, **changes), chunk=chunks[0])
        messages = [first, *(pb.CommitUpdateRequest(chunk=chunk) for chunk in chunks[1:])]
        async with grpc.aio.insecure_channel(worker.client.address) as channel:
            stub = coordinator_pb2_grpc.CoordinatorServiceStub(channel)
            try:
                return await stub.CommitUpdate(iter(messages), timeout=5.0)
            except grpc.aio.AioRpcError as error:
                raise from_rpc_error(error) from error

    return send


async def superseded(worker: Committer) -> object:
    old = worker.incarnation
    await worker.client.register(worker.worker_id, f"instance-{old + 1}")
    return await worker.commit(2)


async def of_another_run(worker: Committer) -> object:
    stranger = await Committer(worker.client, worker_id="stranger", run_id=worker.run_id).register()
    return await stranger.commit(2)


CASES: dict[str, tuple[type[errors.ChronosError], Attempt]] = {
    "future version": (errors.UnknownVersionError, commit(base=4)),
    "version that can never be": (errors.UnknownVersionError, commit(base=2**63 - 1)),
    "unknown fragment": (
        errors.UnknownVersionError,
        streamed([payload()], base=[pb.FragmentVersion(fragment="head", version=2)]),
    ),
    "no version": (errors.InvalidRequestError, streamed([payload()], base=[])),
    "stale": (errors.StaleCommitError, commit(base=0)),
    "unknown run": (errors.RunNotFoundError, lambda w: Committer(w.client, w.worker_id, "nowhere").commit(2)),
    "wrong shape": (errors.ShapeMismatchError, commit(payload=arrays(x=[1.0, 2.0, 3.0]))),
    "wrong rank": (errors.ShapeMismatchError, commit(payload=arrays(x=[[1.0, 2.0]]))),
    "wrong dtype": (errors.DtypeMismatchError, commit(payload=arrays(x=np.ones(2, np.float32)))),
    "wrong name": (errors.NameMismatchError, commit(payload=arrays(y=[1.0, 2.0]))),
    "one name too many": (errors.NameMismatchError, commit(payload=arrays(x=[1.0, 2.0], y=[1.0]))),
    "NaN": (errors.NonFiniteError, commit(payload=arrays(x=[1.0, np.nan]))),
    "infinity": (errors.NonFiniteError, commit(payload=arrays(x=[-np.inf, 1.0]))),
    "NaN metric": (errors.NonFiniteError, commit(metrics={"outer_loss": np.nan})),
    "negative time": (errors.InvalidRequestError, commit(timing={"compute": -1.0})),
    "no work": (errors.InvalidRequestError, commit(work=0.0)),
    "too much work": (errors.InvalidRequestError, commit(work=1.5)),
    "NaN work": (errors.InvalidRequestError, commit(work=np.nan)),
    "another kind": (errors.InvalidRequestError, commit(kind="parameter_delta")),
    "another run's worker": (errors.WorkerNotMemberError, of_another_run),
    "unregistered": (errors.WorkerUnknownError, commit(worker_id="nobody")),
    "superseded": (errors.IncarnationSupersededError, superseded),
    "future incarnation": (errors.IncarnationSupersededError, commit(incarnation=99)),
    "broken chain": (errors.ChainBrokenError, commit(prev_applied=1, seq=9)),
    "seq 0": (errors.InvalidRequestError, commit(seq=0)),
    "no worker id": (errors.InvalidRequestError, commit(worker_id="")),
    "no payload": (errors.MalformedPayloadError, commit(payload=b"")),
    "garbage payload": (errors.MalformedPayloadError, commit(payload=b"\x80\x04garbage." * 9)),
    "damaged header": (errors.MalformedPayloadError, commit(payload=garbled(0))),
    "damaged codec": (errors.MalformedPayloadError, commit(payload=garbled(2))),
    "damaged value": (errors.MalformedPayloadError, commit(payload=garbled(-1))),
    "cut off": (errors.MalformedPayloadError, commit(payload=payload(1.0)[:-3])),
    "oversized": (errors.PayloadTooLargeError, oversized),
    "oversized by its header": (errors.PayloadTooLargeError, streamed([b""], payload_bytes=2**60)),
    "more than declared": (errors.MalformedPayloadError, streamed([payload(), payload()])),
    "less than declared": (errors.MalformedPayloadError, streamed([payload()[:-1]])),
    "a chunk above the limit": (errors.MalformedPayloadError, streamed([b"\0" * ((1 << 20) + 1)])),
    "no header": (errors.InvalidRequestError, raw(pb.CommitUpdateRequest(chunk=b"x").SerializeToString())),
    "empty stream": (errors.InvalidRequestError, raw()),
    "garbage bytes": (errors.MalformedPayloadError, raw(b"\xff" * 64)),
    "garbage after a header": (errors.MalformedPayloadError, raw(b"\xff", header_first=True)),
}


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CoordinatorProcess]:
    with coordinator_process(tmp_path_factory.mktemp("refusals")) as running:
        yield running


@pytest.mark.parametrize("case", CASES)
async def test_it_is_refused_by_its_type_and_nothing_changes(
    coordinator: CoordinatorProcess, case: str
) -> None:
    expected, attempt = CASES[case]
    run_id = f"run of {case}"
    async with CoordinatorClient(coordinator.address, deadlines=BUDGET) as client:
        await client.create_run(run_config(quorum=1, max_staleness=2), payload(), run_id=run_id)
        worker = await Committer(client, worker_id=f"worker of {case}", run_id=run_id).register()
        await worker.checkout()
        for base in range(3):
            await worker.commit(base)
        before = await client.get_run(run_id)
        journal = _journal(coordinator.store, run_id)
        with pytest.raises(expected) as caught:
            await attempt(worker)
        assert type(caught.value) is expected
        assert str(caught.value)
        worker.client = client
        after = await client.get_run(run_id)
        assert (after.digest, after.version, after.accepted) == (before.digest, 3, 3)
        assert _journal(coordinator.store, run_id) == journal
        assert (await client.verify_run(run_id)).clean
        if case != "superseded":
            assert (await worker.commit(3)).version == 4


async def test_a_quorum_beyond_all_workers_creates_no_run(coordinator: CoordinatorProcess) -> None:
    async with CoordinatorClient(coordinator.address, deadlines=BUDGET) as client:
        with pytest.raises(errors.ConfigurationError, match="quorum is 1000000, above the 10000 workers"):
            await client.create_run(run_config(quorum=1_000_000), payload(), run_id="too many")
        with pytest.raises(errors.RunNotFoundError):
            await client.get_run("too many")


def _journal(path: Path, run_id: str) -> list[str]:
    store = open_store(path, read_only=True)
    try:
        return [f"{entry.seq} {entry.kind} {entry.meta}" for entry in store.entries(StreamKey.of_run(run_id))]
    finally:
        store.close()
