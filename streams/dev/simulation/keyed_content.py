"""Reads a keyed table from an in-memory broker's changelogs."""

from __future__ import annotations

from streams.connect.broker.memory.broker import MemoryBroker
from streams.engine.agents.stream_agent import Declared, StreamAgent
from streams.engine.state.changelog import unpack
from streams.engine.state.keyed import KeyedTable

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
