"""A worker's state of one run as bytes: what it owes (the *outbox* file), and where training stands (*theta*).

    "CHWS" | revision (4, little-endian) | SHA-256 of the rest and of what is before it (32) | a safetensors file

The safetensors part holds the tensors, and in its metadata, under ``chronos``, everything else as canonical JSON.
Nothing is ever unpickled. A payload of a commit is kept as it travels; what it decodes to is the update.

No randomness is stored, because none is sequential: batches, initial values and dropout are drawn from the run's seed
and the index of the step, and the index is part of theta.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

import numpy as np
import safetensors.numpy
import safetensors.torch
from safetensors import SafetensorError

from chronos_common.codec import decode
from chronos_common.compression import Ledger, SignificanceState
from chronos_common.engine import RunView
from chronos_common.errors import CorruptStateError, PayloadError, ProblemError
from chronos_common.hypergradient import Carry
from chronos_common.tensors import Array, Arrays, TensorSpec, require_finite, require_like
from chronos_common.versions import Commit, OutboxState
from chronos_worker.session import SessionState

REVISION: Final = 1
_MAGIC: Final = b"CHWS"
_CHECKSUM_AT: Final = 8
_BODY_AT: Final = 40
_META: Final = "chronos"
_RESIDUAL: Final = "residual/"
_PAYLOAD: Final = "payload/"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Whose state it is, and of which run.

    Attributes:
        worker_id: the worker.
        run_id: the run.
        definition: fingerprint of the run: another run of the same name, on another coordinator or after its store
            was lost, has another one, and a newer release of Chronos the same.
    """

    worker_id: str
    run_id: str
    definition: str

    @classmethod
    def of(cls, worker_id: str, view: RunView) -> Identity:
        """Of a worker in a run."""
        work = view.config.work
        specs = [[spec.name, list(spec.shape), spec.dtype, spec.scale] for spec in view.config.parameters]
        text = _canonical([view.created_at, work.problem, work.problem_config, work.kind, specs])
        return cls(
            worker_id=worker_id,
            run_id=view.run_id,
            definition=hashlib.sha256(text.encode()).hexdigest(),
        )


class ForeignStateError(CorruptStateError):
    """A state file of another run or worker: nothing in it is owed to this one."""


def pack_outbox(identity: Identity, state: SessionState) -> bytes:
    """What a session owes and remembers, as the content of a file."""
    outbox = state.outbox
    tensors = {_RESIDUAL + name: value for name, value in outbox.residual.items()}
    unresolved = []
    for commit, payload in outbox.unresolved:
        if payload is not None:
            tensors[f"{_PAYLOAD}{commit.seq}"] = np.frombuffer(payload, np.uint8)
        numbers = {name: getattr(commit, name) for name in ("seq", "prev_applied", "base", "work")}
        unresolved.append(numbers | {"skip": payload is None})
    meta = {
        "incarnation": outbox.incarnation,
        "last_applied": outbox.last_applied,
        "unresolved": unresolved,
        "filter": state.filter.to_json(),
        "ledger": asdict(state.ledger),
        "declares": state.declares,
    }
    return _framed(safetensors.numpy.save(tensors, metadata=_metadata(identity, meta)))


