"""Benchmarks: every figure that the README quotes, one command each.

``python -m benchmarks.NAME [--quick] [--json FILE] [--check]`` prints a table and, with ``--json``, writes

    {"benchmark", "seeds", "rows": [...], "bars": [{"name", "value", "op", "bound", "ok"}]}

``--check`` exits 1 when a bar is missed. ``make bench`` runs them all; what the README quotes is kept in
``results/``. To add one: a module here with ``main()``, built on ``benchmarks._harness``.
"""
