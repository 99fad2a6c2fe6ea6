"""Hashes that prove a replay: of the journal so far, and of the state that it led to."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from chronos_common.codec import HEADER_BYTES
from chronos_common.engine.events import Event, to_parts
from chronos_common.tensors import digest

if TYPE_CHECKING:
    from chronos_common.engine.state import RunState


def state_digest(state: RunState) -> str:
    """SHA-256 over the state and how it came about: master, optimiser, version, chains and the journal."""
    arrays = {f"master/{name}": value for name, value in state.master.items()}
    arrays |= {f"published/{name}": value for name, value in state.published.items()}
    arrays |= {f"optimizer/{name}": value for name, value in state.optimizer_state.arrays().items()}
    rest: dict[str, Any] = {
        "journal": state.journal,
        "version": state.version,
        "steps": state.optimizer_state.steps,
        "scalars": {name: float(value).hex() for name, value in state.optimizer_state.scalars.items()},
        "chains": {w: [c.incarnation, c.last_applied] for w, c in state.rounds.chains.items()},
    }
    if state.guard is not None:
        rest |= {"guard": state.guard.to_json(), "whole": state.snapshot is not None}
    if state.flushes:
        rest["flushes"] = {level: list(versions) for level, versions in state.flushes.items()}
    if state.rounds.recent:
        rest["participation"] = {
            "recent": [{w: amount.hex() for w, amount in amounts.items()} for amounts in state.rounds.recent],
            "joined": {w: c.joined for w, c in state.rounds.chains.items()},
        }
    if state.memory is not None:
        rest["memory"] = [
            state.memory.digest,
            [[measured.base, measured.loss.hex()] for measured in state.losses],
        ]
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{digest(arrays)}\n{text}".encode()).hexdigest()


def chained(journal: str, event: Event) -> str:
    """The hash of the journal with one more event. Of a payload it takes the header, which has its checksum."""
    kind, meta, payload = to_parts(event)
    hasher = hashlib.sha256(f"{journal}\n{kind}\n{meta}\n".encode())
    hasher.update(payload[:HEADER_BYTES] if payload is not None else b"")
    return hasher.hexdigest()
