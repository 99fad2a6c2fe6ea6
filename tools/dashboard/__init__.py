"""The Grafana dashboard as code: ``runs`` and ``machines`` say what is shown, ``panels`` makes Grafana's JSON of it.

``python -m tools.dashboard`` writes ``deploy/grafana/dashboards/chronos.json``; with ``--check`` it only says
whether that would change anything, and exits 1 if so.
"""
