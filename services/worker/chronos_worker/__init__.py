"""The worker: checks a version out, trains the inner problem, and commits a hypergradient by its deadline.

* ``worker.py``: :class:`Worker`, what a script uses.  ``config.py``: its settings.
* ``__main__.py`` and ``app.py``: the ``chronos-worker`` command and its parts put together.
* ``loop.py``: checkout, update, commit, over and over.  ``committer.py``: one commit until its answer.
* ``session.py``: what is kept about the run.  ``trainer.py``: one version in, one update out, in time.
* ``sessions.py``: opening and closing it, with what ``state_directory.py`` keeps through a crash;
  ``state_file.py``: as which bytes.
* ``membership.py``: registration and heartbeats.  ``lifecycle.py``: stopping.  ``retry.py``: asking again.
* ``compute_thread.py``, ``devices.py``: where tensors are computed.  ``pace.py``: where the time goes.
* ``peers/``: elastic groups that exchange tensors directly.
* ``client.py``: what it asks of a coordinator, as a protocol that tests can fake.

A new kind of update is a branch in ``trainer.load_trainer``; a new setting a field of ``WorkerConfig``.
"""

from chronos_worker.config import WorkerConfig
from chronos_worker.worker import Worker

__all__ = ["Worker", "WorkerConfig"]
