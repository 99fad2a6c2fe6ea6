"""A process that works on a data plan: ``python -m tests.support.data_worker ADDRESS PLAN WORKER RANK OUT``.

It begins when OUT.go exists. For every share that counted it appends a line ``epoch turn samples...`` to OUT, after the
coordinator said so.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from chronos_common.wire import CoordinatorSource, SyncCoordinatorClient
from tests.support.clients import BUDGET
from tests.support.polling import poll

SECONDS = 0.02
"""Work on one share; processes are killed in the middle of it."""


def main(address: str, plan: str, worker: str, rank: str, out: str) -> None:
    poll(Path(f"{out}.go").exists, "the word to begin", timeout_seconds=60.0)
    with (
        SyncCoordinatorClient(address, deadlines=BUDGET) as client,
        CoordinatorSource(client, plan, worker, rank=int(rank)) as source,
        Path(out).open("a", buffering=1) as lines,
    ):
        for epoch in range(2):
            source.begin(epoch)
            while (share := source.next_share()) is not None:
                time.sleep(SECONDS)
                if source.finish(share, SECONDS):
                    lines.write(" ".join(map(str, (epoch, share.turn, *share.indices.tolist()))) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
