"""Plans, their runs, and what interrupts a run, on every broker."""

from __future__ import annotations

import asyncio

import pytest

from streams.core.clock import SystemClock
from streams.core.errors import ChangelogLost, RefusedBySafety
from streams.operate.dlq.filters import Filters, OffsetRange
from streams.operate.replay.journal.control import dispose, find_plan, plan_in, tell
from streams.operate.replay.journal.dispositions import ReplayDisposition
from streams.operate.replay.plan.plan import Terms, Transform
from streams.operate.replay.plan.transforms import transform_of
from streams.operate.replay.run.run import submit
from tests.unit.operate.replay.plugin import install

RENAME = ({"op": "move", "from": "/metric_name", "path": "/metric"},)


def misnamed(number: int) -> bytes:
    """An event with one misspelt field name."""
    return (
        b'{"event_id": "e%d", "tenant_id": "t", "model_id": "m", "metric_name": "x", '
        b'"ts": 1760000000000, "value": 1}' % number
    )


@pytest.mark.on_kafka
async def test_a_replayed_record_is_the_failed_one_with_its_provenance(lot):
    """Bytes, partition and allowed headers are the same; the provenance serves a second failure."""
    kept, steering = ("traceparent", b"00-1"), ("mm2-offset-syncs", b"x")
    await lot.bury(lot.event(1), headers=[kept, steering])
    (letter,) = await lot.letters()
    draft = await lot.plan()
    result = await lot.run(draft.plan)
    assert (result.planned, result.replayed, result.finished) == (1, 1, True)
    ((partition, key, value, headers),) = await lot.read(lot.source.name, 1)
    assert (partition, key, value) == (letter.partition, b"t", lot.event(1))
    assert headers == {
        "traceparent": b"00-1",
        "dia.replay.hops": b"1",
        "dia.replay.append_ts": b"%d" % letter.source_timestamp_ms,
        "dia.replay.plan": draft.plan.id.encode(),
        "dia.replay.id": letter.id.encode(),
    }
    assert lot.shown() == {letter.id: ("replayed", 2, "bob")}


async def test_a_plan_predicts_its_run_and_a_second_run_does_nothing(lot):
    """Operators decide by the counts of the plan."""
    await lot.bury(*[misnamed(n) for n in range(5)], code="missing_field")
    await lot.bury(lot.event(50), lot.event(51), code="unknown_schema_version")
    await lot.bury(b"{", b"[", code="invalid_json")
    draft = await lot.plan(patch=RENAME)
    lines = {line.error: line for line in draft.lines}
    assert (lines["missing_field"].replay, lines["missing_field"].passes) == (5, 5)
    assert "metric_name" in lines["missing_field"].differences[0]
    # The patch applies to none of the others: they stay, and the plan reports it.
    assert draft.plan.behind == {"patch_failed": 4}
    result = await lot.run(draft.plan)
    assert (result.planned, result.replayed, result.left) == (5, 5, 0)
    assert len(await lot.read(lot.source.name, 5)) == 5
    again = await lot.run(draft.plan)
    assert (again.replayed, again.finished) == (5, True)
    assert len(await lot.read(lot.source.name)) == 5


@pytest.mark.on_kafka
async def test_overlapping_plans_replay_nothing_twice(lot):
    """Two operators may handle the same incident."""
    await lot.bury(*[lot.event(n) for n in range(20)])
    partition = (await lot.letters())[0].dlq.partition
    one = await lot.plan(Filters(offsets=(OffsetRange(0, 11),), partitions=(partition,)))
    two = await lot.plan(Filters(offsets=(OffsetRange(8, 40),), partitions=(partition,)))
    await lot.run(one.plan)
    second = await lot.run(two.plan)
    assert second.elsewhere == 4
    values = [value for _, _, value, _ in await lot.read(lot.source.name, 20)]
    assert sorted(values) == sorted(lot.event(n) for n in range(20))
    third = await lot.plan()
    assert third.plan.selections == ()
    assert third.lines[0].excluded == {"already_replayed": 20}


