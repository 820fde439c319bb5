"""Quotas of one tenant in a partition: records over quota are dead letters, and other tenants are
unaffected.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from agents.app import AGGREGATE_METRICS, RECORD_TRAINING
from streams.engine.engine_tables import MINUTE_WINDOWS
from streams.engine.windows.minutes import names
from tests.unit.engine.runtime.test_quarantine import (
    ATTACKER,
    METRICS,
    TOUCHY,
    TRAINING,
    VICTIM,
    told,
)

ROOMY = replace(
    TOUCHY,
    max_live_windows=100_000,
    fetch_max_records=500,
    commit_max_records=1000,
    quarantine_letters_per_s=10_000.0,
)


def codes(town, tp):
    headers = [dict(found) for found in town.letters(tp).headers]
    return Counter(found["dia.dlq.error_code"].decode() for found in headers)


def test_names_beyond_a_share_are_refused_and_stop_no_partition(monkeypatch):
    """Two million model names of one tenant must not stop model.metrics for all tenants."""
    monkeypatch.setattr(names, "MAX_CODES", 200)
    monkeypatch.setattr("streams.engine.windows.minutes.minute_windows.MAX_CODES", 200)

    async def story(town, process):
        for burst in range(4):
            flood = [
                town.metric(ATTACKER, f"{burst}-{n}", model_id=f"m{burst}-{n}") for n in range(150)
            ]
            await town.send(METRICS.topic, ATTACKER, *flood)
            await town.send(METRICS.topic, VICTIM, town.metric(VICTIM, burst))
            await town.all_settled(process)
        assert town.counted(VICTIM) == 4
        refused = codes(town, METRICS)["over_quota"]
        assert town.counted(ATTACKER) + refused == 600
        assert town.counted(ATTACKER) > 200, "names of evicted windows are still in memory"

    told(story, settings=replace(ROOMY, max_series=1000))


def test_series_beyond_a_share_are_refused_and_can_be_replayed():
    """A refused record leaves no id or series, so its replay is no duplicate."""

    async def story(town, process):
        flood = [town.metric(ATTACKER, n, model_id=f"m{n}") for n in range(1000)]
        await town.send(METRICS.topic, ATTACKER, *flood)
        await town.send(METRICS.topic, VICTIM, *(town.metric(VICTIM, n) for n in range(5)))
        await town.all_settled(process)
        assert (town.counted(ATTACKER), town.counted(VICTIM)) == (500, 5)
        letters = town.letters(METRICS)
        assert codes(town, METRICS) == {"over_quota": 500}
        assert town.gauge(process, "dia_quarantined_tenants", METRICS) == 0
        # Append time passes two generations: the tenant's series have expired.
        await town.clock.sleep(1300)
        await town.send(METRICS.topic, VICTIM, town.metric(VICTIM, 99))
        await town.all_settled(process)
        await town.clock.sleep(1300)
        producer = town.broker.plain_producer()
        for key, value in list(zip(letters.keys, letters.values, strict=True))[:100]:
            await (await producer.send(METRICS.topic, key, value))
        await town.all_settled(process)
        assert town.counted(ATTACKER) == 600

    told(story, settings=replace(ROOMY, max_series=1000, dedupe_ttl_s=86_400))


def test_event_ids_beyond_a_share_are_refused():
    """20 million ids of one tenant would reach a bound that no pause can relieve."""

    async def story(town, process):
        flood = [town.metric(ATTACKER, n) for n in range(1500)]
        await town.send(METRICS.topic, ATTACKER, *flood)
        await town.send(METRICS.topic, VICTIM, *(town.metric(VICTIM, n) for n in range(50)))
        await town.all_settled(process)
        assert (town.counted(ATTACKER), town.counted(VICTIM)) == (500, 50)
        assert codes(town, METRICS) == {"over_quota": 1000}

    told(story, settings=replace(ROOMY, max_ids=1000, dedupe_ttl_s=3600))


def test_models_beyond_a_share_are_refused():
    """33 requests of one tenant must not fill the table of models for all tenants."""

    async def story(town, process):
        for n in range(300):
            await town.send(TRAINING.topic, f"m{n}", town.result(ATTACKER, n, model_id=f"m{n}"))
        await town.send(TRAINING.topic, "m", town.result(VICTIM, 1))
        known = [town.result(ATTACKER, 1000 + n, model_id="m1") for n in range(20)]
        await town.send(TRAINING.topic, "m1", *known)
        await town.all_settled(process)
        assert codes(town, TRAINING) == {"over_quota": 250}
        runs = [row for shard in (0, 1) for row in town.shards.rows("training_runs", shard)]
        assert Counter(row["tenant"] for row in runs) == {ATTACKER: 70, VICTIM: 1}

    told(story, agents=[RECORD_TRAINING], settings=replace(ROOMY, max_models=100))


def test_inactive_models_make_room_for_others():
    """Otherwise a tenant at its share of models would be refused new ones without end."""

    async def story(town, process):
        for n in range(60):
            await town.send(TRAINING.topic, f"m{n}", town.result(VICTIM, n, model_id=f"m{n}"))
        await town.all_settled(process)
        assert codes(town, TRAINING) == {"over_quota": 10}
        for hour in range(36):  # > log time advances by 45 minutes at most
            town.jump_clocks(2_700_000)
            await town.send(TRAINING.topic, "m1", town.result(VICTIM, 100 + hour, model_id="m1"))
        for n in range(40):
            await town.send(TRAINING.topic, f"n{n}", town.result(VICTIM, 200 + n, model_id=f"n{n}"))
        await town.all_settled(process)
        assert codes(town, TRAINING) == {"over_quota": 10}

    settings = replace(ROOMY, max_models=100, model_retention_days=1)
    told(story, agents=[RECORD_TRAINING], settings=settings)


@pytest.mark.parametrize("agent", [AGGREGATE_METRICS, RECORD_TRAINING])
def test_refused_records_are_accounted_for_once(agent):
    """read = applied + duplicates + dead, wherever in a batch a record is refused."""

    async def story(town, process):
        tp = METRICS if agent is AGGREGATE_METRICS else TRAINING
        make = town.metric if agent is AGGREGATE_METRICS else town.result
        events = [(f"m{n % 70}", make(ATTACKER, n % 60, model_id=f"m{n % 70}")) for n in range(200)]
        events += [(f"m{n}", make(VICTIM, n, model_id=f"m{n}")) for n in range(5)]
        for model, event in events:
            key = event["tenant_id"] if tp == METRICS else model
            await town.send(tp.topic, key, event)
        await town.all_settled(process)
        [held] = [one for group in process.worker.groups for one in group.partitions.values()]
        counters = held.partition.state.link.counters
        assert counters.read == 205
        assert counters.applied + counters.duplicates + counters.dead == 205
        assert counters.dead_by_code["over_quota"] > 0
        assert counters.dead == len(town.letters(tp))

    settings = replace(ROOMY, max_series=1000, quota_series=30, quota_models=30, quota_ids=40)
    told(story, agents=[agent], settings=settings)


async def test_names_of_open_windows_pause_the_partition(rig, monkeypatch):
    """While a shard is away its windows and their names cannot be evicted: a pause solves it."""
    monkeypatch.setattr(names, "MAX_CODES", 20)
    monkeypatch.setattr("streams.engine.windows.minutes.minute_windows.MAX_CODES", 20)
    partition = await rig.open()
    await rig.produce(*(rig.event(model_id=f"m{n}") for n in range(19)))
    await rig.fold()
    assert partition.fill < 0.1
    await rig.produce(*(rig.event(model_id=f"n{n}") for n in range(5)))
    await rig.fold()
    assert partition.fill > 0.9
    windows = partition.table(MINUTE_WINDOWS)
    assert len(windows) == 20
    await rig.commit()
    assert partition.state.link.counters.dead_by_code == {"over_quota": 4}