def unpack_outbox(content: bytes, identity: Identity, specs: tuple[TensorSpec, ...]) -> SessionState:
    """The inverse of :func:`pack_outbox`.

    Args:
        content: of the file.
        identity: who reads, and for which run.
        specs: the run's outer parameters, which every array must be like.

    Raises:
        ForeignStateError: another run's or worker's.
        CorruptStateError: damaged, of a newer release, or not what such a file holds.
    """
    body, meta = _opened(content, identity)
    try:
        tensors = safetensors.numpy.load(body)
        residual = {n.removeprefix(_RESIDUAL): v for n, v in tensors.items() if n.startswith(_RESIDUAL)}
        _require_owed(residual, specs)
        unresolved = tuple(_commit(entry, meta, identity, tensors, specs) for entry in meta["unresolved"])
        ledger = Ledger(**{field.name: float(meta["ledger"][field.name]) for field in fields(Ledger)})
        if not all(map(math.isfinite, asdict(ledger).values())):
            raise ValueError("its ledger is not finite")
        return SessionState(
            outbox=OutboxState(
                incarnation=_count(meta["incarnation"]),
                last_applied=_count(meta["last_applied"]),
                residual=residual,
                unresolved=unresolved,
            ),
            filter=SignificanceState.from_json(meta["filter"]),
            ledger=ledger,
            declares=bool(meta["declares"]),
        )
    except (SafetensorError, PayloadError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise CorruptStateError(f"it does not hold a session of this run: {error!r}") from error


def pack_theta(identity: Identity, carry: Carry) -> bytes:
    """Where training stands, as the content of a file.

    Raises:
        ProblemError: it has a tensor that safetensors cannot hold (sparse, quantised, an exotic dtype).
    """
    try:
        tensors = {name: value.detach().to("cpu", copy=True) for name, value in carry.to_tensors().items()}
        contiguous = {name: value.contiguous() for name, value in tensors.items()}
        return _framed(safetensors.torch.save(contiguous, metadata=_metadata(identity, {})))
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ProblemError(f"the inner state has a tensor that no file can hold: {error}") from error


def unpack_theta(content: bytes, identity: Identity) -> Carry:
    """The inverse of :func:`pack_theta`, on the CPU; the inner loop moves it to its device.

    Raises:
        ForeignStateError, CorruptStateError: as :func:`unpack_outbox`.
    """
    body, _ = _opened(content, identity)
    try:
        return Carry.from_tensors(safetensors.torch.load(body))
    except (SafetensorError, ProblemError, TypeError, ValueError) as error:
        raise CorruptStateError(f"it does not hold a warm start: {error!r}") from error


def identity_of(content: bytes) -> Identity:
    """Whose state a file is, and of which run; raises ``CorruptStateError``."""
    meta = _meta(_body(content))
    return Identity(**{field.name: str(meta.get(field.name, "")) for field in fields(Identity)})


# --- the frame -------------------------------------------------------------------------------------------


def _framed(body: bytes) -> bytes:
    head = _MAGIC + REVISION.to_bytes(4, "little")
    return head + hashlib.sha256(head + body).digest() + body


def _body(content: bytes) -> bytes:
    head = content[:_CHECKSUM_AT]
    if len(content) < _BODY_AT or not head.startswith(_MAGIC):
        raise CorruptStateError("it is cut short, or no state file at all")
    if (revision := int.from_bytes(head[len(_MAGIC) :], "little")) > REVISION:
        raise CorruptStateError(f"a newer release wrote it (revision {revision}; this one reads {REVISION})")
    body = content[_BODY_AT:]
    if hashlib.sha256(head + body).digest() != content[_CHECKSUM_AT:_BODY_AT]:
        raise CorruptStateError("its checksum does not match: it was damaged")
    return body


def _meta(body: bytes) -> dict[str, Any]:
    try:
        end = 8 + int.from_bytes(body[:8], "little")
        meta = json.loads(json.loads(body[8:end])["__metadata__"][_META])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CorruptStateError(f"its header cannot be read: {error!r}") from error
    if not isinstance(meta, dict):
        raise CorruptStateError("its header is no header")
    return meta


def _opened(content: bytes, identity: Identity) -> tuple[bytes, dict[str, Any]]:
    body = _body(content)
    meta = _meta(body)
    for name, value in asdict(identity).items():
        if meta.get(name) != value:
            raise ForeignStateError(f"its {name} is not this one's: it belongs to another run or worker")
    return body, meta


def _metadata(identity: Identity, meta: Mapping[str, Any]) -> dict[str, str]:
    return {_META: _canonical({**asdict(identity), **meta})}


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


# --- parts -----------------------------------------------------------------------------------------------


def _require_owed(residual: Arrays, specs: tuple[TensorSpec, ...]) -> None:
    if residual:
        require_like(residual, specs)
        require_finite(residual, "the residual")


def _commit(
    entry: Mapping[str, Any],
    meta: Mapping[str, Any],
    identity: Identity,
    tensors: Mapping[str, Array],
    specs: tuple[TensorSpec, ...],
) -> tuple[Commit[Arrays], bytes | None]:
    seq = _count(entry["seq"])
    payload = None if entry["skip"] else tensors[f"{_PAYLOAD}{seq}"].tobytes()
    commit: Commit[Arrays] = Commit(
        worker_id=identity.worker_id,
        incarnation=_count(meta["incarnation"]),
        seq=seq,
        prev_applied=_count(entry["prev_applied"]),
        base=_count(entry["base"]),
        work=float(entry["work"]),
        update=None if payload is None else decode(payload, specs=specs),
    )
    return commit, payload


def _count(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value
