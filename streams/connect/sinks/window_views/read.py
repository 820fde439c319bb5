"""The answer to one question, read by a command."""

from __future__ import annotations

from streams.connect.sinks import shard_maps
from streams.connect.sinks.clickhouse import reading_groups
from streams.connect.sinks.window_views.view import Rows, Statement, WindowPoints, WindowReading
from streams.core.settings import Settings


def read(settings: Settings, reading: WindowReading) -> WindowPoints:
    """Raises `ShardUnavailable` when no replica of a shard answers, and `ShardMapChanged`."""
    known = shard_maps.told(settings)
    groups = reading_groups(settings, known)

    def ask(shard: int, statement: Statement) -> Rows:
        return groups[shard].ask(lambda replica: replica.query(*statement)[1])

    try:
        return reading.points([ask(*one) for one in reading.asked(known)])
    finally:
        for group in groups:
            group.close()
