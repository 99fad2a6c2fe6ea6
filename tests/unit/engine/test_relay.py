"""Deltas are relayed while that is smaller than a snapshot."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chronos_common.engine.relay import Relay


def grown(sizes: list[int | None], *, keep: int = 100, room: int = 100) -> Relay:
    """After a snapshot at version 0: the delta of every version, or ``None`` for a round of skips."""
    relay = Relay()
    for version, size in enumerate(sizes, start=1):
        if size is not None:
            relay = relay.after_delta(version, bytes(size), keep_versions=keep, snapshot_bytes=room)
    return relay


def versions(relay: Relay, known: int) -> list[int] | None:
    deltas = relay.since(known)
    return None if deltas is None else [delta.version for delta in deltas]


def test_a_client_gets_what_came_after_the_version_that_it_holds() -> None:
    relay = grown([1, None, 1, 1])
    assert [versions(relay, known) for known in range(5)] == [[1, 3, 4], [3, 4], [3, 4], [4], []]


def test_a_snapshot_begins_anew() -> None:
    relay = Relay(base=7)
    assert versions(relay, 6) is None
    assert versions(relay, 7) == versions(relay, 9) == []


def test_older_versions_than_are_kept_need_a_snapshot() -> None:
    relay = grown([1, 1, 1, 1], keep=2)
    assert [versions(relay, known) for known in range(5)] == [None, None, [3, 4], [4], []]


def test_none_are_kept_when_nobody_wants_them() -> None:
    assert [versions(grown([1, 1], keep=0), known) for known in range(3)] == [None, None, []]


@given(
    st.lists(st.one_of(st.none(), st.integers(1, 60)), max_size=30),
    st.integers(0, 12),
    st.integers(61, 200),
)
def test_what_is_relayed_is_smaller_than_a_snapshot_and_complete(
    sizes: list[int | None], keep: int, room: int
) -> None:
    relay = grown(sizes, keep=keep, room=room)
    for known in range(len(sizes) + 1):
        deltas = relay.since(known)
        after = [version for version in range(known + 1, len(sizes) + 1) if sizes[version - 1] is not None]
        weight = sum(sizes[version - 1] or 0 for version in after)
        if deltas is None:
            newest = max((v for v, size in enumerate(sizes, start=1) if size is not None), default=0)
            assert weight >= room or known < newest - keep
        else:
            assert [delta.version for delta in deltas] == after
            assert weight < room
