"""The ``chronos`` command.

* ``main.py``: the commands put together, errors as one line, exit codes.
* ``demo/command.py``, ``run_command.py``, ``runs_commands.py``, ``export_command.py``: options and help of each
  command, thin; ``options.py``, ``settings.py``, ``output.py``: what they share.
* ``running.py``, ``exporting.py``, ``offline.py``, ``following.py``, ``cluster.py``, ``imports.py``: what they do.
* ``views.py``, ``progress.py``: how it looks.

A new command is a function in a ``*_command.py`` and its name in ``main.py``; it imports what it needs inside
the function, so that ``--help`` loads neither grpc nor torch. Services are started with ``python -m`` and are
never imported.
"""
