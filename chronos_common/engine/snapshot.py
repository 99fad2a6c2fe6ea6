"""A run's state as bytes, so that a restart need not fold the journal from its first entry.

A snapshot shortens a replay and replaces nothing: it is made of the state at an entry, and the entries after it are
folded as ever, each version's digests with them. It holds what a :class:`RunState` holds and what watchers may ask
of the commits since the newest version. What is derived is derived again: the optimiser from the config, the updates
of the open round from their payloads, the digests from the arrays.

The text is JSON, with the format's revision and a SHA-256 over itself and the payload. The payload is a sequence of
sections, arrays by the identity codec among them, whose names and lengths the text gives. ``state_digest`` covers
master, published value, optimiser, guard, chains and the hash of the journal; what it does not (ledger, totals, the
open round, stored answers, deltas for checkouts), that checksum does. Equal states give equal snapshots.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from chronos_common.codec import decode, encode
from chronos_common.engine.accepting import accepted_of
from chronos_common.engine.config import RunConfig
from chronos_common.engine.digests import state_digest
from chronos_common.engine.downlink import require_guard
from chronos_common.engine.events import CommitRecord, from_parts, to_parts
from chronos_common.engine.history import VersionHistory
from chronos_common.engine.plain import from_plain, to_plain
from chronos_common.engine.relay import Delta, Relay
from chronos_common.engine.state import RunState
from chronos_common.errors import ChronosError, CorruptStateError
from chronos_common.outer import OptimizerState, make_optimizer
from chronos_common.outer.memory import ContinuumMemory
from chronos_common.outer.memory import from_parts as memory_from_parts
from chronos_common.outer.memory import to_parts as memory_to_parts
from chronos_common.tensors import Array, digest, specs_of
from chronos_common.versions import RoundState

REVISION: Final = 1
"""Of the format; raised when an older release could misread a snapshot, or this one an older snapshot."""

_ELSEWHERE: Final = frozenset(
    {
        "config",
        "optimizer",
        "rounds",
        "master",
        "published",
        "optimizer_state",
        "snapshot",
        "digest",
        "relay",
        "memory",
    }
)
"""Fields of a state that are not written as they are."""

_SAME: Final = "same"
_BROKEN: Final = (ChronosError, KeyError, TypeError, ValueError, AttributeError, RecursionError)
"""What bytes that are no snapshot may raise on their way through."""


@dataclass(frozen=True, kw_only=True)
class RunSnapshot:
    """The state of a run after its entry ``seq``, as it is stored."""

    seq: int
    meta: str
    payload: bytes


@dataclass(kw_only=True)
class _Sections:
    """Named pieces of a payload."""

    pieces: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def cut(cls, payload: bytes, lengths: list[list[Any]]) -> _Sections:
        pieces, at = {}, 0
        for name, length in lengths:
            pieces[name] = payload[at : at + length]
            at += length
        if at != len(payload):
            raise ValueError("its sections do not fill its payload")
        return cls(pieces=pieces)

    def lengths(self) -> list[list[Any]]:
        return [[name, len(piece)] for name, piece in self.pieces.items()]


def to_snapshot(run_id: str, seq: int, state: RunState, history: VersionHistory) -> RunSnapshot:
    """The snapshot of a run after its entry ``seq``.

    Args:
        run_id: identity; a snapshot is restored for no other run.
        seq: of the last entry that is in ``state``.
        state: the run.
        history: has observed the same entries.

    Raises:
        ValueError: ``history`` is not of this state.
    """
    sections = _Sections()
    master = encode("identity", state.master)
    published = master if state.published is state.master else encode("identity", state.published)
    sections.pieces["master"] = master
    if published != master:
        sections.pieces["published"] = published
    if state.snapshot is not None and state.snapshot != published:
        sections.pieces["whole"] = state.snapshot
    for slot in sorted(state.optimizer_state.slots):
        sections.pieces[f"slot/{slot}"] = encode("identity", state.optimizer_state.slots[slot])
    for delta in state.relay.deltas:
        sections.pieces[f"delta/{delta.version}"] = delta.payload
    remembered = None
    if state.memory is not None:
        remembered, sections.pieces["memory"] = memory_to_parts(state.memory)
    document = {
        "run_id": run_id,
        "seq": seq,
        "config": state.config.to_json(),
        "state": to_plain(state, leave_out=_ELSEWHERE),
        "rounds": to_plain(state.rounds, leave_out=frozenset({"buffer"})),
        "optimizer": to_plain(state.optimizer_state, leave_out=frozenset({"slots"})),
        "slots": sorted(state.optimizer_state.slots),
        "whole": _whole(state, published),
        "relay": {"base": state.relay.base, "versions": [delta.version for delta in state.relay.deltas]},
        "open": _open_round(state, history, sections),
        **({} if remembered is None else {"memory": remembered}),
        "metrics": to_plain(history.metrics),
        "times": to_plain(history.times),
        "kept_times": history.kept_times,
        "state_digest": state_digest(state),
        "sections": sections.lengths(),
        "revision": REVISION,
    }
    payload = b"".join(sections.pieces.values())
    return RunSnapshot(
        seq=seq, meta=_text({**document, "checksum": _checksum(document, payload)}), payload=payload
    )


def from_snapshot(run_id: str, snapshot: RunSnapshot) -> tuple[RunState, VersionHistory]:
    """The state and the history that :func:`to_snapshot` wrote.

    Raises:
        CorruptStateError: it is damaged, of another run or entry, or of a format that this release cannot read.
    """
    try:
        document = json.loads(snapshot.meta)
        if document["revision"] != REVISION:
            raise ValueError(
                f"it has revision {document['revision']}; this release reads {REVISION}: run the release that wrote it"
            )
        checksum = document.pop("checksum")
        if checksum != _checksum(document, snapshot.payload):
            raise ValueError("its checksum differs: it was damaged at rest")
        if (document["run_id"], document["seq"]) != (run_id, snapshot.seq):
            raise ValueError(f"it belongs to run {document['run_id']!r} at entry {document['seq']}")
        return _restored(document, _Sections.cut(snapshot.payload, document["sections"]).pieces)
    except _BROKEN as error:
        what = str(error) if isinstance(error, ChronosError | ValueError) else repr(error)
        raise CorruptStateError(
            f"the snapshot of run {run_id!r} at entry {snapshot.seq} cannot be restored: {what}",
            seq=snapshot.seq,
        ) from error


def _restored(document: Mapping[str, Any], sections: Mapping[str, bytes]) -> tuple[RunState, VersionHistory]:
    config = RunConfig.from_json(document["config"])
    specs = config.specs

    def arrays(name: str) -> dict[str, Array]:
        return decode(sections[name], specs=specs)

    commits = tuple(_commit(entry, sections) for entry in document["open"])
    buffer = tuple(
        accepted_of(commit, None if commit.payload is None else decode(commit.payload, specs=specs))
        for commit in commits
    )
    master = arrays("master")
    published = arrays("published") if "published" in sections else master
    optimizer = make_optimizer(config.outer)
    blank = optimizer.init(master).slots
    if set(document["slots"]) != blank.keys():
        raise ValueError(
            f"the optimiser of this release does not have the slots {', '.join(document['slots'])}"
        )
    slots = {slot: decode(sections[f"slot/{slot}"], specs=specs_of(blank[slot])) for slot in blank}
    versions = document["relay"]["versions"]
    deltas = tuple(Delta(version=version, payload=sections[f"delta/{version}"]) for version in versions)
    state: RunState = from_plain(
        RunState,
        document["state"],
        config=config,
        optimizer=optimizer,
        rounds=from_plain(RoundState, document["rounds"], buffer=buffer),
        master=master,
        published=published,
        optimizer_state=from_plain(OptimizerState, document["optimizer"], slots=slots),
        snapshot=_WHOLE[document["whole"]](sections),
        digest=digest(published),
        relay=Relay(base=document["relay"]["base"], deltas=deltas),
        memory=_memory(config, document, sections),
    )
    require_guard(config.compression, state.guard)
    if state_digest(state) != document["state_digest"]:
        raise ValueError("its state has another digest than when it was written")
    history = VersionHistory(
        kept_times=document["kept_times"],
        open_commits=commits,
        metrics=from_plain(Mapping[str, float], document["metrics"]),
        times=from_plain(tuple[float, ...], document["times"]),
    )
    return state, history


def _memory(
    config: RunConfig, document: Mapping[str, Any], sections: Mapping[str, bytes]
) -> ContinuumMemory | None:
    if config.memory is None:
        return None
    return memory_from_parts(config.memory, config.specs, document["memory"], sections["memory"])


def _whole(state: RunState, published: bytes) -> str | None:
    """Where the published value lies as it was published, if it was published whole."""
    if state.snapshot is None:
        return None
    return _SAME if state.snapshot == published else "own"


_WHOLE: Final[Mapping[str | None, Callable[[Mapping[str, bytes]], bytes | None]]] = {
    None: lambda _: None,
    _SAME: lambda sections: sections.get("published", sections["master"]),
    "own": lambda sections: sections["whole"],
}


def _open_round(state: RunState, history: VersionHistory, sections: _Sections) -> list[dict[str, Any]]:
    """The commits of the open round, as the journal has them; their payloads become sections."""
    commits = history.open_commits
    if [(c.worker_id, c.seq) for c in commits] != [
        (accepted.commit.worker_id, accepted.commit.seq) for accepted in state.rounds.buffer
    ]:
        raise ValueError("the history has not observed the entries that made this state")
    written = []
    for number, commit in enumerate(commits):
        _, text, payload = to_parts(commit)
        name = None if payload is None else f"commit/{number}"
        if name is not None and payload is not None:
            sections.pieces[name] = payload
        written.append({"record": text, "payload": name})
    return written


def _commit(entry: Mapping[str, Any], sections: Mapping[str, bytes]) -> CommitRecord:
    payload = None if entry["payload"] is None else sections[entry["payload"]]
    commit = from_parts("accepted", entry["record"], payload)
    if not isinstance(commit, CommitRecord):
        raise TypeError("its open round holds something else than commits")
    return commit


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _checksum(document: Mapping[str, Any], payload: bytes) -> str:
    hasher = hashlib.sha256(f"{_text(document)}\n".encode())
    hasher.update(payload)
    return hasher.hexdigest()
