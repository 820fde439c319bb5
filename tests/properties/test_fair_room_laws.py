"""Capacity shared by owners: the bound holds, and greedy owners leave capacity to others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.connect.access.fair_share import FairShare

SIZE = 1000
steps = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(0, 400), st.booleans()), max_size=60
)


@given(steps)
def test_capacity_is_never_exceeded_and_fully_returned(steps):
    """The counts equal what is held, per owner and in sum."""
    room: FairShare[str] = FairShare(SIZE)
    held: list[dict[str, int]] = []
    for owner, amount, gives in steps:
        if gives and held:
            room.give(held.pop(0))
        elif room.take({owner: amount}):
            held.append({owner: amount})
        total = sum(sum(part.values()) for part in held)
        assert room.taken == total <= SIZE
        for name in "abcd":
            assert room.held(name) == sum(part.get(name, 0) for part in held)
            assert room.held(name) <= SIZE / 2
        assert 0 not in room.holders().values()
    for part in held:
        room.give(part)
    assert room.holders() == {}


@given(steps, st.integers(1, 4))
def test_a_new_owner_always_finds_capacity(steps, others):
    """Beside k owners, a new owner may take half of 1/2^k of the capacity."""
    room: FairShare[str] = FairShare(SIZE)
    names = "abcd"[:others]
    for owner, amount, _ in steps:
        if owner in names and not room.take({owner: amount}):
            room.take({owner: amount // 8})
    assert room.take({"new": SIZE // 2 ** (others + 1)})


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 400), min_size=1))
def test_parts_of_several_owners_are_acquired_all_or_nothing(amounts):
    """A gateway's request holds events of many tenants."""
    room: FairShare[str] = FairShare(SIZE)
    fits = room.fits(amounts)
    assert room.take(amounts) is fits
    assert room.holders() == (amounts if fits else {})
