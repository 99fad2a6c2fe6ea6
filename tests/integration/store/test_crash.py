"""A store whose process is killed keeps everything that it acknowledged, and frees its leadership."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chronos_common.errors import LeadershipHeldError
from chronos_common.store import StoreOptions, open_store
from tests.support.storing import journal

ROOT = Path(__file__).parents[3]
OPTIONS = StoreOptions(blob_threshold_bytes=1000)

WRITER = """
import sys
from chronos_common.store import JournalEntry, RunRecord, StoreOptions, StreamKey, open_store

store = open_store(sys.argv[1], options=StoreOptions(blob_threshold_bytes=1000))
epoch = store.acquire("victim")
if store.run("run") is None:
    store.create_run(RunRecord(run_id="run", status="active", config="{}", created_at=0.0)).result()
head = store.run("run").head
print("epoch", epoch, flush=True)
while True:
    futures = []
    for seq in range(head + 1, head + 9):
        payload = str(seq).encode() * (400 if seq % 3 == 0 else 1)
        entry = JournalEntry(seq=seq, kind="accepted", time=0.0, meta=str(seq), payload=payload)
        futures.append(store.append(StreamKey.of_run("run"), seq - 1, [entry], status=f"at {seq}"))
    for future in futures:
        future.result()
        head += 1
        print(head, flush=True)
"""


def start_writer(directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(directory)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("acknowledgements", [1, 40, 150])
def test_every_acknowledged_entry_survives_a_kill(tmp_path: Path, acknowledgements: int) -> None:
    acknowledged, epochs = 0, []
    for _ in range(3):
        with start_writer(tmp_path) as writer:
            assert writer.stdout is not None
            epochs.append(int(writer.stdout.readline().split()[1]))
            for _ in range(acknowledgements):
                acknowledged = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
            # What it printed between our last read and its death was acknowledged, too.
            for line in writer.stdout:
                acknowledged = int(line) if line.endswith("\n") else acknowledged
        store = open_store(tmp_path, options=OPTIONS)
        survivors = journal(store)
        run = store.run("run")
        store.close()
        assert run is not None
        assert len(survivors) >= acknowledged
        assert (run.head, run.status) == (len(survivors), f"at {len(survivors)}")
        for seq, each in enumerate(survivors, start=1):
            assert (each.seq, each.meta) == (seq, str(seq))
            assert each.payload == str(seq).encode() * (400 if seq % 3 == 0 else 1)
    assert epochs == sorted(set(epochs))


def test_leadership_is_held_between_processes_and_ends_with_the_holder(tmp_path: Path) -> None:
    with start_writer(tmp_path) as writer:
        assert writer.stdout is not None
        epoch = int(writer.stdout.readline().split()[1])
        store = open_store(tmp_path)
        with pytest.raises(LeadershipHeldError, match=rf"'victim' \(process {writer.pid}\)"):
            store.acquire("heir")
        writer.kill()
    assert store.acquire("heir") > epoch
    store.close()
