"""Other libraries behind one form: ``conjugate_gradient(case, steps) -> () -> [dL/dλ]``, or ``unrolled``.

None of them is a dependency of Chronos, and most declare ones that do not fit together, so they go into a folder
of their own:

    pip install --no-deps --target .peers torchopt optree graphviz higher boat-torch
    pip install --no-deps --ignore-requires-python --target .peers betty-ml==0.2.1
    PYTHONPATH=.peers python -m benchmarks.hypergradient

A module here raises ImportError when its library is not there; the benchmark names it and goes on.
"""
