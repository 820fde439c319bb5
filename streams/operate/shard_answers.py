"""The answers of every shard to a command's question."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from streams.connect.sinks.replica import Replica, StatementRefused
from streams.connect.sinks.replica_group import ReplicaGroup
from streams.core.errors import DependencyUnreachable, DiaError, ShardUnavailable

Rows: TypeAlias = Sequence[Sequence[Any]]


async def answers(
    shards: Sequence[ReplicaGroup], sql: str, parameters: Mapping[str, Any], asker: str
) -> list[Rows]:
    """In shard order. Raises `DependencyUnreachable` where no replica of a shard answers, and `DiaError`,
    which names ``asker``, where one refuses the statement."""
    asked = (asyncio.to_thread(_answer, shard, sql, parameters, asker) for shard in shards)
    return await asyncio.gather(*asked)


def _answer(shard: ReplicaGroup, sql: str, parameters: Mapping[str, Any], asker: str) -> Rows:
    def ask(replica: Replica) -> Rows:
        try:
            return replica.query(sql, parameters)[1]
        except StatementRefused as error:
            raise DiaError(
                f"{replica.url} refuses a question of the {asker}: {error} "
                f"`dia migrate status` compares its schema."
            ) from error

    try:
        return shard.ask(ask)
    except ShardUnavailable as error:
        raise DependencyUnreachable(str(error)) from error
