"""Each way a partition stops, and the way out of it: on both brokers, with real workers."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents import AGGREGATE_METRICS
from streams.broker.kafka import KafkaBroker
from streams.broker.memory import MemoryBroker
from streams.clock import SystemClock
from streams.errors import RefusedBySafety
from streams.runtime.assignment import Opener, first_link, transactional_id
from streams.runtime.consequences import consequences
from streams.runtime.deadline import Deadline
from streams.runtime.effects import ledger_key
from streams.runtime.reset import Opening, look, open_epoch, reset
from streams.runtime.state import META_KEY, read_meta
from streams.runtime.survey import survey
from streams.runtime.worker import Worker
from streams.settings import Settings
from streams.sinks.memory import MemoryShards
from streams.telemetry.metrics import Metrics
from streams.topics import wanted_topics
from streams.topology import MODEL_METRICS
from streams.types import Broker, CommittedOffset, OutboundRecord, TopicPartition
from tables import OUTBOX
from tables.changelog import pack
from tables.rocksdb import RocksFolder

PATIENCE_S = 60.0
SETTINGS = Settings(
    commit_interval_s=0.05,
    session_timeout_s=6.0,
    fetch_timeout_s=0.05,
    idle_close_s=0.5,
    grace_s=0,
    late_hold_s=0.2,
    emit_interval_s=0.1,
    rollup_interval_s=0.5,
    future_max_s=0,
)
SOURCE = TopicPartition(MODEL_METRICS.name, 0)


class Line:
    """One partition from a broker to shards, its worker, and ways to break it."""

    def __init__(self, broker: Broker, state: Path) -> None:
        self.broker = broker
        self.state = state
        self.clock = SystemClock()
        self.shards = MemoryShards(1, self.clock)
        self.agent = replace(AGGREGATE_METRICS, group=f"reset-{uuid.uuid4().hex[:8]}")
        self.changelog = TopicPartition(MODEL_METRICS.changelog(self.agent.group), 0)
        self.sent = 0
        self.worker: Worker | None = None
        self._running: asyncio.Task[None] | None = None

    async def create(self, *names: str) -> None:
        """(Re)create topics of one partition, empty."""
        configs = {MODEL_METRICS.dlq: {}, self.changelog.topic: {}}
        configs |= {t.name: t.config for t in wanted_topics([MODEL_METRICS])}
        topics = [t for t in wanted_topics([MODEL_METRICS]) if t.name == MODEL_METRICS.dlq]
        admin = await self.broker.admin()
        await admin.delete_topics(names)
        await admin.create_topics(
            [replace(topics[0], name=n, partitions=1, config=configs[n]) for n in names]
        )
        await admin.close()

    async def produce(self, count: int) -> None:
        producer = self.broker.plain_producer()
        await producer.start()
        for _ in range(count):
            self.sent += 1
            event = {
                "event_id": f"e{self.sent}",
                "tenant_id": "t",
                "model_id": "m",
                "metric": "x",
                "ts": self.clock.now_ms() - 120_000,
                "value": 1.0,
            }
            await (await producer.send(SOURCE.topic, b"t", json.dumps(event).encode()))
        await producer.close()

    async def start(self, state: Path | None = None) -> None:
        folder = state or self.state
        self.worker = Worker(
            agents=[self.agent],
            broker=self.broker,
            shards=self.shards,
            stores=lambda group: RocksFolder(folder, group),
            clock=self.clock,
            settings=SETTINGS,
            metrics=Metrics(),
            instance_id="one",
        )
        self._running = asyncio.create_task(self.worker.run(lambda: None))

    async def stop(self) -> None:
        if self.worker is None or self._running is None:
            return
        await self.worker.drain(Deadline(self.clock, 20.0))
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        self.worker = None

    async def until(self, done: Callable[[], Any]) -> None:
        assert self._running is not None
        async with asyncio.timeout(PATIENCE_S):
            while not done():
                assert not self._running.done(), self._running
                await asyncio.sleep(0.05)

    async def count(self, events: int) -> None:
        """Run until ``events`` in all are visible and everything is settled."""
        await self.until(lambda: self.visible() == events and self.settled)

    @property
    def settled(self) -> bool:
        assert self.worker is not None
        return self.worker.settled

    def visible(self, epoch: int | None = None) -> int:
        rows = self.shards.m1_rows()
        return sum(int(r["n"]) for r in rows if epoch is None or int(r["inc"]) >> 40 == epoch)

    def ledger(self, epoch: int) -> Any:
        (row,) = [r for r in self.shards.rows("ledger") if r["epoch"] == epoch]
        return row

    async def stopped(self) -> str:
        """Run until the partition is stopped; why."""
        assert self.worker is not None
        held = self.worker.groups[0].partitions
        await self.until(lambda: SOURCE in held and held[SOURCE].stopped_by)
        error = held[SOURCE].stopped_by
        assert error is not None
        return error.code

    async def planned(self, *, resume_at_start: bool = False) -> Opening:
        standing = await look(self.broker, self.agent.group, MODEL_METRICS, 0)
        return open_epoch(standing, resume_at_start=resume_at_start)

    async def reset(self, *, resume_at_start: bool = False) -> Opening:
        agreed = await self.planned(resume_at_start=resume_at_start)
        return await reset(self.broker, self.clock, agreed)

    async def survey(self) -> Any:
        reader = await self.broker.reader()
        try:
            return await survey(reader, self.changelog)
        finally:
            await reader.close()

    async def committed(self) -> CommittedOffset:
        admin = await self.broker.admin()
        try:
            return (await admin.committed(self.agent.group, [SOURCE]))[SOURCE]
        finally:
            await admin.close()

    # --- ways to break it --------------------------------------------------------------------

    async def lose_changelog(self) -> None:
        await self.create(self.changelog.topic)

    async def tear_changelog(self) -> None:
        """A commit that does not follow the one before it."""
        last = (await self.survey()).last
        stray = msgspec.structs.replace(first_link(last.next_offset), seq=last.seq + 2)
        producer = self.broker.transactional_producer(transactional_id(self.agent.group, SOURCE))
        await producer.start()
        await producer.begin()
        for data, _ in pack(stray, []):
            await (await producer.send(OutboundRecord(self.changelog, None, data)))
        await producer.commit()
        await producer.close()

    async def truncate_source(self) -> None:
        """Records that nobody has consumed yet fall out of the log."""
        await self.produce(5)
        admin = await self.broker.admin()
        await admin.delete_records({SOURCE: self.sent - 2})
        await admin.close()

    async def recreate_source(self) -> None:
        await self.create(SOURCE.topic)


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.stack)])
async def line(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Line]:
    """A line whose topics exist and are empty."""
    if request.param == "memory":
        broker: Broker = MemoryBroker(SystemClock(), session_timeout_s=SETTINGS.session_timeout_s)
    else:
        broker = KafkaBroker(
            request.getfixturevalue("kafka_bootstrap"),
            session_timeout_s=SETTINGS.session_timeout_s,
        )
    made = Line(broker, tmp_path / "state")
    await made.create(SOURCE.topic, MODEL_METRICS.dlq, made.changelog.topic)
    yield made
    await made.stop()


async def run_to(line: Line, events: int) -> None:
    """A worker's whole life: produce, count, stop."""
    await line.start()
    await line.produce(events)
    await line.count(events)
    await line.stop()


