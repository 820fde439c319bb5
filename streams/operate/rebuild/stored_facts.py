"""Which rows of dead letters and of the ledger the shards hold."""

from __future__ import annotations

from collections.abc import Mapping

from streams.core.settings import Settings
from streams.operate.rebuild.facts import LedgerKey
from streams.operate.shard_answers import EveryShard

_LEDGER = "SELECT grp, topic, part, epoch, next_offset FROM ledger_local FINAL"
_DEAD = "SELECT id, max(ver) FROM dead_letters_local WHERE topic = {topic:String} GROUP BY id"


class ClickHouseFacts:
    """`FactStore` of real shards."""

    def __init__(self, settings: Settings) -> None:
        self._shards = EveryShard(settings, "rebuild", stale=False)

    def close(self) -> None:
        self._shards.close()

    async def ledger(self) -> Mapping[LedgerKey, int]:
        return {
            (str(group), str(topic), int(part), int(epoch)): int(offset)
            for rows in await self._shards.ask(_LEDGER, {})
            for group, topic, part, epoch, offset in rows
        }

    async def dead_letters(self, topic: str) -> Mapping[str, int]:
        answers = await self._shards.ask(_DEAD, {"topic": topic})
        return {str(name): int(ver) for rows in answers for name, ver in rows}
