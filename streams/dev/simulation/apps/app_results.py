"""What an app has written: rows of its in-memory sinks, and keyed tables in the changelogs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.sinks.memory_replica import Row
from streams.core.rows.row_sink import DeclaredSink, RowBatch
from streams.engine.agents.stream_agent import Declared, StreamAgent
from streams.engine.state.changelog import unpack
from streams.engine.state.keyed import KeyedTable


class WrittenRows:
    """Keeps every batch once, as a real sink must."""

    def __init__(self) -> None:
        self._batches: dict[str, RowBatch] = {}

    async def write(self, batch: RowBatch) -> None:
        self._batches.setdefault(batch.name, batch)

    async def close(self) -> None:
        return

    @property
    def rows(self) -> list[Row]:
        return [row for batch in self._batches.values() for row in batch.rows()]


def in_memory(
    declared: Mapping[str, DeclaredSink], written: Mapping[str, WrittenRows]
) -> dict[str, DeclaredSink]:
    """Each sink with its rows in ``written``."""
    return {
        name: replace(sink, open=partial(_already_open, written[name]))
        for name, sink in declared.items()
    }


def _already_open(sink: WrittenRows, *_: object) -> WrittenRows:
    return sink


_EVERYTHING = 1 << 30


def keyed_content(
    broker: MemoryBroker, agent: StreamAgent, table: Declared
) -> dict[int, KeyedTable]:
    """By partition that has written."""
    changelog = agent.source.changelog(agent.group)
    parts: dict[int, KeyedTable] = {}
    for tp in broker.partitions():
        if tp.topic != changelog:
            continue
        log = broker.log(tp)
        entries: dict[bytes, bytes] = {}
        for value in log.read_committed(log.start_offset, _EVERYTHING).values:
            for key, body in unpack(value or b"")[1]:
                if not key.startswith(table.spec.prefix):
                    continue
                if body is None:
                    entries.pop(key[len(table.spec.prefix) :], None)
                else:
                    entries[key[len(table.spec.prefix) :]] = body
        parts[tp.partition] = table.empty()
        parts[tp.partition].load(sorted(entries.items()))
    return parts
