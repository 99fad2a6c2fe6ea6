r"""Other libraries on the same tasks: Ray Tune's population-based training, and Optuna.

Neither is a dependency of Chronos, so they go into a folder of their own:

    pip install --no-deps --target .peers ray==2.60.0 jsonschema jsonschema-specifications referencing rpds-py \
        attrs msgpack pandas pyarrow tensorboardX python-dateutil six pytz tzdata optuna colorlog tqdm
    PYTHONPATH=.peers python -m benchmarks.clan

A module here raises ImportError when its library is not there; the benchmark says so, and its bars against the
library are missed, not left out.
"""
