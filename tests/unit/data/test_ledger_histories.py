"""Whatever happens to workers and coordinator, every sample is finished exactly once in each epoch."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from chronos_common.data import PlanConfig
from chronos_common.data.dealing import Dealer, steps_of
from chronos_common.data.events import Begun, DataEvent, Dealt, Joined, Left, Rewound, from_parts, to_parts
from chronos_common.data.ledger import Due, Ledger
from chronos_common.data.source import DealtShare
from chronos_common.errors import ShareLostError, WorkerNotMemberError
from chronos_common.fleet import SpeedTable

CASES = 2400
ACTIONS = 40
EPOCHS = 2
REAL = 6
"""One history of so many plans for real; the others, about who holds what, deal in a plain way and much faster."""


class Plain:
    """Everybody gets every W-th sample."""

    def __init__(self, samples: int, config: PlanConfig) -> None:
        self._samples = samples
        self._config = config

    def deal(self, due: Sequence[Due], turn: int, members: Mapping[str, int], speeds: SpeedTable) -> Dealt:
        wanted, size = due[0], self._config.batch_size
        order = (np.arange(self._samples) * 7919 + wanted.epoch) % self._samples
        if math.gcd(self._samples, 7919) > 1:
            order = np.arange(self._samples)
        step = order[wanted.step * size : (wanted.step + 1) * size]
        indices = step if wanted.indices is None else wanted.indices
        workers = tuple(sorted(members))
        shares = [indices[position :: len(workers)] for position in range(len(workers))]
        sizes = np.array([float(len(share)) for share in shares])
        return Dealt(
            turn=turn,
            epoch=wanted.epoch,
            step=wanted.step,
            part=wanted.part,
            workers=workers,
            indices=np.concatenate(shares),
            offsets=np.array([0, *np.cumsum([len(share) for share in shares])]),
            costs=sizes,
            sizes=sizes,
        )


class World:
    """One plan, its workers, and everything that may happen to them."""

    dealer: Dealer | Plain

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.samples = int(self.random.integers(4, 60))
        config = PlanConfig(
            batch_size=int(self.random.integers(1, self.samples + 5)),
            kind=("static", "dynamic", "guided")[seed % 3],
            seed=seed,
        )
        sizes = self.random.lognormal(sigma=1.0, size=self.samples)
        self.nodes = (
            self.random.integers(0, 2, self.samples) if seed % (2 * REAL) == 0 and self.samples > 1 else None
        )
        self.dealer = Plain(self.samples, config) if seed % REAL else Dealer(sizes, config, self.nodes)
        self.limits = {
            "steps": steps_of(self.samples, config),
            "lookahead": int(self.random.integers(1, 5)),
            "quorum": int(self.random.integers(1, 3)),
        }
        self.ledger = Ledger(**self.limits)
        self.speeds = SpeedTable()
        self.where: dict[str, int] = {}
        self.incarnations: Counter[str] = Counter()
        self.held: dict[str, list[DealtShare]] = {}
        """What living workers were told and have not reported."""
        self.ghosts: list[tuple[str, int]] = []
        self.finished: Counter[int] = Counter()
        self.journal: list[tuple[str, str, bytes | None]] = []
        self.kept = json.dumps(self.ledger.state())
        self.checkpoint: tuple[str, Counter[int]] | None = None
        self.over = 0

    def act(self) -> None:
        worker = f"w{self.random.integers(0, 4)}"
        action = self.random.choice(
            [
                "join",
                "leave",
                "read",
                "finish",
                "finish",
                "finish",
                "again",
                "ghost",
                "crash",
                "snapshot",
                "save",
                "back",
            ],
            p=[0.12, 0.06, 0.12, 0.15, 0.15, 0.15, 0.06, 0.05, 0.05, 0.05, 0.02, 0.02],
        )
        getattr(self, str(action))(worker)
        self.deal()
        self.check()

    def apply(self, event: DataEvent) -> None:
        self.ledger.apply(event)
        self.journal.append(to_parts(event))

    def join(self, worker: str) -> None:
        """A process of the worker, new or in the place of one that still runs."""
        self.incarnations[worker] += 1
        self.lose(worker)
        self.where[worker] = int(self.random.integers(0, 2)) if self.nodes is not None else 0
        self.held[worker] = []
        self.apply(Joined(worker=worker, incarnation=self.incarnations[worker]))

    def leave(self, worker: str) -> None:
        if worker in self.held and (len(self.held) > 1 or self.random.random() < 0.3):
            self.lose(worker)
            self.apply(Left(worker=worker))

    def lose(self, worker: str) -> None:
        self.read(worker)
        self.ghosts += [(worker, share.turn) for share in self.held.pop(worker, [])]
        self.where.pop(worker, None)

    def read(self, worker: str) -> None:
        if worker in self.held:
            known = {share.turn for share in self.held[worker]}
            self.held[worker] += [s for s in self.ledger.shares(worker) if s.turn not in known]

    def finish(self, worker: str) -> None:
        self.read(worker)
        if not self.held.get(worker):
            return
        share = self.held[worker].pop(int(self.random.integers(0, len(self.held[worker]))))
        seconds = float(0.1 + share.cost)
        event = self.ledger.decide_finish(worker, share.turn, seconds)
        assert event is not None
        self.apply(event)
        self.speeds.observe(worker, share.cost, seconds)
        self.finished.update(share.indices.tolist())

    def again(self, worker: str) -> None:
        """A report whose answer was lost."""
        if worker in self.held and self.ledger.next_turn > 1:
            turn = int(self.random.integers(1, self.ledger.next_turn))
            if all(share.turn != turn for share in self.ledger.shares(worker)):
                try:
                    assert self.ledger.decide_finish(worker, turn) is None
                except ShareLostError:
                    assert (worker, turn) in self.ghosts

    def ghost(self, worker: str) -> None:
        """Somebody who was given up reports after all."""
        if self.ghosts:
            name, turn = self.ghosts[int(self.random.integers(0, len(self.ghosts)))]
            with pytest.raises((ShareLostError, WorkerNotMemberError)):
                self.ledger.decide_finish(name, turn)

    def crash(self, worker: str) -> None:
        """The coordinator starts again from its snapshot and the journal after it."""
        before = self.ledger.state()
        self.ledger = Ledger.restore(json.loads(self.kept), **self.limits)
        for entry in self.journal:
            self.ledger.apply(from_parts(*entry))
        assert self.ledger.state() == before

    def snapshot(self, worker: str) -> None:
        self.kept, self.journal = json.dumps(self.ledger.state()), []

    def save(self, worker: str) -> None:
        """A checkpoint of the training, between two epochs' ends."""
        self.checkpoint = json.dumps(self.ledger.state()), Counter(self.finished)

    def back(self, worker: str) -> None:
        """The training resumes from its checkpoint."""
        if self.checkpoint is None:
            return
        state, self.finished = self.checkpoint[0], Counter(self.checkpoint[1])
        for name, shares in self.held.items():
            self.ghosts += [(name, share.turn) for share in self.ledger.shares(name)]
            shares.clear()
        self.apply(Rewound(state=state))

    def deal(self) -> None:
        while due := self.ledger.due():
            event = self.dealer.deal(due, self.ledger.next_turn, self.where, self.speeds)
            if event is None:
                break
            self.apply(event)
        if self.ledger.over and self.ledger.epoch + 1 < EPOCHS:
            self.check_epoch()
            self.apply(Begun(epoch=self.ledger.epoch + 1))
            self.finished.clear()
            self.checkpoint = None
            self.deal()

    def check(self) -> None:
        told: Counter[int] = Counter()
        for worker in self.ledger.members:
            for share in self.ledger.shares(worker):
                told.update(share.indices.tolist())
        assert max(told.values(), default=0) <= 1, "a sample is with two living workers"
        assert not told.keys() & self.finished.keys(), "a finished sample was delivered again"
        assert self.ledger.finished == self.finished.total()

    def check_epoch(self) -> None:
        assert self.finished == Counter(range(self.samples))
        self.over += 1

    def conclude(self) -> None:
        """Everybody comes back and works to the end."""
        for node, worker in enumerate(("w0", "w1")):
            self.join(worker)
            self.where[worker] = node if self.nodes is not None else 0
        self.deal()
        for _ in range(10 * EPOCHS * self.limits["steps"] + 100):
            if self.ledger.over and self.ledger.epoch + 1 == EPOCHS:
                break
            for worker in self.ledger.members:
                self.finish(worker)
            self.deal()
            self.check()
        self.check_epoch()


@pytest.mark.histories
@pytest.mark.parametrize("block", range(8))
def test_every_sample_is_finished_exactly_once_in_each_epoch(block: int) -> None:
    for seed in range(block, CASES, 8):
        world = World(seed)
        try:
            for _ in range(ACTIONS):
                world.act()
            world.conclude()
        except BaseException as error:
            error.add_note(f"history {seed}")
            raise
        assert world.over == EPOCHS
