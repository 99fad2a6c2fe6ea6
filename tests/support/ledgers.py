"""A run and its senders in which everything goes wrong, with books of what became of every value."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from chronos_common.codec import decode, encode
from chronos_common.compression import (
    Book,
    Pipeline,
    PipelineConfig,
    SignificanceConfig,
    SignificanceFilter,
    compressor,
    mass,
)
from chronos_common.engine import (
    CheckoutQuery,
    CommitQuery,
    CommitRecord,
    CompressionConfig,
    Created,
    Published,
    RunConfig,
    RunEngine,
    WorkSpec,
    from_parts,
    replay,
    start,
    to_parts,
)
from chronos_common.errors import ChronosError, OverloadedError
from chronos_common.outer import OuterConfig, OuterSpec
from chronos_common.tensors import TensorSpec
from chronos_common.versions import HYPERGRADIENT, KINDS, Commit, Outbox, RoundConfig

SPECS = (
    TensorSpec(name="large", shape=(40, 10), dtype="float32"),
    TensorSpec(name="small", shape=(), dtype="float64"),
)
SIZE = sum(spec.size for spec in SPECS)
RUN = "run"
DURABLE, FORGETFUL = "durable", "forgetful"


def flat(arrays: Any) -> Any:
    return np.concatenate([np.asarray(arrays[spec.name], np.float64).reshape(-1) for spec in SPECS])


class Columns:
    """The ledger's terms as whole vectors: what a sum could hide shows here."""

    def __init__(self) -> None:
        self.terms: dict[str, Any] = {}

    def add(self, term: str, arrays: Any, share: float = 1.0) -> None:
        self.terms[term] = self.get(term) + share * flat(arrays)

    def get(self, term: str) -> Any:
        return self.terms.get(term, np.zeros(SIZE))


class Server:
    """The receiving end: the real engine on a journal, which it is read back from when it dies."""

    def __init__(self, pipeline: str, rounds: RoundConfig, kind: str, rng: np.random.Generator) -> None:
        config = RunConfig(
            parameters=tuple(OuterSpec(name=s.name, shape=s.shape, dtype=s.dtype) for s in SPECS),
            outer=OuterConfig(name="sgd", learning_rate=1e-3),
            rounds=rounds,
            work=WorkSpec(kind=kind),
            compression=CompressionConfig.named(pipeline, pipeline),
        )
        zero = {s.name: np.zeros(s.shape, s.dtype) for s in SPECS}
        created = Created(config=config.to_json(), payload=encode("identity", zero))
        self.rng, self.kind, self.now = rng, kind, 0.0
        self.journal = [to_parts(created)]
        self.engine = RunEngine(RUN, start(created))
        self.incarnations: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()

    @property
    def version(self) -> int:
        return self.engine.state.version

    def chain(self, worker: str) -> Any:
        return self.engine.state.rounds.chains[worker]

    def register(self, worker: str) -> int:
        self.incarnations[worker] += 1
        query = CheckoutQuery(run_id=RUN, worker_id=worker, incarnation=self.incarnations[worker])
        self.engine.checkout(query, self.now)
        self.write()
        return self.incarnations[worker]

    def write(self) -> None:
        self.journal += [to_parts(event) for event in self.engine.take_events()]

    def die(self) -> None:
        """What is not in the journal never was."""
        self.engine = RunEngine(RUN, replay(from_parts(*parts) for parts in self.journal))
        self.engine.restarted(self.now)
        self.seen["deaths"] += 1

    def take(self, commit: Commit[Any], payload: bytes | None) -> None:
        """Raises what the coordinator would answer with."""
        self.now += 0.1
        roll = self.rng.random()
        if roll < 0.02:
            raise OverloadedError("later")
        query = CommitQuery(
            worker_id=commit.worker_id,
            incarnation=commit.incarnation,
            seq=commit.seq,
            prev_applied=commit.prev_applied,
            base=commit.base,
            kind=self.kind if roll > 0.04 else next(kind for kind in KINDS if kind != self.kind),
            work=commit.work,
            payload=payload if payload is None or roll < 0.96 else payload[:-1],
        )
        before = self.engine.state.totals.accepted
        self.engine.commit(query, self.incarnations[commit.worker_id], self.now)
        self.seen["duplicates"] += before == self.engine.state.totals.accepted
        for fate in ("before", "after"):
            if fate == "after":
                self.write()
            if self.rng.random() < 0.003:
                self.die()
                raise OverloadedError("the coordinator is gone")


