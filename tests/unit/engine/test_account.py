"""The coordinator's ledger, and how often a worker's does not join it."""

from __future__ import annotations

import pytest

from chronos_common.engine import CheckoutAnswer, CommitRecord, from_parts, replay, to_parts
from tests.support.runs import Client, config


def test_a_declared_loss_is_journalled_and_counted_once() -> None:
    client = Client(config(quorum=1))
    client.checkout("a")
    client.commit("a", 1.0)
    client.commit("a", None, seq=7, residual_lost=True)
    client.commit("a", 2.0, seq=8, residual_lost=True)
    assert client.commit("a", 2.0, seq=8, prev_applied=7, residual_lost=True).duplicate
    client.commit("a", 1.0)
    client.engine.stop("enough")
    client.take()
    records = [event for event in client.events if isinstance(event, CommitRecord)]
    assert [record.residual_lost for record in records] == [False, True, True, False]
    texts = [to_parts(record)[1] for record in records]
    assert ["residual_lost" in text for text in texts] == [False, True, True, False], (
        "left out where it is not so"
    )
    assert client.engine.state.account.residuals_lost == 2
    again = replay(from_parts(*to_parts(event)) for event in client.events)
    assert again.account == client.engine.state.account
    terms = again.account.ledger
    assert terms.produced == pytest.approx(terms.applied + terms.discounted + terms.discarded)


def test_a_checkout_says_whose_commit_ends_the_chain() -> None:
    client = Client(config(quorum=1))

    def end(incarnation: int) -> tuple[int, int]:
        answer = client.checkout("a", incarnation=incarnation)
        assert isinstance(answer, CheckoutAnswer)
        return answer.last_applied, answer.applied_by

    assert end(3) == (0, 0)
    client.commit("a", incarnation=3, current=3)
    assert end(3) == (1, 3)
    assert end(4) == (1, 3)
    client.commit("a", incarnation=4, current=4, seq=9)
    assert end(4) == (9, 4)