@pytest.mark.on_kafka
async def test_a_paused_plan_resumes_where_it_stopped(lot):
    """Pausing fences the running process: two processes never decide on one letter."""
    await lot.bury(*[lot.event(n) for n in range(40)])
    draft = await lot.plan()
    counts: list[int] = []
    half, paused = asyncio.Event(), asyncio.Event()

    class HeldClock(SystemClock):
        """A clock that holds the run at its half until the plan is paused. The run is ahead of its
        rate at each step, however slow the broker is: otherwise it would not sleep."""

        def monotonic(self) -> float:
            return 0.0

        async def sleep(self, seconds: float) -> None:
            await (paused.wait() if half.is_set() else super().sleep(seconds))

    def seen(count: int) -> None:
        counts.append(count)
        if sum(counts) >= 10:
            half.set()

    lot.clock = HeldClock()
    running = asyncio.create_task(lot.run(draft.plan, rate=40.0, seen=seen))
    await asyncio.wait_for(half.wait(), 200)
    lot.clock = SystemClock()
    source, found = await find_plan(lot.broker, draft.plan.id, [lot.source])
    await tell(lot.broker, lot.clock, lot.topology, source, found, "pause", "cat", "too fast")
    paused.set()
    result = await running
    assert result.states == {"paused"}
    assert 10 <= result.replayed < 40
    with pytest.raises(RefusedBySafety, match="paused by cat"):
        await lot.run(draft.plan)
    source, found = await find_plan(lot.broker, draft.plan.id, [lot.source])
    finished = await lot.run(plan_in(found), resume=True)
    assert (finished.replayed, finished.finished) == (40, True)
    values = [value for _, _, value, _ in await lot.read(lot.source.name, 40)]
    assert values == [lot.event(n) for n in range(40)]


async def test_a_cancelled_plan_never_runs_again(lot):
    """An operator must be able to rely on the cancellation."""
    await lot.bury(lot.event(1))
    draft = await lot.plan()
    await submit(lot.means(), draft.plan)
    with pytest.raises(RefusedBySafety, match="entered before"):
        await submit(lot.means(), draft.plan)
    other = await lot.plan()
    with pytest.raises(RefusedBySafety, match="one plan at a time"):
        await lot.run(other.plan)
    source, found = await find_plan(lot.broker, draft.plan.id, [lot.source])
    found = await tell(lot.broker, lot.clock, lot.topology, source, found, "cancel", "cat")
    assert {standing.state for standing in found.values()} == {"cancelled"}
    with pytest.raises(RefusedBySafety, match="cancelled already"):
        await tell(lot.broker, lot.clock, lot.topology, source, found, "pause", "cat")
    with pytest.raises(RefusedBySafety, match="was cancelled by cat"):
        await lot.run(draft.plan, resume=True)
    assert (await lot.run(other.plan)).replayed == 1


@pytest.mark.parametrize("counted", ["dia.replay.hops", "dia.dlq.replay_hops"])
async def test_letters_beyond_the_hop_limit_go_to_the_parking_lot(lot, counted):
    """A record that always fails must not circle, whether a plan replayed it or another tool copied
    it from the DLQ."""
    hops = [(counted, b"3"), ("dia.replay.append_ts", b"1760000000000")]
    await lot.bury(lot.event(1), headers=hops)
    draft = await lot.plan()
    assert (draft.lines[0].park, draft.plan.behind) == (1, {})
    result = await lot.run(draft.plan)
    assert (result.replayed, result.parked) == (0, 1)
    assert await lot.read(lot.source.name) == []
    ((_, _, value, headers),) = await lot.read(lot.source.parked, 1)
    assert value == lot.event(1)
    assert headers["dia.replay.parked_for"].startswith(b"hop_cap")
    assert [row[0] for row in lot.shown().values()] == ["parked"]


