"""A harness for one partition of a stream agent, and the contents of its commits."""

from __future__ import annotations

from dataclasses import replace

from agents.app import DIA_GROUP, MODEL_METRICS, SIMULATION_RESULT
from streams.core.clock import settle
from streams.core.types import TopicPartition
from streams.engine.agents.stream_agent import StreamAgent
from streams.engine.runtime.offsets.shed_order import ShedOrder
from streams.engine.state.changelog import unpack

SOURCE = TopicPartition(MODEL_METRICS.name, 0)
CHANGELOG = TopicPartition(MODEL_METRICS.changelog(DIA_GROUP), 0)
DLQ = TopicPartition(MODEL_METRICS.dlq, 0)
OUT = TopicPartition(SIMULATION_RESULT.name, 0)


class StreamDesk:
    """One partition of one agent, opened step by step."""

    def __init__(self, rig) -> None:
        self.rig = rig
        self.declared = ()

    async def open(self, body, *declared, sinks=(), **settings):
        self.declared = declared
        self.rig.settings = replace(self.rig.settings, **settings)
        agent = StreamAgent(
            name="stream",
            source=MODEL_METRICS,
            group=DIA_GROUP,
            body=body,
            declared=declared,
            sinks=sinks,
        )
        self.rig.opened = await self.rig.opener().open(agent, SOURCE, lambda: None)
        return self.rig.partition

    @property
    def partition(self):
        return self.rig.partition

    def table(self, declared):
        return self.partition.table(declared.spec)

    async def fold(self):
        """Read all records, and run the agent until it waits."""
        reader = await self.rig.broker.reader()
        self.partition.fold(await reader.read(SOURCE, self.partition.position))
        await settle()

    async def commit(self):
        assert self.partition.has_changes()
        await self.rig.commit()

    def committed(self):
        """The changelog entries of user tables by key, without declarations, and the last link."""
        entries, last = {}, None
        for value in self.rig.contents(CHANGELOG).values:
            last, found = unpack(value)
            entries.update(found)
        user = {key: value for key, value in entries.items() if key[:1] == b"T"}
        return user, last

    def letters(self):
        """Offset, code and number of attempts of each dead letter."""
        found = []
        for headers in self.rig.contents(DLQ).headers:
            said = {name.removeprefix("dia.dlq."): value.decode() for name, value in headers}
            found.append((int(said["offset"]), said["error_code"], int(said["attempts"])))
        return found

    def close(self):
        if self.rig.opened is not None:
            self.partition.abandon()
            self.partition.state.store.close()

    async def reopen(self, body, *declared):
        """Opens the partition as the next owner."""
        self.close()
        await settle()
        return await self.open(body, *declared)


def shed_before(desk, until):
    """An order to skip the records below offset ``until``."""
    return ShedOrder(
        id="o", epoch=0, until=until, last_offset=until - 1,
        last_append_ms=desk.rig.contents(SOURCE).timestamps[until - 1],
        before_ms=0, actor="eve", reason="old", at_ms=0,
    )  # fmt: skip
