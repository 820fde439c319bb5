"""Rows owed to a table that the running version does not declare become dead letters, and the
partition's state goes on: on both brokers, with real workers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.app import app
from streams.connect.broker.log_range import decided_end, read_range, until_readable
from streams.core.types import OutboundRecord, TopicPartition
from streams.engine.engine_tables import OUTBOX
from streams.engine.runtime.assignment import transactional_id
from streams.engine.runtime.effects import effects
from streams.engine.runtime.offsets.commit_mark import committed_offset, is_of
from streams.engine.state.changelog import pack
from streams.engine.state.outbox import Outbox
from streams.operate.reset.outbox_drop import drop, plan_drop
from tests.contract.reset.conftest import METRICS, SOURCE, opened

TABLE, ROWS = "verdicts", 3
DLQ = TopicPartition(METRICS.dlq, SOURCE.partition)


async def _run_to(line: Any, events: int) -> None:
    await line.start()
    await line.produce(events)
    await line.count(events)
    await line.stop()


async def _owe_to_an_undeclared_table(line: Any) -> None:
    """Write a commit as a newer version does that declares one more table."""
    async with opened(line.broker.reader()) as reader:
        await decided_end(reader, line.changelog, line.clock)
    last = (await line.survey()).last
    link = msgspec.structs.replace(last, seq=last.seq + 1, from_offset=last.next_offset)
    rows = [{"id": str(number), "ver": link.seq, "at": 1} for number in range(ROWS)]
    outbox = Outbox()
    for key, value in effects.facts(link.seq, TABLE, rows):
        outbox.put(key, value)
    entries = [(OUTBOX.prefix + key, value) for key, value in outbox.delta(link.seq)]
    producer = line.broker.transactional_producer(transactional_id(line.agent.group, SOURCE))
    await producer.start()
    await producer.begin()
    sent = [
        await producer.send(OutboundRecord(line.changelog, None, data))
        for data, _ in pack(link, entries)
    ]
    offsets = await asyncio.gather(*sent)
    marks = {SOURCE: committed_offset(link, offsets[0])}
    await producer.send_offsets(marks, line.agent.group)
    await producer.commit()
    await producer.close()
    async with opened(line.broker.reader()) as reader:
        await until_readable(reader, line.changelog, line.clock)


async def _letters(line: Any) -> list[dict[str, Any]]:
    async with opened(line.broker.reader()) as reader:
        end = await decided_end(reader, DLQ, line.clock)
        return [
            json.loads(value or b"null")
            async for batch in read_range(reader, DLQ, 0, end)
            for value in batch.values
        ]


@pytest.mark.parametrize("folder", ["kept", pytest.param("new", marks=pytest.mark.on_kafka)])
async def test_a_partition_goes_on_once_the_rows_are_dropped(
    line: Any, folder: str, tmp_path: Path
) -> None:
    """With and without the old state folder: the commit of the drop is a link of the chain."""
    await _run_to(line, 20)
    await _owe_to_an_undeclared_table(line)
    await line.start()
    assert await line.stopped() == "unknown_target"
    await line.stop()

    where = line.broker, line.agent.group, METRICS, 0, app.targets, TABLE
    agreed = await plan_drop(*where)
    assert await drop(line.broker, line.clock, agreed, "ann", "rolled back") == ROWS
    last = (await line.survey()).last
    assert is_of(await line.committed(), last)
    assert (last.epoch, last.seq) == (0, agreed.link.seq + 1)
    assert {row["id"] for row in await _letters(line)} == {"0", "1", "2"}

    await line.start(tmp_path / "other" if folder == "new" else None)
    await line.produce(10)
    await line.count(30)
    await line.stop()
    assert line.ledger(epoch=0)["applied"] == 30
    assert (await line.survey()).faults == []
    assert (
        sum(row["error_code"] == "row_dropped" for row in line.shards.rows("dead_letters")) == ROWS
    )