@pytest.mark.parametrize(
    ("on_failure", "counts"), [("skip", (2, 0, 0)), ("park", (2, 1, 0)), ("stop", (2, 0, 0))]
)
async def test_a_letter_that_still_fails_stays_or_is_parked_as_the_plan_orders(
    lot, on_failure, counts
):
    """A record that would fail again must not be sent to its source topic."""
    await lot.bury(lot.event(1), b"{", lot.event(2))
    draft = await lot.plan(on_failure=on_failure)
    result = await lot.run(draft.plan)
    assert (result.replayed, result.parked, result.left) == counts
    assert len(await lot.read(lot.source.name, 2)) == 2


async def test_a_run_stops_at_a_letter_that_fails_only_at_run_time_and_resumes_there(
    lot, monkeypatch, tmp_path
):
    """A transform may depend on its environment; the letters behind the failed one keep their
    order."""
    source = (
        "import os\n"
        "def fix(record):\n"
        "    if b'e1\\\"' in record.value and 'MOODY' in os.environ:\n"
        "        raise ValueError('not today')\n"
        "    return record\n"
    )
    name = install(monkeypatch, tmp_path, "moody", "fix", source)
    await lot.bury(*[lot.event(n) for n in range(3)])
    draft = await lot.plan(transform=transform_of(name), on_failure="stop")
    monkeypatch.setenv("MOODY", "1")
    result = await lot.run(draft.plan)
    assert (result.replayed, result.states) == (1, {"stopped"})
    assert "not today" in result.reasons[0]
    monkeypatch.delenv("MOODY")
    result = await lot.run(draft.plan)
    assert (result.replayed, result.finished) == (3, True)


async def test_a_plan_of_a_changed_transform_another_cluster_or_a_vanished_topic_is_refused(
    lot, monkeypatch, tmp_path
):
    """The plan runs exactly as it was shown, or not at all."""
    await lot.bury(lot.event(1))
    draft = await lot.plan()
    import msgspec

    changed = msgspec.structs.replace
    other = changed(draft.plan, cluster_id="another")
    with pytest.raises(RefusedBySafety, match="was made on cluster another"):
        await lot.run(other)
    gone = changed(draft.plan, terms=Terms(target="train.results.gone"))
    with pytest.raises(RefusedBySafety, match="no source topic"):
        await lot.run(gone)
    name = install(monkeypatch, tmp_path, "mending", "mend", "def mend(record): return record\n")
    mended = Terms(transform=Transform(name=name, sha256="0"))
    with pytest.raises(RefusedBySafety, match="changed after the plan was made"):
        await lot.run(changed(draft.plan, terms=mended))
    admin = await lot.broker.admin()
    await admin.delete_topics([lot.source.name])
    await admin.close()
    with pytest.raises(RefusedBySafety, match="does not exist on this cluster"):
        await lot.run(draft.plan)
    assert (await lot.standing(0)).plans == {}


async def test_discarded_letters_are_left_out_and_a_run_notices_those_discarded_since(lot):
    """Two operators decide on the same letters; the first decision wins."""
    await lot.bury(lot.event(1), lot.event(2))
    draft = await lot.plan()
    first = (await lot.letters())[:1]

    async def pages():
        yield first

    await dispose(
        lot.broker,
        lot.shards,
        lot.clock,
        lot.topology,
        lot.source,
        pages(),
        ReplayDisposition.DISCARDED,
        "cat",
    )
    result = await lot.run(draft.plan)
    assert (result.replayed, result.elsewhere) == (1, 1)
    assert [row[0] for row in sorted(lot.shown().values())] == ["discarded", "replayed"]


async def test_a_journal_that_lost_its_newest_decisions_is_refused(lot):
    """Its letters look open: another run would send them to the source topic twice."""
    await lot.bury(lot.event(1))
    await lot.run((await lot.plan()).plan)
    await lot.read(lot.source.name, 1)
    admin = await lot.broker.admin()
    journal = (await admin.describe_topics())[lot.source.journal]
    await admin.delete_topics([journal.name])
    await admin.create_topics([journal])
    await admin.close()
    with pytest.raises(ChangelogLost, match="newest decisions are lost"):
        await lot.run((await lot.plan()).plan)
    assert len(await lot.read(lot.source.name)) == 1