STOPS = {
    "changelog_lost": Line.lose_changelog,
    "changelog_gap": Line.tear_changelog,
    "source_truncated": Line.truncate_source,
    "topic_recreated": Line.recreate_source,
}


@pytest.mark.parametrize("folder", ["kept", "new"])
@pytest.mark.parametrize("code", STOPS)
async def test_a_stopped_partition_is_reset_and_goes_on(
    line: Line, code: str, folder: str, tmp_path: Path
) -> None:
    """Every message of a stop names this command: it must lead out, with and without the old
    state folder, and what comes after must count exactly once."""
    await run_to(line, 20)
    await STOPS[code](line)
    await line.start()
    assert await line.stopped() == code
    await line.stop()

    before = line.visible()
    opened = await line.reset(resume_at_start=code == "source_truncated")
    assert opened.standing.cause is not None
    assert opened.standing.cause.code == code
    assert opened.link.epoch == 1
    assert await line.committed() == CommittedOffset(opened.link.next_offset, "epoch=1")
    start = {"source_truncated": 23, "topic_recreated": 0}.get(code, 20)
    assert opened.link.next_offset == opened.link.start_offset == start

    await line.start(tmp_path / "other" if folder == "new" else None)
    await line.produce(10)
    fresh = 12 if code == "source_truncated" else 10
    await line.count(before + fresh)
    await line.stop()
    assert line.visible(epoch=1) == fresh
    ledger = line.ledger(epoch=1)
    assert ledger["applied"] == fresh
    assert ledger["next_offset"] - opened.link.start_offset == ledger["read"] + ledger["gaps"]
    assert line.ledger(epoch=0)["applied"] == 20
    assert (await line.survey()).faults == []


