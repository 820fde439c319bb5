"""Effects for targets that this version does not know: refused before the commit, and a stop with
two remedies where another version committed them.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from agents.app import AGGREGATE_METRICS, DIA_GROUP, MODEL_METRICS, SIMULATE_DECISION, app
from streams.core.errors import ProducerFenced, RefusedBySafety, UsageError
from streams.core.records.bad_records import RowUnfit, UnknownTable
from streams.core.rows.clickhouse_table import ClickHouseTable
from streams.engine.state.memory import MemoryDisk
from streams.operate.reset.consequences import consequences
from streams.operate.reset.outbox_drop import drop, owed_to, plan_drop
from streams.operate.reset.reset import look, open_epoch, reset
from tests.unit.engine.runtime import job_desk
from tests.unit.engine.runtime.conftest import CHANGELOG, DLQ, SOURCE
from tests.unit.engine.runtime.job_desk import DLQ as REQUEST_DLQ
from tests.unit.engine.runtime.job_desk import Desk
from tests.unit.engine.runtime.rig_worker import running

VERDICTS = ClickHouseTable(
    name="verdicts",
    columns={"tenant": str, "id": str},
    order_by=("tenant", "id"),
    shard_by=("tenant",),
)
FUTURE = {**app.clickhouse_tables, VERDICTS.name: VERDICTS}
ROW = {"tenant": "t", "id": "one"}


async def _commit_effect_of_a_newer_version(rig, rows=1) -> None:
    """Commit an effect as a newer version of the app, which declares one more table."""
    now, rig.shards = rig.shards, rig.shards.with_tables(FUTURE)
    await rig.open()
    await rig.produce_events(3)
    await rig.fold()
    for number in range(rows):
        rig.partition.fact(VERDICTS, {**ROW, "id": f"{number}"} if number else ROW)
    await rig.commit()
    rig.shards = now


async def test_a_fact_for_an_unknown_table_is_refused_before_the_commit(rig):
    """Once committed, the effect would fail every start."""
    await rig.open()
    with pytest.raises(UnknownTable, match="no ClickHouse table or sink called 'verdicts'"):
        rig.partition.fact(VERDICTS, ROW)
    with pytest.raises(RowUnfit, match="a row of models has no 'card'"):
        rig.partition.fact("models", {"tenant": "t", "model": "m"})
    with pytest.raises(RowUnfit, match="column 'card' of models: expected text"):
        rig.partition.fact("models", {"tenant": "t", "model": "m", "card": b"{}"})
    rig.partition.fact("models", {"tenant": "t", "model": "m", "card": "{}"})


async def test_an_answer_with_an_unknown_table_dead_letters_its_request(monkeypatch):
    """The request becomes a dead letter; other requests are answered, and the partition goes on."""

    def answer(request, outcome, place):
        made = SIMULATE_DECISION.answer(request, outcome, place)
        return made._replace(table="nowhere") if request.idempotency_key == "bad" else made

    monkeypatch.setattr(job_desk, "SIMULATE_DECISION", replace(SIMULATE_DECISION, answer=answer))
    desk = Desk()
    await desk.create_topics()
    await desk.open()
    try:
        good, bad, repeat = await desk.ask("good"), await desk.ask("bad"), await desk.ask("bad")
        await desk.read()
        await desk.finish(good, bad)
        await desk.commit()
        assert set(desk.results()) == {good}
        counters = desk.partition.state.link.counters
        assert (counters.read, counters.applied) == (3, 1)
        assert counters.dead_by_code == {"unknown_table": 2}
        letters = desk.broker.log(REQUEST_DLQ).read_committed(0, 10).values
        assert {json.loads(value)["request_id"] for value in letters} == {bad, repeat}
    finally:
        await desk.close()


async def test_a_partition_with_effects_for_an_unknown_table_stops_until_a_version_knows_it(
    rig,
):
    """No effect is handed over or lost; the newer version delivers them."""
    await _commit_effect_of_a_newer_version(rig)
    async with running(rig) as worker:
        await rig.clock.advance(5)
        (held,) = [p for g in worker.groups for p in g.partitions.values() if p.tp == SOURCE]
        assert (held.phase, held.stopped_by.code) == ("stopped", "unknown_target")
        assert VERDICTS.name in str(held.stopped_by)
        assert rig.shards.rows("ledger") == []
    rig.shards = rig.shards.with_tables(FUTURE)
    async with running(rig):
        await rig.clock.advance(200)
        assert [row["id"] for row in rig.shards.rows(VERDICTS.name)] == ["one"]
        assert sum(row["n"] for row in rig.shards.m1_rows()) == 3


async def test_a_reset_drops_effects_for_unknown_targets(rig):
    """The operator sees their number; all other effects stay in the outbox."""
    await _commit_effect_of_a_newer_version(rig)
    found = await look(rig.broker, DIA_GROUP, MODEL_METRICS, 0, app.targets)
    assert found.cause is not None
    assert found.cause.code == "unknown_target"
    opening = open_epoch(found, resume_at_start=False)
    told = consequences(opening, rig.settings, AGGREGATE_METRICS)
    assert any("1 undelivered effects are dropped" in sentence for sentence in told)
    await reset(rig.broker, rig.clock, opening)
    async with running(rig) as worker:
        await rig.produce_events(2)
        await rig.clock.advance(200)
        (held,) = [p for g in worker.groups for p in g.partitions.values() if p.tp == SOURCE]
        assert held.phase == "ready"
        ledger = {row["epoch"]: row for row in rig.shards.rows("ledger")}
        assert (ledger[0]["applied"], ledger[1]["applied"]) == (3, 2)
    assert rig.contents(DLQ).values == []


def _plan(rig, name=VERDICTS.name, targets=app.targets):
    return plan_drop(rig.broker, DIA_GROUP, MODEL_METRICS, 0, targets, name)


async def test_rows_for_an_unknown_table_can_become_dead_letters(rig):
    """No record is counted again and no window is lost; each row can be replayed into its table."""
    await _commit_effect_of_a_newer_version(rig, rows=2)
    agreed = await _plan(rig)
    assert (agreed.target, agreed.rows) == (("table", "verdicts"), 2)
    assert await drop(rig.broker, rig.clock, agreed, "ann", "rolled back") == 2
    letters = rig.contents(DLQ)
    assert [json.loads(value)["id"] for value in letters.values] == ["one", "1"]
    said = dict(letters.headers[0])
    assert (said["dia.dlq.error_code"], said["dia.dlq.stage"]) == (b"row_dropped", b"sink")
    assert said["dia.dlq.error_message"] == b"given up by ann: rolled back"
    for disk in (rig.disk, MemoryDisk()):
        rig.disk = disk
        async with running(rig) as worker:
            await rig.produce_events(2)
            await rig.clock.advance(200)
            (held,) = [p for g in worker.groups for p in g.partitions.values() if p.tp == SOURCE]
            assert held.phase == "ready"
    (ledger,) = rig.shards.rows("ledger")
    assert (ledger["epoch"], ledger["applied"]) == (0, 7)
    assert sum(row["n"] for row in rig.shards.m1_rows()) == 7
    shown = rig.shards.rows("dead_letters")
    assert {row["id"] for row in shown} == {
        dict(headers)["dia.dlq.id"].decode() for headers in letters.headers
    }


async def test_pending_effects_are_listed_by_target(rig):
    """Declared targets are listed too: an operator sees which effects wait for an absent shard."""
    await _commit_effect_of_a_newer_version(rig, rows=2)
    survey = (await look(rig.broker, DIA_GROUP, MODEL_METRICS, 0, app.targets)).survey
    listed = {one.target: one for one in owed_to(app.targets, survey.owed)}
    assert set(listed) == {("table", "ledger"), ("table", "verdicts")}
    unknown = listed["table", "verdicts"]
    assert (unknown.declared, unknown.effects, unknown.rows, unknown.oldest_seq) == (False, 1, 2, 1)
    assert listed["table", "ledger"].declared


async def test_only_effects_for_an_unknown_target_are_dropped(rig):
    """A typing error must not drop effects of a declared table, and a partition that stopped for
    another reason is left alone.
    """
    await _commit_effect_of_a_newer_version(rig)
    with pytest.raises(UsageError, match="ledger is declared"):
        await _plan(rig, "ledger")
    with pytest.raises(UsageError, match="are: verdicts"):
        await _plan(rig, "verdict")
    with pytest.raises(UsageError, match="verdicts is declared"):
        await _plan(rig, targets=replace(app.targets, tables=FUTURE))
    await rig.recreate(CHANGELOG.topic)
    with pytest.raises(RefusedBySafety, match="changelog_lost"):
        await _plan(rig)


async def test_a_drop_is_refused_where_the_partition_moved_after_the_answer(rig):
    """The newer version took over the partition in between and delivers the effects."""
    await _commit_effect_of_a_newer_version(rig)
    agreed = await _plan(rig)
    now, rig.shards = rig.shards, rig.shards.with_tables(FUTURE)
    await rig.open()
    await rig.commit_events(1)
    rig.shards = now
    with pytest.raises(RefusedBySafety, match="committed meanwhile"):
        await drop(rig.broker, rig.clock, agreed, "ann", "rolled back")
    assert rig.contents(DLQ).values == []


async def test_a_drop_fences_the_worker_that_holds_the_partition(rig):
    """Two owners would write two divergent changelogs."""
    await _commit_effect_of_a_newer_version(rig)
    holder = rig.opened
    await drop(rig.broker, rig.clock, await _plan(rig), "ann", "rolled back")
    await rig.produce_events(1)
    await rig.fold()
    with pytest.raises(ProducerFenced):
        await rig.commit(holder.producer)
