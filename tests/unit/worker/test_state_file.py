"""The bytes of a worker's state: exact, checked, and enough to go on whatever became of a commit."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chronos_common.codec import decode, encode
from chronos_common.compression import (
    Book,
    Ledger,
    PipelineConfig,
    SignificanceState,
    compressor,
    make_pipeline,
)
from chronos_common.compression.pipeline import Pipeline
from chronos_common.errors import (
    ChainBrokenError,
    ChronosError,
    CorruptStateError,
    NonFiniteError,
    ProblemError,
    StaleCommitError,
)
from chronos_common.hypergradient import Carry
from chronos_common.problem import InnerState
from chronos_common.tensors import TensorSpec
from chronos_common.versions import Commit, Outbox, OutboxState
from chronos_worker.session import SessionState
from chronos_worker.state_file import (
    ForeignStateError,
    Identity,
    identity_of,
    pack_outbox,
    pack_theta,
    unpack_outbox,
    unpack_theta,
)

ME = Identity(worker_id="w", run_id="a run/with ü", definition="d")
SPECS = (
    TensorSpec(name="big", shape=(3, 40), dtype="float64"),
    TensorSpec(name="scalar", shape=(), dtype="float32"),
)


def arrays(value: float) -> dict[str, np.ndarray]:
    return {"big": np.full((3, 40), value), "scalar": np.asarray(value, np.float32)}


def session_state(**changes: Any) -> SessionState:
    payload = encode("identity", arrays(2.0))
    commits = (
        (
            Commit(
                worker_id="w", incarnation=3, seq=7, prev_applied=6, base=4, work=0.1, update=decode(payload)
            ),
            payload,
        ),
        (Commit(worker_id="w", incarnation=3, seq=8, prev_applied=6, base=5), None),
    )
    outbox = OutboxState(incarnation=3, last_applied=6, residual=arrays(-0.0), unresolved=commits)
    fields: dict[str, Any] = {
        "outbox": outbox,
        "filter": SignificanceState(threshold=0.1, skips=2, sent_norm=1 / 3),
        "ledger": Ledger(produced=0.1 + 0.2, applied=-1e-300, gross=5.0),
        "declares": True,
    }
    return SessionState(**(fields | changes))


def same(left: Any, right: Any) -> bool:
    return left.keys() == right.keys() and all(
        left[n].dtype == right[n].dtype
        and left[n].shape == right[n].shape
        and left[n].tobytes() == right[n].tobytes()
        for n in left
    )


def test_everything_comes_back_to_the_bit() -> None:
    state = session_state()
    content = pack_outbox(ME, state)
    found = unpack_outbox(content, ME, SPECS)
    assert (found.filter, found.ledger, found.declares) == (state.filter, state.ledger, True)
    assert (found.outbox.incarnation, found.outbox.last_applied) == (3, 6)
    assert same(found.outbox.residual, state.outbox.residual)
    for (commit, payload), (was, bytes_) in zip(
        found.outbox.unresolved, state.outbox.unresolved, strict=True
    ):
        assert payload == bytes_
        assert replace(commit, update=None) == replace(was, update=None)
        assert (commit.update is None) == (was.update is None)
        if commit.update is not None and was.update is not None:
            assert same(commit.update, was.update)
    assert identity_of(content) == ME
    assert pack_outbox(ME, found) == content


def test_nothing_owed_is_a_file_too() -> None:
    empty = OutboxState(incarnation=1, last_applied=0, residual={}, unresolved=())
    found = unpack_outbox(pack_outbox(ME, session_state(outbox=empty)), ME, SPECS)
    assert found.outbox == empty


@given(at=st.integers(0, 10**6), bit=st.integers(0, 7), cut=st.booleans())
@settings(max_examples=300)
def test_damage_is_always_noticed(at: int, bit: int, cut: bool) -> None:
    content = pack_outbox(ME, session_state())
    at %= len(content)
    damaged = content[:at] if cut else content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :]
    with pytest.raises(CorruptStateError):
        unpack_outbox(damaged, ME, SPECS)
    with pytest.raises(CorruptStateError):
        unpack_theta(damaged, ME)


@pytest.mark.parametrize("name", ["worker_id", "run_id", "definition"])
def test_what_belongs_to_others_is_told_from_damage(name: str) -> None:
    other = replace(ME, **{name: "other"})
    with pytest.raises(ForeignStateError, match=name):
        unpack_outbox(pack_outbox(other, session_state()), ME, SPECS)


def framed(body: bytes) -> bytes:
    head = b"CHWS" + (1).to_bytes(4, "little")
    return head + hashlib.sha256(head + body).digest() + body


def with_meta(**changes: Any) -> bytes:
    body = pack_outbox(ME, session_state())[40:]
    header = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])
    meta = json.loads(header["__metadata__"]["chronos"]) | changes
    return framed(safetensors.numpy.save(safetensors.numpy.load(body), {"chronos": json.dumps(meta)}))


@pytest.mark.parametrize(
    "content",
    [
        framed(b""),
        framed(b"\xff" * 64),
        framed(safetensors.numpy.save({}, {"chronos": "[]"})),
        framed(safetensors.numpy.save({}, {"other": "{}"})),
        with_meta(incarnation=-1),
        with_meta(last_applied=float("inf")),
        with_meta(unresolved=[{"seq": 9, "skip": False, "prev_applied": 1, "base": 1, "work": 1.0}]),
        with_meta(unresolved=[{"seq": 7}]),
        with_meta(ledger={}),
        with_meta(ledger=dict.fromkeys(vars(Ledger()), 10**400)),
        with_meta(ledger={name: float("nan") for name in vars(Ledger())}),
        with_meta(filter={"threshold": -1.0, "skips": 0, "sent_norm": 0.0}),
    ],
)
def test_a_forged_file_is_refused_with_its_type(content: bytes) -> None:
    with pytest.raises(CorruptStateError):
        unpack_outbox(content, ME, SPECS)


@pytest.mark.parametrize(
    "residual",
    [{"big": np.zeros((3, 40))}, arrays(0.0) | {"big": np.zeros((40, 3))}, arrays(float("nan"))],
)
def test_a_residual_of_other_outer_parameters_is_refused(residual: dict[str, np.ndarray]) -> None:
    outbox = OutboxState(incarnation=1, last_applied=0, residual=residual, unresolved=())
    with pytest.raises(CorruptStateError, match="session of this run"):
        unpack_outbox(pack_outbox(ME, session_state(outbox=outbox)), ME, SPECS)


def carry(**tensors: torch.Tensor) -> Carry:
    inner = InnerState({"w": torch.arange(6.0).reshape(2, 3).T}, opt_state=dict(tensors))
    return Carry(base_version=4, next_step=9, inner={"a/b": inner}, estimator={"v": torch.ones(2).bool()})


def test_theta_comes_back_whatever_its_layout_and_dtype() -> None:
    shared = torch.ones(3, dtype=torch.bfloat16)
    was = carry(m=shared, n=shared, steps=torch.tensor(3), empty=torch.empty(0, 2))
    found = unpack_theta(pack_theta(ME, was), ME)
    assert (found.base_version, found.next_step) == (4, 9)
    left, right = found.to_tensors(), was.to_tensors()
    assert left.keys() == right.keys()
    for name, value in right.items():
        assert left[name].dtype == value.dtype
        assert torch.equal(left[name], value)


def test_theta_that_no_file_can_hold_is_said() -> None:
    with pytest.raises(ProblemError, match="no file can hold"):
        pack_theta(ME, carry(sparse=torch.eye(3).to_sparse()))


def test_an_outbox_is_no_theta() -> None:
    with pytest.raises(CorruptStateError, match="warm start"):
        unpack_theta(pack_outbox(ME, session_state()), ME)


# --- the outbox and its file together ------------------------------------------------------------------------

SIZE = 40
VECTOR = (TensorSpec(name="u", shape=(SIZE,), dtype="float64"),)
OPERATIONS = ("commit", "lost request", "lost answer", "stale", "poison", "hold", "crash", "crash unwritten")
REFUSALS = {
    "stale": StaleCommitError("stale", staleness=1, weight=0.5),
    "poison": NonFiniteError("refused for good"),
}


class History:
    """A worker's outbox over its file, and the end of a chain that keeps the protocol's order."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.book = Book()
        self.incarnation, self.last_applied, self.applied_by = 1, 0, 0
        self.applied = np.zeros(SIZE)
        self.produced = 0
        self.box = Outbox("w", 1, **self.rules())
        self.file = self.packed()

    def rules(self) -> dict[str, Any]:
        return {"compress": compressor(self.pipeline), "observe": self.book.record}

    def packed(self) -> bytes:
        state = SessionState(
            outbox=self.box.state(),
            filter=SignificanceState(threshold=0.0),
            ledger=self.book.ledger,
            declares=False,
        )
        return pack_outbox(ME, state)

    def update(self) -> dict[str, np.ndarray]:
        self.produced += 1
        values = np.zeros(SIZE)
        values[self.produced % SIZE] = 1.0
        return {"u": values}

    def step(self, operation: str) -> None:
        if operation.startswith("crash"):
            if operation == "crash unwritten":
                self.box.prepare(self.update(), 0)
            self.crash()
            return
        if operation == "hold":
            self.box.hold(self.update())
        commit = self.box.prepare(None if operation == "hold" else self.update(), 0)
        self.file = self.packed()
        if operation == "lost request":
            return
        refusal = self.decide(commit, REFUSALS.get(operation))
        if operation == "lost answer":
            return
        if refusal is None:
            self.box.accepted(commit.seq)
        else:
            self.box.refused(commit.seq, refusal)

    def decide(self, commit: Commit[Any], refusal: ChronosError | None) -> ChronosError | None:
        """The coordinator's answer, in its order: the chain first, then what the commit holds."""
        if commit.prev_applied != self.last_applied:
            return ChainBrokenError("broken", last_applied=self.last_applied, incarnation=self.applied_by)
        if refusal is None:
            self.last_applied, self.applied_by = commit.seq, commit.incarnation
            if commit.update is not None:
                self.applied = self.applied + commit.update["u"]
        return refusal

    def crash(self) -> None:
        state = unpack_outbox(self.file, ME, VECTOR)
        assert state.outbox.continues(self.last_applied, self.applied_by)
        self.book, self.incarnation = Book(), self.incarnation + 1
        self.book.ledger = state.ledger
        chain = {"last_applied": self.last_applied, "applied_by": self.applied_by}
        self.box, _ = Outbox.restored("w", self.incarnation, state.outbox, **chain, **self.rules())

    def check(self) -> None:
        ledger = self.book.ledger
        residual = self.box.residual.get("u", np.zeros(SIZE)).sum()
        assert self.box.unresolved == ()
        assert ledger.imbalance(residual=float(residual)) < 1e-12
        assert abs(ledger.applied - self.applied.sum()) <= 1e-6 * max(1.0, ledger.gross)


@pytest.mark.histories
@given(
    operations=st.lists(st.sampled_from(OPERATIONS), min_size=1, max_size=30),
    name=st.sampled_from(("identity", "int8", "topk5", "topk10+int8")),
)
@settings(max_examples=400)
def test_through_crashes_at_any_moment_the_ledger_of_outbox_and_file_holds(
    operations: list[str], name: str
) -> None:
    pipeline = (
        Pipeline(PipelineConfig(name=name, dense_below_elements=0))
        if name != "identity"
        else make_pipeline(name)
    )
    history = History(pipeline)
    for operation in operations:
        history.step(operation)
        if operation.startswith("crash"):
            history.check()
    history.crash()
    history.check()
