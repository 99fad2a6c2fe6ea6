"""Helpers that tests share, imported as ``tests.support.NAME``; one idea per module, typed like the code."""
