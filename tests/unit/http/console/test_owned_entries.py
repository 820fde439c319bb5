"""Which entry of which owner is evicted when there is no room."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.http.console.access.owned_entries import OwnedEntries


def test_an_owner_at_its_bound_loses_its_least_recently_used_entry():
    """Entries of other owners stay."""
    entries: OwnedEntries[int] = OwnedEntries(total_max=10, owner_max=2)
    for name, owner in (("a1", "a"), ("a2", "a"), ("b1", "b")):
        entries.put(owner, name, 0)
    assert entries.get("a1") == 0
    entries.put("a", "a3", 0)
    assert [entries.get(name) for name in ("a1", "a2", "a3", "b1")] == [0, None, 0, 0]


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 2)), max_size=60))
def test_the_owner_with_the_most_makes_room(steps):
    """Law: bounds hold, the newest entry is stored, and an owner with a single entry keeps it,
    unless every owner has one only and another owner arrives.
    """
    entries: OwnedEntries[int] = OwnedEntries(total_max=5, owner_max=3)
    entries.put("single", "single", -1)
    for number, (owner, what) in enumerate(steps):
        if what == 2:
            entries.pop(f"{owner}{number - 1}")
        else:
            counts = {name: len(found) for name, found in entries._owners.items()}
            lone = len(entries) == 5 and owner not in counts and max(counts.values()) == 1
            entries.put(owner, f"{owner}{number}", number)
            assert entries.get(f"{owner}{number}") == number
            if lone:
                return
        assert len(entries) == len([*entries]) <= 5
        assert all(len(found) <= 3 for found in entries._owners.values())
        assert entries.get("single") == -1
    entries.keep(lambda entry: entry == -1)
    assert {*entries} <= {-1}