class Sender:
    """The sending end: an outbox, a filter, and a disk or none."""

    def __init__(
        self, name: str, server: Server, pipeline: str, rng: np.random.Generator, *, filtered: bool
    ) -> None:
        self.name, self.server, self.rng = name, server, rng
        config = SignificanceConfig(minimum=0.7, maximum=1.2, max_skips=2)
        self.filter = SignificanceFilter(config if filtered else SignificanceConfig())
        self.significance = self.filter.start()
        self.book, self.columns = Book(), Columns()
        self.options: dict[str, Any] = {
            "kind": server.kind,
            "decay": server.engine.config.rounds.decay,
            "compress": compressor(Pipeline(PipelineConfig(name=pipeline))),
            "observe": self.tell,
        }
        self.box = self.fresh()

    def tell(self, term: str, arrays: Any, share: float = 1.0) -> None:
        self.book.record(term, arrays, share)
        self.columns.add(term, arrays, share)

    def fresh(self) -> Outbox:
        incarnation = self.server.register(self.name)
        applied = self.server.chain(self.name).last_applied
        return Outbox(self.name, incarnation, last_applied=applied, **self.options)

    def crash(self) -> None:
        """The process dies and comes back: from its disk, or with a declared loss."""
        if self.name == DURABLE:
            disk = self.box.state()
            incarnation, chain = self.server.register(self.name), self.server.chain(self.name)
            self.box, _ = Outbox.restored(
                self.name,
                incarnation,
                disk,
                last_applied=chain.last_applied,
                applied_by=chain.incarnation,
                **self.options,
            )
            return
        if self.box.residual:
            self.tell("lost", self.box.residual)
        chain = self.server.chain(self.name)
        for commit in self.box.unresolved:
            if commit.update is not None:
                arrived = (commit.incarnation, commit.seq) == (chain.incarnation, chain.last_applied)
                self.tell("applied" if arrived else "lost", commit.update)
        self.box = self.fresh()

    def produce(self, update: Any) -> None:
        base = max(0, self.server.version - int(self.rng.integers(0, 4)))
        verdict = self.filter.judge(self.significance, self.box.with_residual(update))
        self.significance = verdict.state
        work = float(self.rng.choice([0.5, 1.0]))
        if verdict.send:
            self.box.prepare(update, base, work=work)
        else:
            self.server.seen["held"] += 1
            self.box.hold(update)
            self.box.prepare(None, base, work=work)

    def exchange(self) -> None:
        """Sends one unresolved commit; questions, answers, both or neither may get lost."""
        if not self.box.unresolved:
            return
        commit = self.box.unresolved[int(self.rng.integers(len(self.box.unresolved)))]
        if self.rng.random() < 0.15:
            return
        answered = self.rng.random() > 0.2
        try:
            self.server.take(commit, self.box.payload(commit.seq))
        except ChronosError as error:
            self.server.seen[error.reason] += 1
            if answered:
                self.box.refused(commit.seq, error)
        else:
            if answered:
                self.box.accepted(commit.seq)


def history(
    pipeline: str,
    kind: str = HYPERGRADIENT,
    *,
    rounds: RoundConfig,
    filtered: bool,
    commits: int,
    seed: int,
) -> tuple[Server, list[Sender]]:
    """So many random commits; at the end every one of them has its answer, and the run is over."""
    rng = np.random.default_rng(seed)
    server = Server(pipeline, rounds, kind, rng)
    names = (DURABLE, FORGETFUL, "steady")
    senders = [Sender(name, server, pipeline, rng, filtered=filtered) for name in names]
    for _ in range(commits):
        sender = senders[int(rng.integers(len(senders)))]
        scale = np.exp(rng.normal())
        sender.produce(
            {s.name: np.asarray(scale * rng.standard_normal(s.shape)).astype(s.dtype) for s in SPECS}
        )
        for _ in range(int(rng.integers(0, 4))):
            sender.exchange()
        if rng.random() < 0.1:  # leases run out now and then
            server.now += 20.0
            server.engine.tick(server.now)
            server.write()
        if rng.random() < 0.02 and sender.name != "steady":
            sender.crash()
    for sender in senders:
        for _ in range(500):
            sender.exchange()
        assert not sender.box.unresolved
    server.engine.stop("enough")
    server.write()
    return server, senders


def journalled(server: Server) -> tuple[Any, float, float]:
    """What the journal says was accepted: as a vector, as a mass, and the mass of it that entered no version."""
    total, everything, entered = np.zeros(SIZE), 0.0, 0.0
    round_mass = 0.0
    for event in (from_parts(*parts) for parts in server.journal):
        if isinstance(event, CommitRecord) and event.payload is not None:
            update = decode(event.payload, specs=SPECS)
            total = total + flat(update)
            everything += mass(update)
            round_mass += mass(update)
        elif isinstance(event, Published):
            entered, round_mass = entered + round_mass, 0.0
    return total, everything, round_mass
