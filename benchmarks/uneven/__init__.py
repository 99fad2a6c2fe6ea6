"""What ``benchmarks/headline.py`` compares: problems with a fixed pace, and the ways to serve them.

``pace.py`` makes inner steps last a fixed time and one worker slower; ``digits.py`` and ``meta.py`` are the problems;
``arms.py`` says how each arm's rounds and messages go; ``trial.py`` serves one run and reads what came of it. A further
arm is an entry of ``arms.ARMS``, a further problem a ``Case`` in ``cases.py``.
"""
