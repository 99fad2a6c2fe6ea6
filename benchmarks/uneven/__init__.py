"""What ``benchmarks/headline.py`` compares: problems with a fixed pace, and the ways to serve them.

``pace.py`` makes inner steps last a fixed time and one worker slower; ``digits.py`` and ``mixture.py`` are the
problems, ``retraining.py`` measures what was learnt; ``arms.py`` says how each arm's rounds and messages go;
``trial.py`` serves one run and reads it back as a ``runs.Trial``. A further arm is an entry of ``arms.ARMS``, a further
problem a ``Case`` in ``cases.py``.
"""
