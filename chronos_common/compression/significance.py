"""The significance filter: is an update worth a message yet?

    significance = ‖residual + Δ‖ / reference
    send           if significance ≥ threshold, or if ``max_skips`` updates were skipped in a row

Parameter deltas are compared with the parameters, ``reference = max(‖u‖, floor)``; hypergradients, which have no
scale of their own, with a running norm of what was sent. The threshold adapts between its bounds so that in the long
run a share ``target_skips`` of the updates waits:

    ln threshold ← ln threshold + gain · (target_skips - [skipped])

(Robbins and Monro's estimate of that quantile of the significance). A skipped update is not dropped: it stays in the
residual, which the next test includes, and is sent after ``max_skips`` rounds at the latest. What a sparse pipeline
then leaves out of the message is its error feedback's, which sends it when it has grown to be among the largest.

This runs at the sender and is no part of the fold: the journal records whether a commit was a skip.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from chronos_common.errors import ConfigurationError, CorruptStateError, NonFiniteError
from chronos_common.runtime import require_kinds
from chronos_common.tensors import Arrays, l2_norm


@dataclass(frozen=True, kw_only=True)
class SignificanceConfig:
    """The filter's thresholds; by default it is off and sends everything.

    Args:
        minimum: smallest threshold, at least 0.
        maximum: largest threshold, at least ``minimum``; 0 turns the filter off. The first threshold is the
            minimum.
        max_skips: updates skipped in a row before one is sent whatever it holds, at least 1.
        target_skips: share of updates that should wait, in [0, 1).
        gain: how fast the threshold adapts, in (0, 1]; it changes by at most the factor ``e**gain`` an update.
        floor: smallest reference, above 0.
        memory: weight of the past in the running norm of what was sent, in [0, 1).

    Raises:
        ConfigurationError: a number out of its range, or thresholds that cross.
    """

    minimum: float = 0.0
    maximum: float = 0.0
    max_skips: int = 4
    target_skips: float = 0.25
    gain: float = 0.1
    floor: float = 1e-8
    memory: float = 0.9

    def __post_init__(self) -> None:
        require_kinds(self)
        if not (math.isfinite(self.maximum) and 0 <= self.minimum <= self.maximum):
            raise ConfigurationError(
                f"significance thresholds cross: minimum = {self.minimum}, maximum = {self.maximum}; "
                "give 0 <= minimum <= maximum"
            )
        if self.maximum > 0 and self.minimum == 0:
            raise ConfigurationError(
                "significance.minimum is 0 with a maximum above it: the threshold adapts by factors and could not "
                "leave 0; give a minimum above 0, or a maximum of 0 to turn the filter off"
            )
        if self.max_skips < 1:
            raise ConfigurationError(f"significance.max_skips is {self.max_skips}; it must be 1 or more")
        self._require("target_skips", "in [0, 1)", 0 <= self.target_skips < 1)
        self._require("gain", "in (0, 1]", 0 < self.gain <= 1)
        self._require("floor", "finite and above 0", 0 < self.floor < math.inf)
        self._require("memory", "in [0, 1)", 0 <= self.memory < 1)

    @property
    def enabled(self) -> bool:
        """Whether anything can be skipped."""
        return self.maximum > 0

    def _require(self, field: str, wanted: str, holds: bool) -> None:
        if not holds:
            raise ConfigurationError(f"significance.{field} is {getattr(self, field)}; it must be {wanted}")


@dataclass(frozen=True, kw_only=True)
class SignificanceState:
    """What a filter remembers.

    Attributes:
        threshold: the next update is tested against this.
        skips: updates skipped in a row.
        sent_norm: running norm of what was sent; 0 before the first.
    """

    threshold: float
    skips: int = 0
    sent_norm: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """JSON-able fields; ``json`` keeps every bit of a float."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> SignificanceState:
        """Inverse of :meth:`to_json`.

        Raises:
            CorruptStateError: a field is missing, unknown or of the wrong kind.
        """
        try:
            state = cls(
                threshold=float(fields["threshold"]),
                skips=int(fields["skips"]),
                sent_norm=float(fields["sent_norm"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptStateError(f"a stored significance filter is malformed: {error!r}") from error
        if not (0 <= state.threshold < math.inf and 0 <= state.sent_norm < math.inf and state.skips >= 0):
            raise CorruptStateError(f"a stored significance filter holds {dict(fields)}")
        return state


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the filter says of an update.

    Attributes:
        send: whether it goes out now, with the residual.
        significance: that was tested; infinity where nothing was sent before.
        state: of the filter after it.
    """

    send: bool
    significance: float
    state: SignificanceState


class SignificanceFilter:
    """Decides by one configuration; immutable, all memory is in the states that it returns.

    Args:
        config: thresholds.
    """

    def __init__(self, config: SignificanceConfig) -> None:
        self.config = config

    def start(self) -> SignificanceState:
        """The state before the first update."""
        return SignificanceState(threshold=self.config.minimum)

    def judge(self, state: SignificanceState, total: Arrays, *, parameters: Arrays | None = None) -> Verdict:
        """Test an update together with what is owed.

        Args:
            state: so far.
            total: residual + Δ.
            parameters: the u that a parameter delta changes; ``None`` for a hypergradient.

        Raises:
            NonFiniteError: the total has no finite norm.
        """
        norm = l2_norm(total)
        if not math.isfinite(norm):
            raise NonFiniteError("an update and its residual have no finite norm; nothing was sent")
        reference = state.sent_norm if parameters is None else l2_norm(parameters)
        first = parameters is None and reference == 0
        significance = math.inf if first else norm / max(reference, self.config.floor)
        due = state.skips >= self.config.max_skips
        send = not self.config.enabled or due or significance >= state.threshold
        return Verdict(send=send, significance=significance, state=self._after(state, norm, send))

    def waited(self, state: SignificanceState) -> SignificanceState:
        """The state after a round without an update: what was held back has waited for one more."""
        return replace(state, skips=min(state.skips + 1, self.config.max_skips)) if state.skips else state

    def _after(self, state: SignificanceState, norm: float, send: bool) -> SignificanceState:
        config = self.config
        sent_norm = state.sent_norm
        if send:
            sent_norm = norm if sent_norm == 0 else config.memory * sent_norm + (1 - config.memory) * norm
        factor = math.exp(config.gain * (config.target_skips - (0.0 if send else 1.0)))
        threshold = min(max(state.threshold * factor, config.minimum), config.maximum)
        return SignificanceState(
            threshold=threshold, skips=0 if send else state.skips + 1, sent_norm=sent_norm
        )
