"""How long, until when, on what, for how much: answers before a training starts and while it runs (numpy only).

Counting a module needs torch and is in ``prediction.torch``; training the predictor is in ``prediction.training``.

* ``predictor.py``: the front door, :class:`TrainingTimePredictor`.
* ``counts.py``, ``catalogue.py``: what a step of a model asks for; ``memory.py``: and how much it holds.
* ``devices.py``: datasheets.
* ``query.py``, ``physics.py``, ``trees.py``, ``step_time.py``: a step's time.
* ``calibration.py``: one machine, from measured steps; one worker, from every step.
* ``gaussian.py``, ``epochs.py``: epochs before the start; ``curves.py``: and once the first are in.
* ``intervals.py``: how far off; ``artefact.py``: the trained file, without pickle.
"""

from chronos_common.prediction.calibration import Calibration, Online
from chronos_common.prediction.counts import Counts
from chronos_common.prediction.curves import Stopping, extrapolate
from chronos_common.prediction.devices import Devices, DeviceSpec
from chronos_common.prediction.intervals import Interval
from chronos_common.prediction.names import Datasets, DatasetSpec, Models, Optimizers, Precision
from chronos_common.prediction.predictor import Total, TrainingTimePredictor
from chronos_common.prediction.query import Query

__all__ = [
    "Calibration",
    "Counts",
    "DatasetSpec",
    "Datasets",
    "DeviceSpec",
    "Devices",
    "Interval",
    "Models",
    "Online",
    "Optimizers",
    "Precision",
    "Query",
    "Stopping",
    "Total",
    "TrainingTimePredictor",
    "extrapolate",
]