async def test_a_healthy_partition_is_not_reset(line: Line) -> None:
    """A reset costs windows and dedupe: a slip of the hand must not."""
    await run_to(line, 5)
    with pytest.raises(RefusedBySafety, match="nothing stops"):
        await line.planned()


async def test_a_worker_that_takes_the_partition_back_wins(line: Line) -> None:
    """Fencing decides between a reset and a live worker; the loser changes nothing."""
    await run_to(line, 5)
    await line.lose_changelog()
    agreed = await line.planned()

    class Rival:
        """The broker as the reset sees it: a worker's A1 comes just before its commit."""

        def __init__(self) -> None:
            self.looks = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(line.broker, name)

        async def admin(self) -> Any:
            rival = line.broker.transactional_producer(transactional_id(line.agent.group, SOURCE))
            await rival.start()
            await rival.close()
            return await line.broker.admin()

    with pytest.raises(RefusedBySafety, match=r"took .* back"):
        await reset(Rival(), line.clock, agreed)  # type: ignore[arg-type]
    assert (await line.survey()).last is None


async def test_a_partition_that_moved_since_is_not_reset(line: Line) -> None:
    """The operator agreed to what was shown, not to what is there now."""
    await run_to(line, 5)
    await line.lose_changelog()
    agreed = await line.planned()
    await line.reset()
    await line.tear_changelog()
    with pytest.raises(RefusedBySafety, match="moved"):
        await reset(line.broker, line.clock, agreed)


async def test_records_that_are_gone_are_given_up_only_when_told(line: Line) -> None:
    """Skipping unread records is a loss: it takes --resume-at-start, and is named."""
    await run_to(line, 5)
    await line.truncate_source()
    with pytest.raises(RefusedBySafety, match="offsets 5 to 7 were never consumed"):
        await line.planned()
    told = consequences(await line.planned(resume_at_start=True), SETTINGS)
    assert any("Offsets 5 to 7 are gone" in sentence for sentence in told)


async def test_reading_again_what_was_counted_is_named(line: Line) -> None:
    """--resume-at-start on a source that is still whole counts it twice: an operator may want
    that after emptying ClickHouse, and must know."""
    await run_to(line, 5)
    await line.lose_changelog()
    told = consequences(await line.planned(resume_at_start=True), SETTINGS)
    assert any("Offsets 0 to 4 were counted before" in sentence for sentence in told)


async def test_a_second_reset_raises_the_epoch_again(line: Line) -> None:
    """The epoch outlives the changelog in the committed offset: two losses, two epochs."""
    await run_to(line, 5)
    for epoch in (1, 2):
        await line.lose_changelog()
        assert (await line.reset()).link.epoch == epoch
    await line.start()
    await line.produce(5)
    await line.count(10)
    assert line.visible(epoch=2) == 5


async def test_a_void_store_that_fits_the_new_log_by_accident_is_discarded(line: Line) -> None:
    """Offsets of a recreated changelog begin at 0 again: an old store may end exactly where the
    new log does, and must still not be believed."""
    await run_to(line, 5)
    await line.lose_changelog()
    opened = await line.reset()
    end = (await line.survey()).end_offset
    store = RocksFolder(line.state, line.agent.group)(SOURCE, False)
    meta = read_meta(store)
    assert meta is not None
    forged = msgspec.structs.replace(meta, changelog_offset=end)
    store.write([(META_KEY, msgspec.msgpack.encode(forged))])
    store.close()
    opener = Opener(
        broker=line.broker,
        stores=RocksFolder(line.state, line.agent.group),
        clock=line.clock,
        settings=SETTINGS,
        shards=1,
        shard_of=line.shards.shard_of,
    )
    found = await opener.open(line.agent, SOURCE, lambda: None)
    state = found.partition.state
    assert (state.link.epoch, state.context.epoch) == (1, 1)
    assert state.link.seq == opened.link.seq
    keys = [key for key, _ in state.store.items() if key != META_KEY]
    assert keys == [OUTBOX.prefix + ledger_key(1)]
    state.store.close()
    await found.producer.close()
