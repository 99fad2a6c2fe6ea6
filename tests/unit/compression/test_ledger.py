"""Nothing is lost silently: the ledger over a thousand commits in which everything goes wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from chronos_common.codec import decode
from chronos_common.compression import (
    Book,
    Ledger,
    SignificanceConfig,
    SignificanceFilter,
    compressor,
    make_pipeline,
    mass,
)
from chronos_common.errors import (
    ChronosError,
    InvalidRequestError,
    NonFiniteError,
    OverloadedError,
)
from chronos_common.tensors import TensorSpec
from chronos_common.versions import (
    HYPERGRADIENT,
    PARAMETER_DELTA,
    Accepted,
    Commit,
    Outbox,
    OutboxState,
    RoundConfig,
    RoundState,
    advance,
    join,
    judge,
    record,
)

PIPELINES = ["identity", "int8", "topk10", "topk10+int8", "topk1+int8"]
SPECS = (
    TensorSpec(name="large", shape=(40, 10), dtype="float32"),
    TensorSpec(name="small", shape=(), dtype="float64"),
)
COMMITS = 1_000


class Columns:
    """The ledger's terms as whole vectors: what a sum could hide shows here."""

    def __init__(self) -> None:
        self.terms: dict[str, Any] = {}

    def add(self, term: str, arrays: Any, share: float = 1.0) -> None:
        self.terms[term] = self.terms.get(term, 0.0) + share * flat(arrays)

    def get(self, term: str) -> Any:
        return self.terms.get(term, 0.0)


def flat(arrays: Any) -> Any:
    parts = [
        np.asarray(arrays[s.name], np.float64).reshape(-1) if arrays else np.zeros(s.size) for s in SPECS
    ]
    return np.concatenate(parts)


class Server:
    """The receiving end: the real round machine, and a ledger of its own."""

    def __init__(self, kind: str, decay: float, rng: np.random.Generator) -> None:
        self.kind = kind
        self.config = RoundConfig(max_staleness=2, max_in_flight=8, quorum=1, decay=decay, max_local_work=1.5)
        self.state: RoundState[Any] = join(join(RoundState(), "durable"), "forgetful")
        self.incarnations = {"durable": 0, "forgetful": 0}
        self.rng = rng
        self.book, self.columns = Book(), Columns()

    def tell(self, term: str, arrays: Any, share: float = 1.0) -> None:
        self.book.record(term, arrays, share)
        self.columns.add(term, arrays, share)

    def register(self, worker: str) -> int:
        self.incarnations[worker] += 1
        return self.incarnations[worker]

    def take(self, commit: Commit[Any], payload: bytes | None) -> None:
        """Raises what the coordinator would answer with."""
        roll = self.rng.random()
        if roll < 0.03:
            raise OverloadedError("later")
        update = commit.update if payload is None else decode(payload, specs=SPECS)
        if payload is not None:
            assert all(np.array_equal(update[name], commit.update[name]) for name in update)
        verdict = judge(
            self.state,
            replace(commit, update=update),
            self.config,
            current_incarnation=self.incarnations[commit.worker_id],
            kind=self.kind,
            check=self.check,
        )
        if isinstance(verdict, Accepted):
            self.state = record(self.state, verdict)
            if update is not None:
                self.tell("produced", update)
                self.tell("applied", update, verdict.weight)
                self.tell("discounted", update, 1.0 - verdict.weight)

    def check(self, update: Any) -> None:
        roll = self.rng.random()
        if roll < 0.02:
            raise NonFiniteError("broken on the way")
        if roll < 0.05:
            raise InvalidRequestError("not now")


