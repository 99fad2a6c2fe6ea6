"""The demo: data hyper-cleaning on scikit-learn's digits, with a coordinator and workers of its own.

``hypercleaning.py`` is the problem (workers import it by name), ``arms.py`` what it is compared with,
``demo.py`` runs everything, ``outcome.py`` holds what came of it, ``report.py`` and ``figure.py`` show that,
``command.py`` is `chronos demo`. Its constants (rates, steps, penalty) were chosen on seeds from 10 on; what is
reported uses seeds from 0 to 4. A new arm is a row in ``arms.ARMS`` and its data in ``arms.training_data``.
"""
