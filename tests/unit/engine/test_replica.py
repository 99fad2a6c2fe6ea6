"""A client's copy is the coordinator's published value to the bit, or is dropped."""

from __future__ import annotations

import numpy as np
import pytest

from chronos_common.codec import encode
from chronos_common.engine import CheckoutAnswer, Replica, VersionPart
from chronos_common.errors import DigestMismatchError, PayloadError
from chronos_common.tensors import digest
from tests.support.runs import Client, arrays, compressed, config

SIZE = 400


def served(versions: int) -> tuple[Client, list[CheckoutAnswer]]:
    """A compressed run, and what a client that follows every version is handed."""
    client = Client(config(quorum=1, compression=compressed("topk5+int8"), size=SIZE, bounds=(-2.0, 3.0)))
    answers: list[CheckoutAnswer] = []
    for version in range(versions + 1):
        answer = client.checkout("a", known=version - 1 if version else None)
        assert isinstance(answer, CheckoutAnswer)
        answers.append(answer)
        client.commit("a", 0.3 + version)
    return client, answers


def test_it_follows_every_version_by_deltas() -> None:
    _, answers = served(12)
    replica = Replica(config(size=SIZE, bounds=(-2.0, 3.0)).parameters)
    for answer in answers:
        replica.take(answer.version, answer.digest, answer.parts)
        assert replica.version == answer.version
    assert [part.is_delta for answer in answers for part in answer.parts] == [False, *12 * [True]]


def test_a_client_that_slept_gets_all_of_them_and_a_new_one_the_whole() -> None:
    client, answers = served(12)
    specs = client.engine.config.parameters
    late, fresh = Replica(specs), Replica(specs)
    late.take(answers[4].version, answers[4].digest, answers[0].parts + answers[1].parts + answers[2].parts
              + answers[3].parts + answers[4].parts)  # fmt: skip
    behind, whole = client.checkout("", known=4), client.checkout("")
    assert isinstance(behind, CheckoutAnswer)
    assert isinstance(whole, CheckoutAnswer)
    assert [part.version for part in behind.parts] == list(range(5, 14))
    assert whole.snapshot == encode("identity", client.engine.state.published)
    assert sum(len(part.payload) for part in behind.parts) < len(whole.snapshot)
    first = late.take(behind.version, behind.digest, behind.parts)
    second = fresh.take(whole.version, whole.digest, whole.parts)
    assert digest(first) == digest(second) == client.engine.state.digest


def test_a_round_of_skips_changes_nothing_and_sends_nothing() -> None:
    client, _ = served(3)
    replica = Replica(client.engine.config.parameters)
    before = client.checkout("b")
    assert isinstance(before, CheckoutAnswer)
    replica.take(before.version, before.digest, before.parts)
    client.commit("b", None)
    after = client.checkout("b", known=before.version)
    assert isinstance(after, CheckoutAnswer)
    assert (after.version, after.parts, after.not_modified) == (before.version + 1, (), False)
    replica.take(after.version, after.digest, after.parts)
    assert replica.version == after.version


def test_what_is_not_what_was_announced_is_dropped_whole() -> None:
    client, answers = served(5)
    replica = Replica(client.engine.config.parameters)
    replica.take(answers[0].version, answers[0].digest, answers[0].parts)
    with pytest.raises(DigestMismatchError, match="fetched again"):
        replica.take(answers[2].version, answers[2].digest, answers[2].parts)  # without those of version 1
    assert replica.version is None
    with pytest.raises(DigestMismatchError, match="holds nothing"):
        replica.take(answers[3].version, answers[3].digest, answers[3].parts)
    with pytest.raises(DigestMismatchError, match="holds nothing"):
        replica.take(0, answers[0].digest, ())


@pytest.mark.parametrize("is_delta", [False, True])
def test_a_damaged_part_leaves_nothing_behind(is_delta: bool) -> None:
    replica = Replica(config().parameters)
    whole = encode("identity", arrays(1.0))
    replica.take(0, digest(arrays(1.0)), [VersionPart(version=0, is_delta=False, payload=whole)])
    for payload in (b"", whole[:-1], encode("identity", {"other": np.ones(3)})):
        with pytest.raises(PayloadError):
            replica.take(1, "", [VersionPart(version=1, is_delta=is_delta, payload=payload)])
        assert replica.version is None
        replica.take(0, digest(arrays(1.0)), [VersionPart(version=0, is_delta=False, payload=whole)])
