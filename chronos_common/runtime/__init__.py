"""What every program needs before it does anything of its own: settings, logs, signals, child processes.

* ``settings.py``: one tree of settings from flags, environment and file; ``command_line.py``: its options.
* ``kinds.py``: configurations that hold what they declare.
* ``logs.py``: structured logs.  ``tracing.py``: which lines belong together; ``telemetry.py``: OpenTelemetry.
* ``signals.py``: SIGTERM as an event.  ``names.py``: names of processes.
* ``files.py``: files that survive a crash, and locks.
* ``processes.py``: children that announce themselves and never outlive their parent;
  ``environment.py``: the allocator and thread settings that they start with.

The lowest layer above the errors: it knows nothing of runs, versions or workers. A component's settings
are a dataclass in the component; a program nests it into its tree with :func:`section`. A new section's
name goes into ``settings.SECTIONS``, so that one file can serve every program.
"""

from chronos_common.runtime.command_line import USAGE_ERROR, settings_from_command_line
from chronos_common.runtime.environment import MALLOC_TUNABLES, child_environment
from chronos_common.runtime.files import ProcessLock, remove_file, replace_file, sync_directory
from chronos_common.runtime.kinds import require_kinds
from chronos_common.runtime.logs import LoggingConfig, configure_logging, get_logger
from chronos_common.runtime.names import default_worker_id, new_instance_id
from chronos_common.runtime.processes import ManagedProcess, ProcessGroup, announce
from chronos_common.runtime.settings import load_settings, section
from chronos_common.runtime.signals import stop_on_signals
from chronos_common.runtime.telemetry import TracingConfig, exporting_spans

__all__ = [
    "MALLOC_TUNABLES",
    "USAGE_ERROR",
    "LoggingConfig",
    "ManagedProcess",
    "ProcessGroup",
    "ProcessLock",
    "TracingConfig",
    "announce",
    "child_environment",
    "configure_logging",
    "default_worker_id",
    "exporting_spans",
    "get_logger",
    "load_settings",
    "new_instance_id",
    "remove_file",
    "replace_file",
    "require_kinds",
    "section",
    "settings_from_command_line",
    "stop_on_signals",
    "sync_directory",
]
