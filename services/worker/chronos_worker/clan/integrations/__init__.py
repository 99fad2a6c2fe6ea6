"""Clan training inside of other trainers; each file needs the extra of its name, and nothing here imports it.

* ``lightning.py``: a strategy for Lightning.  ``epochs.py``: its batches.
* ``transformers.py``: a callback for the Trainer of Hugging Face.
* ``settings.py``: what of a clan's settings follows from the optimiser.
"""
