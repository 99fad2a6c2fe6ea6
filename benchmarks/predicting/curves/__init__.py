"""Learning curves of our own: small trainings on the CPU, recorded once, to learn from and to be tested on.

``python -m benchmarks.predicting.curves --out FILE`` trains every model of ``models.py`` on every data set of
``data.py`` that fits it, with several optimisers, learning rates, batch sizes and seeds, until early stopping.
"""
