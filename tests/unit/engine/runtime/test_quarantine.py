"""Invalid records of one tenant affect only that tenant, not the others in its partition."""

from __future__ import annotations

import asyncio
import gzip
import json
from dataclasses import replace

from agents.app import (
    AGGREGATE_METRICS,
    DIA_GROUP,
    MODEL_METRICS,
    RECORD_TRAINING,
    TRAIN_RESULTS,
    app,
)
from streams.core.types import TopicPartition
from streams.dev.simulation.history import SETTINGS
from streams.dev.simulation.loop import VirtualLoop, run
from streams.dev.simulation.world import World
from streams.engine.health.finding import Severity
from streams.engine.health.live_workers import LiveWorker
from streams.engine.health.observation import Observation
from streams.engine.health.rule import judge
from streams.engine.runtime.poison.quarantine import STAYS_MAX, Quarantine
from streams.engine.runtime.poison.quarantine_register import (
    TENANTS_MAX,
    as_offset,
    read_quarantines,
    word_of,
)
from streams.operate.breaker.poison_admin import states

TOUCHY = replace(
    SETTINGS,
    poison_min_records=100,
    poison_window_s=10.0,
    quarantine_s=600.0,
    quarantine_letters_per_s=20.0,
)
METRICS = TopicPartition(MODEL_METRICS.name, 0)
TRAINING = TopicPartition(TRAIN_RESULTS.name, 0)
PATIENCE_S = 600.0
ATTACKER, VICTIM = "attacker", "victim"


class Town(World):
    """One partition for each topic, shared by an attacker and a victim."""

    async def send(self, topic, key, *events) -> None:
        producer = self.broker.plain_producer()
        for event in events:
            value = event if isinstance(event, bytes) else json.dumps(event).encode()
            await (await producer.send(topic, key.encode(), value))

    def metric(self, tenant, number, **fields):
        event = {"tenant_id": tenant, "model_id": "m", "metric": "x", "ts": self.clock.now_ms()}
        return {**event, "value": 1.0, "event_id": f"e{number}", **fields}

    def result(self, tenant, number, **fields):
        event = {"tenant_id": tenant, "model_id": "m", "version": "1", "run_id": "r", "metrics": {}}
        return {
            **event,
            "result_id": f"r{number}",
            "event": "run_completed",
            "ts": self.clock.now_ms(),
            **fields,
        }

    async def all_settled(self, process) -> None:
        deadline = self.clock.monotonic() + PATIENCE_S
        while not (held(process) and all(self.done(one) for one in held(process))):
            assert not [one for one in held(process) if one.phase == "stopped"]
            assert self.clock.monotonic() < deadline
            await asyncio.sleep(0.5)

    def done(self, one) -> bool:
        return one.settled and (one.next_offset or 0) >= self.broker.log(one.tp).high_watermark

    def letters(self, tp):
        return self.broker.log(TopicPartition(f"{tp.topic}.dlq", 0)).read_committed(0, 10**6)

    def counted(self, tenant) -> int:
        rows = [row for shard in (0, 1) for row in self.shards.rows("m1", shard)]
        return sum(row["n"] for row in rows if row["tenant"] == tenant)

    def gauge(self, process, name, tp):
        registry = process.worker.groups[0]._metrics.registry
        labels = {"topic": tp.topic, "partition": str(tp.partition)}
        return registry.get_sample_value(name, labels)


def held(process):
    return [one for group in process.worker.groups for one in group.partitions.values()]


def told(story, agents=(AGGREGATE_METRICS,), settings=TOUCHY) -> None:
    loop = VirtualLoop()
    town = Town(loop, settings, list(agents), partitions=1)

    async def whole() -> None:
        await town.create_topics()
        process = town.process(0)
        process.start()
        await story(town, process)
        await process.stop()

    run(loop, whole())


def test_one_event_id_with_many_payloads_stops_no_partition():
    """3,000 events with one event id in one request must not stop the partition for all tenants,
    nor again after each `dia dlq breaker reset`.
    """

    async def story(town, process):
        attack = [town.metric(ATTACKER, 0, value=float(n)) for n in range(3000)]
        await town.send(METRICS.topic, ATTACKER, *attack)
        await town.send(METRICS.topic, VICTIM, *(town.metric(VICTIM, n) for n in range(10)))
        await town.all_settled(process)
        assert (town.counted(VICTIM), town.counted(ATTACKER)) == (10, 1)
        letters = town.letters(METRICS)
        assert len(letters) == 2999
        assert sum(value is not None for value in letters.values) < 2000, (
            "dead letters of a flood are compact"
        )
        assert await states(town.broker, app.topology) == []
        assert town.gauge(process, "dia_quarantined_tenants", METRICS) == 0

    told(story)


