"""The shard and map that a server claims: the first claim stays, and every other is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.connect.sinks.shard_claim import ShardPlace
from streams.core.errors import ShardMapChanged
from streams.core.rows.dated_map import MapIdentity

TWO, THREE = MapIdentity("aa", "2 shards by hash"), MapIdentity("bb", "3 shards by hash")


class Server:
    """The claims of one server."""

    def __init__(self):
        self.claims = []

    def read(self):
        return sorted(set(self.claims))

    def claims_as(self, place):
        return lambda: self.claims.append(tuple(place.parameters.values()))

    def meet(self, place, *, writes=True):
        claim = self.claims_as(place) if writes else None
        return place.settle("http://s:1", self.read, claim)


def test_the_first_claim_stands_and_the_next_agrees():
    """`dia migrate apply` may run any number of times."""
    server = Server()
    assert server.meet(ShardPlace(0, TWO))
    assert server.meet(ShardPlace(0, TWO), writes=False)


def test_a_reader_makes_no_claim():
    """A reader with wrong settings must not decide the placement of rows."""
    server = Server()
    assert not server.meet(ShardPlace(0, THREE), writes=False)
    assert server.meet(ShardPlace(0, TWO))


@pytest.mark.parametrize("other", [ShardPlace(0, THREE), ShardPlace(1, TWO)])
@pytest.mark.parametrize("writes", [True, False])
def test_another_map_or_another_number_is_refused_with_both_named(other, writes):
    """Two swapped addresses send rows to the wrong shard, like another number of shards."""
    server = Server()
    server.meet(ShardPlace(0, TWO))
    with pytest.raises(ShardMapChanged, match=r"shard 0 of 2 shards by hash \[aa\]") as refused:
        server.meet(other, writes=writes)
    assert f"shard {other.shard} of {other.identity.description}" in str(refused.value)
    assert "DIA_CLICKHOUSE_SHARDS" in str(refused.value)
    assert (refused.value.exit_code, refused.value.code) == (5, "shard_map_changed")


@given(st.lists(st.integers(0, 1), min_size=2, max_size=12))
def test_of_two_maps_that_claim_at_once_at_most_one_is_used(turns):
    """The steps of two processes may interleave in any order."""
    server, used = Server(), []

    def process(place):
        claims = server.read()
        yield
        if not claims:
            server.claims_as(place)()
            yield
        try:
            place.settle("http://s:1", server.read, None)
        except ShardMapChanged:
            return
        used.append(place)

    running = [process(ShardPlace(0, TWO)), process(ShardPlace(0, THREE))]
    for turn in [*turns, 0, 0, 0, 1, 1, 1]:
        next(running[turn], None)
    assert len(used) <= 1
