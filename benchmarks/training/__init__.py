"""Ranks that train on uneven text, for ``benchmarks.data_training``."""
