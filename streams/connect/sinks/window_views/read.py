"""The answer to one question, read by a command."""

from __future__ import annotations

from collections.abc import Callable

from streams.connect.sinks import shard_maps
from streams.connect.sinks.clickhouse import reading_groups
from streams.connect.sinks.replica_group import stale_shard
from streams.connect.sinks.window_views.view import Rows, Statement, WindowPoints, WindowReading
from streams.core.settings import Settings


def read(
    settings: Settings, reading: WindowReading, warn: Callable[[str], None] = lambda _: None
) -> WindowPoints:
    """Calls ``warn`` for a shard whose replicas are all behind. Raises `ShardUnavailable` when no replica of a shard answers, and `ShardMapChanged`."""
    known = shard_maps.told(settings)
    groups = reading_groups(settings, known)

    def ask(shard: int, statement: Statement) -> Rows:
        rows = groups[shard].ask(lambda replica: replica.query(*statement)[1])
        if behind_s := groups[shard].behind_s:
            warn(stale_shard(shard, behind_s))
        return rows

    try:
        return reading.points([ask(*one) for one in reading.asked(known)])
    finally:
        for group in groups:
            group.close()
