"""``python -m chronos_common.cli``: the `chronos` command."""

import sys

from chronos_common.cli.main import main

sys.exit(main())
