"""``python -m chronos_common.cli``: the `chronos` command."""

import sys


def main() -> int:
    """Runs the command; an interrupt while it is still being loaded is one line too."""
    try:
        from chronos_common.cli.main import main as run
    except KeyboardInterrupt:
        sys.stderr.write("chronos: interrupted\n")
        return 130
    return run()


if __name__ == "__main__":
    sys.exit(main())
