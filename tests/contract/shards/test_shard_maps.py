"""Servers store the shard map that placed their rows and refuse any other, on every shard set."""

from __future__ import annotations

from typing import Any

import pytest

from streams.core.errors import ShardMapChanged


async def test_a_connected_server_confirms_the_map(
    world: Any, windows: Any, hour_start: Any
) -> None:
    """Before that, the process knows the map only from its settings."""
    same = world.with_shards(2)
    assert same.identity == world.shards.identity
    await same.insert(0, [windows(world.tenant, [hour_start()])])
    assert same.confirmed


@pytest.mark.parametrize("count", [1, 3])
async def test_another_number_of_shards_is_refused_before_a_row_is_stored(
    world: Any, windows: Any, hour_start: Any, count: int
) -> None:
    """Windows that already live on another shard would be counted twice."""
    await world.shards.insert(0, [windows(world.tenant, [hour_start()])])
    other = world.with_shards(count)
    row = windows(world.tenant, [hour_start()], ver=9, n=7)
    for call in (
        lambda: other.insert(0, [row]),
        lambda: other.roll_up(0, "h1", hour_start()),
        lambda: other.ping(0),
    ):
        with pytest.raises(ShardMapChanged, match="2 shards by hash"):
            await call()
    assert not other.confirmed
    assert [found["n"] for found in await world.rows("m1", 0)] == [1]
