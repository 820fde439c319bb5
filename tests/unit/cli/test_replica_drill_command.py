"""`dia drill replica`: which shard, and which of the other replicas is copied."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from streams.cli.replica_drill import _shard, _standing
from streams.connect.sinks.map_record import MapRecord, RecordedMap
from streams.connect.sinks.shard_maps import KnownMaps
from streams.connect.sinks.sharding import HashSharding, ShardMap
from streams.core.errors import (
    DependencyUnreachable,
    DiaError,
    RefusedBySafety,
    ShardUnavailable,
    UsageError,
)
from streams.operate.drill.record import DrillRecord

ONE, TWO = ("http://a:1",), ("http://b:1", "http://c:1")


def known(*urls):
    shards = len(urls)
    record = MapRecord.of(ShardMap(shards, HashSharding(shards)), urls)
    return KnownMaps((RecordedMap(record, in_force=True),), urls, recorded=True)


def record(shard):
    return DrillRecord(
        procedure="replica", shard=shard, backup="", began_ms=1, rows=1, restore_s=1.0,
        rebuild_s=0.0, rpo_s=0.0, lost={},
    )  # fmt: skip


def replica(behind_s):
    def delay_s():
        if behind_s is None:
            raise ShardUnavailable("away")
        return behind_s

    return cast(Any, SimpleNamespace(delay_s=delay_s))


def test_the_shard_with_several_replicas_and_the_oldest_drill_is_chosen():
    """A shard of one replica has nothing to be copied from."""
    shards = known(ONE, TWO, TWO)
    assert _shard(shards, None, []) == 1
    assert _shard(shards, None, [record(1)]) == 2
    assert _shard(shards, 1, [record(1)]) == 1


@pytest.mark.parametrize(
    ("shards", "asked", "error"),
    [
        (known(ONE, ONE), None, RefusedBySafety),
        (known(ONE, TWO), 0, RefusedBySafety),
        (known(ONE, TWO), 2, UsageError),
    ],
)
def test_a_shard_without_a_second_replica_is_refused(shards, asked, error: type[DiaError]):
    """The message names the drill that fits it."""
    with pytest.raises(error):
        _shard(shards, asked, [])


def test_the_replica_that_is_least_behind_is_copied():
    """As a new replica would have most rows soonest; one that does not answer is left out."""
    late, near = replica(9.0), replica(0.5)
    assert [one.replica for one in _standing([late, replica(None), near])] == [near, late]
    with pytest.raises(DependencyUnreachable):
        _standing([replica(None)])
