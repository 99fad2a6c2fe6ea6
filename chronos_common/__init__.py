"""What both services and users' own scripts know: the problem interface, the pure core, the store, the wire.

Each sub-package says in its own docstring what it is for and where to add the next thing; the order of the
layers, which imports must respect, is checked by import-linter (see ``pyproject.toml``). This package itself
imports nothing, so that ``import chronos_common`` costs nothing and never pulls in torch.
"""
