"""The parts of ``benchmarks.hypergradient`` and ``benchmarks.unrolling``.

* ``cases.py``: problems with plain losses that every arm shares, and their true hypergradients.
* ``reference.py``: what an expert would write by hand.  ``ours.py``: the estimators.
* ``peers/``: one file for each library; what is not installed is named and left out.
* ``arms.py``: the table of who computes what.  ``timing.py``: everybody in turns.  ``memory.py``: live bytes
  against the number of inner steps.
* ``unrolled.py``: the table of who unrolls what.  ``long.py``: a loop to measure memory on, ``plot.py`` its picture.
  ``search.py``: hypergradients and black-box search with the same budget.
"""
