"""Ray on this machine alone, silent, for as long as it is used."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray

_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_DEDUP_LOGS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "8",
    "TUNE_WARN_THRESHOLD_S": "60",
    "OMP_NUM_THREADS": "1",
}


@contextmanager
def started(slots: int) -> Iterator[None]:
    """Ray with places for so many trials at a time, however many cores there are; one that runs is used on."""
    if ray.is_initialized():
        yield
        return
    # Actors start elsewhere: what is relative here would be lost on them.
    paths = [
        str(Path(entry).resolve()) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry
    ]
    os.environ["PYTHONPATH"] = os.pathsep.join([*paths, str(Path.cwd())])
    os.environ.update(_SETTINGS)
    ray.init(
        num_cpus=slots,
        num_gpus=0,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=200 * 2**20,
    )
    try:
        yield
    finally:
        ray.shutdown()
