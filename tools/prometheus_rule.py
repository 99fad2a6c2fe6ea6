"""Makes the PrometheusRule of the manifests from the rules that Prometheus itself reads.

``python tools/prometheus_rule.py`` writes deploy/k8s/base/rules.yaml from deploy/prometheus/rules.yml; with ``--check``
it only says whether that would change anything, and exits 1 if so.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT = Path(__file__).resolve().parent.parent
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
MANIFEST = ROOT / "deploy" / "k8s" / "base" / "rules.yaml"

HEAD: Final = """\
# Made from deploy/prometheus/rules.yml by `python tools/prometheus_rule.py`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: chronos
  labels:
    app.kubernetes.io/name: chronos
spec:
"""


def manifest(rules: str) -> str:
    """The PrometheusRule of a rules file: its text, one level deeper, comments included."""
    return HEAD + textwrap.indent(rules.strip("\n") + "\n", "  ")


def main(arguments: Sequence[str]) -> int:
    """Writes the manifest, or checks it; the exit status."""
    made = manifest(RULES.read_text(encoding="utf-8"))
    if "--check" not in arguments:
        MANIFEST.write_text(made, encoding="utf-8")
        return 0
    if MANIFEST.is_file() and MANIFEST.read_text(encoding="utf-8") == made:
        return 0
    sys.stderr.write(f"{MANIFEST.name} is not made from {RULES.name}; run python tools/prometheus_rule.py\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
