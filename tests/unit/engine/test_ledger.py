"""Nothing is lost silently: a thousand commits through every pipeline, in which everything goes wrong."""

from __future__ import annotations

from itertools import cycle

import numpy as np
import pytest

from chronos_common.compression import mass
from chronos_common.engine import from_parts, replay
from chronos_common.versions import HYPERGRADIENT, PARAMETER_DELTA, RoundConfig
from tests.support.ledgers import SIZE, flat, history, journalled

COMMITS = 1_000
PIPELINES = ("identity", "int8", "topk10", "topk10+int8", "topk1+int8", "topk0.5", "topk60+int8")
MERGES = (
    RoundConfig(quorum=3, max_in_flight=9, max_local_work=1.5, merge="trimmed_mean"),
    RoundConfig(quorum=2, max_in_flight=9, max_local_work=1.5, staleness_rule="polynomial"),
    RoundConfig(
        quorum=3, max_in_flight=9, max_local_work=1.5, merge="median", staleness_rule="smooth_cutoff"
    ),
    RoundConfig(quorum=1, max_in_flight=9, max_local_work=1.5, weighting="inverse_participation"),
)
CASES = [
    (pipeline, kind, rounds, number % 3 > 0)
    for number, ((pipeline, kind), rounds) in enumerate(
        zip(
            ((pipeline, kind) for kind in (HYPERGRADIENT, PARAMETER_DELTA) for pipeline in PIPELINES),
            cycle(MERGES),
            strict=False,
        )
    )
]


@pytest.mark.histories
@pytest.mark.parametrize(
    ("pipeline", "kind", "rounds", "filtered"),
    CASES,
    ids=[f"{p}-{k}-{r.merge}-{r.weighting}-{'filter' if f else 'all'}" for p, k, r, f in CASES],
)
def test_a_thousand_commits_balance(pipeline: str, kind: str, rounds: RoundConfig, filtered: bool) -> None:
    server, senders = history(pipeline, kind, rounds=rounds, filtered=filtered, commits=COMMITS, seed=5)
    at_senders = senders[0].book.ledger + senders[1].book.ledger + senders[2].book.ledger
    owed = sum(mass(s.box.residual) for s in senders if s.box.residual)
    at_server = server.engine.state.account.ledger
    assert at_senders.imbalance(residual=owed) <= 1e-6
    assert at_server.imbalance() <= 1e-6
    assert at_senders.into(at_server).imbalance(residual=owed) <= 1e-6
    # What the senders call applied, the coordinator calls produced, and the journal has.
    accepted, everything, unused = journalled(server)
    assert abs(at_senders.applied - at_server.produced) <= 1e-6 * at_senders.gross
    assert abs(everything - at_server.produced) <= 1e-6 * at_senders.gross
    if rounds.merge == "mean":
        assert abs(unused - at_server.discarded) <= 1e-6 * at_senders.gross
    else:
        assert abs(at_server.discarded - unused) > 1e-3 * abs(at_server.applied), (
            "a robust merge left nothing out"
        )

    # The same for each value by itself: in a sum, what is missing here may be what is doubled there.
    residual = sum((flat(s.box.residual) for s in senders if s.box.residual), np.zeros(SIZE))
    terms = {term: sum(s.columns.get(term) for s in senders) for term in ("produced", "applied")}
    gone = sum(s.columns.get(term) for s in senders for term in ("discounted", "discarded", "lost"))
    tolerance = 1e-6 * at_senders.gross / SIZE
    np.testing.assert_allclose(accepted + residual + gone, terms["produced"], rtol=0, atol=tolerance)
    np.testing.assert_allclose(accepted, terms["applied"], rtol=0, atol=tolerance)

    # All of it has happened, and a replay keeps the same books.
    wanted = {"duplicates", "deaths", "STALE_COMMIT", "CHAIN_BROKEN", "OVERLOADED", "INVALID_REQUEST"}
    assert not {name for name in wanted | {"MALFORMED_PAYLOAD"} if not server.seen[name]}
    assert filtered == (server.seen["held"] > 0)
    both = at_senders.into(at_server)
    assert min(map(abs, (both.applied, both.discounted, both.discarded, both.lost))) > 0
    assert replay(from_parts(*parts) for parts in server.journal).account == server.engine.state.account
