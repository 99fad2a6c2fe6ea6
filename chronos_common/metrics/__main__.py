"""Prints the reference of all series: ``python -m chronos_common.metrics > docs/metrics.md``."""

from chronos_common.metrics.series import metrics_table

if __name__ == "__main__":
    print(metrics_table(), end="")  # noqa: T201 - the document is the output
