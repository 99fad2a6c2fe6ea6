"""A contract type for import-linter: who may import a module directly.

import-linter's own *forbidden* contract lists the modules that may not import something, so every new module
would have to be added by hand; this one lists the few that may.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class RestrictedImportContract(Contract):
    """Only modules whose name matches ``allowed`` import a module of ``restricted`` directly.

    ``restricted`` names modules together with everything below them; ``allowed`` holds shell patterns over
    full module names, where ``*`` also crosses dots.
    """

    type_name = "restricted"

    restricted = fields.ListField(subfield=fields.StringField())
    allowed = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Return a broken contract, with one line for each import that is not allowed."""
        restricted = [str(name) for name in self.restricted]  # type: ignore[attr-defined]
        allowed = [str(pattern) for pattern in self.allowed]  # type: ignore[attr-defined]
        violations: list[str] = []
        for target in sorted(graph.modules):
            if not any(target == name or target.startswith(f"{name}.") for name in restricted):
                continue
            violations += [
                f"{importer} -> {target} ({_lines_of(graph, importer, target)})"
                for importer in sorted(graph.find_modules_that_directly_import(target))
                if not any(fnmatchcase(importer, pattern) for pattern in allowed)
            ]
        return ContractCheck(kept=not violations, metadata={"violations": violations})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print the offending imports and the way out."""
        for violation in check.metadata["violations"]:
            output.print_error(violation, bold=False)
        output.print("Move the code into chronos_common.wire or a *_service.py, or pass in what it needs.")
        output.new_line()


def _lines_of(graph: ImportGraph, importer: str, target: str) -> str:
    details = graph.get_import_details(importer=importer, imported=target)
    return ", ".join(f"line {detail['line_number']}" for detail in details)
