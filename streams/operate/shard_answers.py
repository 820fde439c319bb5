"""The answers of every shard to a command's question."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from streams.connect.sinks.clickhouse import reading_groups, require_shards
from streams.connect.sinks.moved_rows import BY_SERIES, RowPlacement, counted
from streams.connect.sinks.replica import Replica, StatementRefused
from streams.connect.sinks.replica_group import ReplicaGroup
from streams.connect.sinks.shard_maps import KnownMaps, LiveMaps
from streams.core.clock import SystemClock
from streams.core.errors import DependencyUnreachable, DiaError, ShardUnavailable
from streams.core.settings import Settings

COUNTED: Final = " /* counted */"
"""In a statement about rows of windows, within its condition: what counts on the shard that answers
(`streams.connect.sinks.moved_rows`), as they are placed ``by``."""

Rows: TypeAlias = Sequence[Sequence[Any]]


class EveryShard:
    """Questions of one command, ``asker``, to every shard. Close it after use.

    Without ``stale``, a replica that lacks acknowledged rows does not answer. Raises
    `DependencyUnreachable` without a known shard, and where no server says its shard maps.
    """

    def __init__(
        self,
        settings: Settings,
        asker: str,
        *,
        stale: bool = True,
        instead: Mapping[int, ReplicaGroup] | None = None,
    ) -> None:
        """``instead``: what answers for some of the shards."""
        require_shards(settings)
        try:
            self._groups = reading_groups(settings, stale=stale)
        except ShardUnavailable as error:
            raise DependencyUnreachable(str(error)) from error
        for shard, group in (instead or {}).items():
            self._groups[shard].close()
            self._groups[shard] = group
        self._maps = LiveMaps(settings, SystemClock())
        self._settings = settings
        self._stale = stale
        self._asker = asker

    def close(self) -> None:
        self._maps.close()
        for group in self._groups:
            group.close()

    async def ask(
        self, sql: str, parameters: Mapping[str, Any], by: RowPlacement = BY_SERIES
    ) -> list[Rows]:
        """The answers in shard order. Raises `DependencyUnreachable` where no replica of a shard
        answers, and `DiaError`, which names the asker, where one refuses the statement."""
        try:
            known = await self._maps.fresh()
        except ShardUnavailable as error:
            raise DependencyUnreachable(str(error)) from error
        self._connect(known)
        asked = (
            asyncio.to_thread(
                _answer,
                group,
                sql.replace(COUNTED, counted(known, shard, by)),
                parameters,
                self._asker,
            )
            for shard, group in enumerate(self._groups)
        )
        return await asyncio.gather(*asked)

    def _connect(self, known: KnownMaps) -> None:
        """Shards may be added while a command runs."""
        have = len(self._groups)
        if len(known.urls) > have:
            groups = reading_groups(self._settings, known, stale=self._stale)
            self._groups += groups[have:]
            for group in groups[:have]:
                group.close()


def _answer(group: ReplicaGroup, sql: str, parameters: Mapping[str, Any], asker: str) -> Rows:
    def ask(replica: Replica) -> Rows:
        try:
            return replica.query(sql, parameters)[1]
        except StatementRefused as error:
            raise DiaError(
                f"{replica.url} refuses a question of the {asker}: {error} "
                f"`dia migrate status` compares its schema."
            ) from error

    try:
        return group.ask(ask)
    except ShardUnavailable as error:
        raise DependencyUnreachable(str(error)) from error