class Sender:
    """The sending end: an outbox with a compressor, a filter, and a disk or none."""

    def __init__(self, name: str, server: Server, pipeline: str, rng: np.random.Generator) -> None:
        self.name, self.server, self.rng = name, server, rng
        self.compress = None if pipeline == "identity" else compressor(make_pipeline(pipeline))
        self.filter = SignificanceFilter(SignificanceConfig(minimum=0.7, maximum=1.2, max_skips=2))
        self.significance = self.filter.start()
        self.book, self.columns = Book(), Columns()
        self.disk: OutboxState | None = None
        self.box = self.fresh()

    def tell(self, term: str, arrays: Any, share: float = 1.0) -> None:
        self.book.record(term, arrays, share)
        self.columns.add(term, arrays, share)

    def options(self) -> dict[str, Any]:
        return {
            "kind": self.server.kind,
            "decay": self.server.config.decay,
            "compress": self.compress,
            "observe": self.tell,
        }

    def fresh(self) -> Outbox:
        applied = self.server.state.chains[self.name].last_applied
        return Outbox(self.name, self.server.register(self.name), last_applied=applied, **self.options())

    def crash(self) -> None:
        """The process dies and comes back: from its disk, or with a declared loss."""
        if self.name == "durable":
            incarnation = self.server.register(self.name)
            chain = self.server.state.chains[self.name]
            self.disk = self.box.state()
            self.box, _ = Outbox.restored(
                self.name,
                incarnation,
                self.disk,
                last_applied=chain.last_applied,
                applied_by=chain.incarnation,
                **self.options(),
            )
            return
        if self.box.residual:
            self.tell("lost", self.box.residual)
        chain = self.server.state.chains[self.name]
        for commit in self.box.unresolved:
            if commit.update is not None:
                arrived = (commit.incarnation, commit.seq) == (chain.incarnation, chain.last_applied)
                self.tell("applied" if arrived else "lost", commit.update)
        self.box = self.fresh()

    def produce(self, update: Any) -> None:
        base = max(0, self.server.state.version - int(self.rng.integers(0, 5)))
        verdict = self.filter.judge(self.significance, self.box.with_residual(update))
        self.significance = verdict.state
        work = float(self.rng.choice([0.5, 1.0]))
        if verdict.send:
            self.box.prepare(update, base, work=work)
        else:
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
            if answered:
                self.box.refused(commit.seq, error)
        else:
            if answered:
                self.box.accepted(commit.seq)


def history(pipeline: str, kind: str, seed: int) -> tuple[Server, list[Sender]]:
    rng = np.random.default_rng(seed)
    server = Server(kind, 0.5, rng)
    senders = [Sender(name, server, pipeline, rng) for name in ("durable", "forgetful")]
    for _ in range(COMMITS):
        sender = senders[int(rng.integers(2))]
        scale = np.exp(rng.normal())
        sender.produce(
            {s.name: np.asarray(scale * rng.standard_normal(s.shape)).astype(s.dtype) for s in SPECS}
        )
        for _ in range(int(rng.integers(0, 4))):
            sender.exchange()
        if rng.random() < 0.3:
            server.state = advance(server.state)
        if rng.random() < 0.02:
            sender.crash()
    for sender in senders:
        for _ in range(500):
            sender.exchange()
        assert not sender.box.unresolved
    return server, senders


@pytest.mark.parametrize("kind", [HYPERGRADIENT, PARAMETER_DELTA])
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_thousand_commits_balance(pipeline: str, kind: str) -> None:
    server, senders = history(pipeline, kind, seed=len(pipeline))
    at_senders = senders[0].book.ledger + senders[1].book.ledger
    residual = sum((flat(s.box.residual) for s in senders), np.zeros(401))
    owed = sum(mass(s.box.residual) for s in senders if s.box.residual)
    assert at_senders.imbalance(residual=owed) <= 1e-6
    assert server.book.ledger.imbalance() <= 1e-6
    both = at_senders.into(server.book.ledger)
    assert both.imbalance(residual=owed) <= 1e-6
    assert min(map(abs, (both.applied, both.discounted, both.discarded, both.lost))) > 0

    columns = {
        term: sum(s.columns.get(term) for s in senders)
        for term in ("produced", "discounted", "discarded", "lost")
    }
    found = server.columns.get("applied") + server.columns.get("discounted") + residual
    found = found + columns["discounted"] + columns["discarded"] + columns["lost"]
    np.testing.assert_allclose(found, columns["produced"], atol=1e-6 * at_senders.gross / 401)


def test_what_is_missing_or_doubled_shows() -> None:
    arrays = {"x": np.array([1.0, -3.0, 1.5])}
    ledger = Ledger().record("produced", arrays)
    assert (ledger.produced, ledger.gross) == (-0.5, 5.5)
    assert ledger.imbalance() == pytest.approx(0.5 / 5.5)
    assert ledger.imbalance(residual=mass(arrays)) == 0
    assert ledger.imbalance(pending=mass(arrays)) == 0
    assert ledger.record("applied", arrays).imbalance() == 0
    assert ledger.record("applied", arrays, share=2).imbalance() > 0
    split = ledger.record("applied", arrays, share=0.25).record("discounted", arrays, share=0.75)
    assert split.imbalance() == 0
    assert Ledger().imbalance() == 0
    assert mass({}) == 0


def test_unknown_terms_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="no term 'burnt'"):
        Ledger().record("burnt", {})
