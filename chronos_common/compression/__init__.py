"""Sending less: what of an update travels now, what waits, and what becomes of the rest.

``config.py`` names the pipelines (``identity``, ``int8``, ``topk10+int8``, ...); ``pipeline.py`` encodes by one;
``feedback.py`` keeps what a payload leaves out and adds it to the next. ``significance.py`` decides whether an update
is worth a message; ``delta.py`` publishes versions as compressed deltas, and ``guard.py`` watches that they keep up;
``ledger.py`` accounts for every bit of mass. ``topk.py`` selects. All of it is pure: states go in and come out.

Bytes are the business of ``chronos_common.codec``; nothing here is needed to decode. Each direction owns a pipeline.
``torch_face.py`` does all of it with tensors, on their device; workers import it, and nothing here does.

To add a stage: an encoding in ``chronos_common.codec.mixed`` (with a new revision and its golden payload), a name in
``config.py``, and the choice in ``pipeline.py``; the contract tests run over every name.
"""

from chronos_common.compression.config import (
    DEFAULT_DOWN,
    DEFAULT_UP,
    DEFAULT_UP_SMALL,
    IDENTITY,
    SMALL_ELEMENTS,
    PipelineConfig,
    default_up,
)
from chronos_common.compression.delta import (
    NextVersion,
    apply_delta,
    apply_deltas,
    apply_version,
    next_version,
    server_residual,
)
from chronos_common.compression.feedback import Compressed, compress, compressor
from chronos_common.compression.guard import GuardConfig, GuardState, lag_ratio, watch
from chronos_common.compression.ledger import Book, Ledger, mass
from chronos_common.compression.pipeline import Pipeline, make_pipeline
from chronos_common.compression.significance import (
    SignificanceConfig,
    SignificanceFilter,
    SignificanceState,
    Verdict,
)
from chronos_common.compression.topk import count_for, top_k

__all__ = [
    "DEFAULT_DOWN",
    "DEFAULT_UP",
    "DEFAULT_UP_SMALL",
    "IDENTITY",
    "SMALL_ELEMENTS",
    "Book",
    "Compressed",
    "GuardConfig",
    "GuardState",
    "Ledger",
    "NextVersion",
    "Pipeline",
    "PipelineConfig",
    "SignificanceConfig",
    "SignificanceFilter",
    "SignificanceState",
    "Verdict",
    "apply_delta",
    "apply_deltas",
    "apply_version",
    "compress",
    "compressor",
    "count_for",
    "default_up",
    "lag_ratio",
    "make_pipeline",
    "mass",
    "next_version",
    "server_residual",
    "top_k",
    "watch",
]
