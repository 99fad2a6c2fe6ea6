"""The published method, re-made from its description: its features without what was measured, its regressors.

Step times: XGBoost with squared error on raw milliseconds, over every numeric column and a few ratios. Epochs: a random
forest on raw epochs, over every column, those of the first batch (gradient norm, initial loss) included.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xgboost
from sklearn.ensemble import RandomForestRegressor

from chronos_common.prediction.trees import Floats

MEASURED = frozenset(
    {
        "avg_batch_time_ms", "p90_batch_time_ms", "avg_loader_ms", "avg_compute_ms", "loader_wait_ms", "compute_ms",
        "loader_ratio", "examples_per_sec", "T_conv", "T_80close", "T_90close",
    }
)  # fmt: skip
ONE_HOT = ("Memory Type", "Bus")
ROUNDS = {"mlp": 700, "cnn": 800, "transformer": 900}
BANDWIDTH = "GPU Memory Bandwidth (GB/s)"
RATIOS = (
    ("flops_train_per_batch", BANDWIDTH),
    ("flops_train_per_batch", "FP32"),
    ("flops_train_per_batch", "FP16"),
    ("flops_train_per_batch", "FP64"),
    (BANDWIDTH, "Memory (GB)"),
    ("arithmetic_intensity_train", "FP32"),
    ("act_bytes_per_sample_proxy", "param_bytes"),
    ("act_bytes_per_seq_proxy", "param_bytes"),
)


def time_features(rows: Sequence[dict[str, str]]) -> Floats:
    """``(rows, features)``: numeric columns, ratios, and two columns one-hot."""
    columns = [_numbers([row[name] for row in rows]) for name in rows[0] if name not in MEASURED]
    found = [column for column in columns if column is not None]
    for above, below in RATIOS:
        if above in rows[0] and below in rows[0]:
            found.append(np.array([float(row[above]) / max(float(row[below]), 1e-9) for row in rows]))
    for name in ONE_HOT:
        found += [
            np.array([float(row[name] == value) for row in rows]) for value in sorted({r[name] for r in rows})
        ]
    return np.column_stack(found)


def step_times(family: str, features: Floats, target: Floats, asked: Floats, seed: int) -> Floats:
    """Trains on some rows, predicts others, in milliseconds."""
    model = xgboost.XGBRegressor(
        n_estimators=ROUNDS[family], learning_rate=0.05, max_depth=8, subsample=0.85 if family == "mlp" else 0.9,
        colsample_bytree=0.9, tree_method="hist", n_jobs=1, random_state=seed, verbosity=0,
    )  # fmt: skip
    model.fit(features, target)
    return np.asarray(model.predict(asked), dtype=np.float64)


def epoch_features(rows: Sequence[dict[str, str]]) -> Floats:
    """``(rows, features)``: numeric columns that vary, and the others one-hot."""
    found: list[Floats] = []
    for name in rows[0]:
        if name in MEASURED:
            continue
        texts = [row[name] for row in rows]
        numbers = _numbers(texts)
        if numbers is None:
            found += [np.array([float(text == value) for text in texts]) for value in sorted(set(texts))]
        elif np.ptp(numbers) > 0:
            found.append(numbers)
    return np.column_stack(found)


def epochs(features: Floats, target: Floats, asked: Floats, seed: int) -> Floats:
    """Trains on some runs, predicts others."""
    model: Any = RandomForestRegressor(n_estimators=400, n_jobs=1, random_state=seed).fit(features, target)
    return np.asarray(model.predict(asked), dtype=np.float64)


def _numbers(texts: Sequence[str]) -> Floats | None:
    try:
        return np.array([float(text) for text in texts])
    except ValueError:
        return None