def test_events_that_are_too_old_quarantine_their_tenant():
    """1,100 events that become too old between edge and broker must not stop the partition."""

    async def story(town, process):
        old_ms = town.clock.now_ms() - (TOUCHY.late_max_s + 5) * 1000
        for burst in range(3):
            numbers = range(burst * 1000, burst * 1000 + 1000)
            await town.send(
                METRICS.topic, ATTACKER, *(town.metric(ATTACKER, n, ts=old_ms) for n in numbers)
            )
            await town.send(METRICS.topic, VICTIM, town.metric(VICTIM, burst))
            await town.all_settled(process)
        assert town.counted(VICTIM) == 3
        assert len(town.letters(METRICS)) == 3000
        admin = await town.broker.admin()
        words = await read_quarantines(admin, DIA_GROUP, [METRICS], town.clock.now_ms())
        [found] = words[METRICS].tenants
        assert found.tenant == ATTACKER
        assert found.bad > TOUCHY.poison_max_ratio * found.records
        assert town.gauge(process, "dia_quarantined_tenants", METRICS) == 1
        await asyncio.sleep(TOUCHY.quarantine_s + 5)
        assert town.gauge(process, "dia_quarantined_tenants", METRICS) == 0
        later = town.clock.now_ms()
        assert await read_quarantines(admin, DIA_GROUP, [METRICS], later) == {}

    told(story)


def test_dead_letters_above_the_rate_point_to_existing_records():
    """A flood of dead letters must not fill the DLQ, and each pointer leads to a record that
    exists.
    """

    async def story(town, process):
        old_ms = town.clock.now_ms() - (TOUCHY.late_max_s + 5) * 1000
        for burst in range(2):
            numbers = range(burst * 500, burst * 500 + 500)
            attack = [town.metric(ATTACKER, n, ts=old_ms) for n in numbers]
            await town.send(METRICS.topic, ATTACKER, *attack)
            await town.all_settled(process)
        letters = town.letters(METRICS)
        source = town.broker.log(METRICS).read_committed(0, 10**6)
        at = dict(zip(source.offsets, source.values, strict=True))
        values = []
        for value, found in zip(letters.values, letters.headers, strict=True):
            headers = dict(found)
            pointer = headers.get("dia.dlq.pointer") == b"true"
            assert pointer == (value is None)
            values.append(at[int(headers["dia.dlq.offset"])] if pointer else value)
        assert sorted(values) == sorted(source.values)
        whole = sum(value is not None for value in letters.values)
        # The first hundred quarantine the tenant; later ones arrive at the allowed rate.
        assert 100 <= whole < 500
        registry = process.worker.groups[0]._metrics.registry
        compact = registry.get_sample_value(
            "dia_dead_letters_compact_total", {"topic": METRICS.topic}
        )
        assert compact == len(values) - whole

    told(story)


def test_valid_records_of_a_quarantined_tenant_are_counted():
    """Quarantine limits the cost of the tenant's invalid records only."""

    async def story(town, process):
        old_ms = town.clock.now_ms() - (TOUCHY.late_max_s + 5) * 1000
        bad = [town.metric(ATTACKER, n, ts=old_ms) for n in range(300)]
        await town.send(METRICS.topic, ATTACKER, *bad)
        await town.all_settled(process)
        good = [town.metric(ATTACKER, n) for n in range(300, 340)]
        await town.send(METRICS.topic, ATTACKER, *good)
        await town.all_settled(process)
        assert town.counted(ATTACKER) == 40

    told(story)


