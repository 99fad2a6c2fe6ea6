"""Checks of the repository itself, used by ``make check`` and by ``tests/house`` alike.

``contracts.py`` adds a contract type to import-linter, ``house.py`` holds the rules on sizes and wording that
no off-the-shelf linter has, and ``package.json`` pins buf. Nothing here is installed with Chronos.
"""