def test_training_results_without_an_alias_stop_no_partition():
    """The topic is partitioned by model; the tenant of an invalid record is in its value."""

    async def story(town, process):
        bad = [town.result(ATTACKER, n, event="alias_updated") for n in range(2000)]
        await town.send(TRAINING.topic, "m", *bad)
        await town.send(TRAINING.topic, "m", town.result(VICTIM, 1))
        await town.all_settled(process)
        assert len(town.letters(TRAINING)) == 2000
        runs = [row for shard in (0, 1) for row in town.shards.rows("training_runs", shard)]
        assert [row["tenant"] for row in runs] == [VICTIM]
        assert await states(town.broker, app.topology) == []
        assert town.gauge(process, "dia_quarantined_tenants", TRAINING) == 1

    told(story, agents=[RECORD_TRAINING])


def test_a_partition_with_invalid_records_without_a_tenant_stops():
    """The invalid records cannot be attributed to a single tenant."""

    async def story(town, process):
        await town.send(TRAINING.topic, "m", *([b"{"] * 200))
        deadline = town.clock.monotonic() + PATIENCE_S
        while not any(one.phase == "stopped" for one in held(process)):
            assert town.clock.monotonic() < deadline
            await asyncio.sleep(0.5)
        [state] = await states(town.broker, app.topology)
        assert (state.tp, state.stopped) == (TRAINING, True)
        assert len(town.letters(TRAINING)) < TOUCHY.poison_min_records

    told(story, agents=[RECORD_TRAINING])


def test_quarantined_tenants_fit_the_metadata_of_a_commit():
    """They fit 4 KiB of offset metadata, whatever the tenants' names."""
    from streams.core.clock import VirtualClock

    quarantine, clock = Quarantine(60.0), VirtualClock()
    for number in range(STAYS_MAX + 10):
        name = ("\x01" * 124 + f"{number:04}").encode()
        assert quarantine.hold(name, number * 0.01, 5, 6)
    assert len(quarantine) == STAYS_MAX
    word = word_of(quarantine, clock)
    assert word.more == STAYS_MAX - TENANTS_MAX
    assert len(as_offset(word, 1 << 40).metadata.encode()) < 4000


def test_a_quarantine_ends_when_the_tenant_sends_valid_records():
    """Operators see both the start and the end."""
    quarantine = Quarantine(60.0)
    assert quarantine.hold(b"a", 0.0, 5, 6)
    assert quarantine.changed
    quarantine.told()
    assert not quarantine.hold(b"a", 10.0, 7, 8)
    assert not quarantine.changed
    assert not quarantine.hold(b"a", 40.0, 9, 9)
    assert quarantine.changed
    quarantine.pass_time(99.0)
    assert len(quarantine) == 1
    quarantine.pass_time(100.0)
    assert len(quarantine) == 0
    assert b"a" not in quarantine


def test_compact_dead_letters_take_a_fraction_of_the_bytes():
    """Pointers of a flood compress well in the DLQ."""
    from streams.engine.runtime.effects.dead_letters import Failure, Origin, dead_letter

    failure = Failure(
        code="timestamp_too_old",
        message="$.ts: expected at most 604800 s before the append time 1764392000000, got 5",
        stage="decode",
        agent="aggregate_metrics",
        group=DIA_GROUP,
        attempts=1,
        first_failed_ms=1_764_392_000_000,
    )

    def batch(compact):
        lines = []
        for n in range(1000):
            # Values of distinct dead letters share little, unlike hashes of their number.
            value = b"".join(b"%x" % (n * 2654435761 ** (k + 1) % 2**64) for k in range(16))
            origin = Origin(
                tp=METRICS,
                offset=n,
                timestamp_ms=1_764_392_000_000 + n,
                key=b"t",
                value=value,
                headers=(),
                dlq=METRICS,
                id=f"model.metrics/0/{n}",
            )
            record = dead_letter(origin, failure, "t", compact=compact).record
            lines.append(repr((record.value, record.headers)))
        return len(gzip.compress("".join(lines).encode(), 1))

    assert batch(compact=True) < 0.75 * batch(compact=False)


def test_quarantined_tenants_are_a_warning_of_the_health_rule():
    """An operator should look; other tenants are unaffected."""
    partition = {"group": "g", "topic": "t", "partition": 0, "quarantined": 2}
    worker = LiveWorker(pid=1, slot=0, partitions=[partition])
    found = judge(Observation(at_ms=0, sources=(), workers=(worker,))).findings
    [finding] = [one for one in found if one.code == "tenant_quarantined"]
    assert (finding.subject, finding.severity) == ("t/0", Severity.WARNING)
    assert "2 tenants" in finding.detail
    assert finding.mend == "dia dlq breaker list"
