"""A rebuild in memory: what it writes, what it leaves alone, and what it refuses."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from agents.app import AGGREGATE_METRICS, MODEL_METRICS
from streams.connect.broker.memory.reader import MemoryReader
from streams.core.command_errors import RebuildRefused
from streams.core.errors import UsageError
from streams.core.rows.built_in_tables import EPOCH_END, OFFSET_BITS
from streams.core.types import TopicPartition
from streams.dev.simulation.history import SETTINGS
from streams.operate.rebuild.stored_rows import StaleBucket
from tests.unit.operate.rebuilt_pipeline import HOUR_S, TP, Pipeline


@pytest.fixture
def pipeline():
    return Pipeline()


def test_lost_rows_come_back_and_hours_and_days_with_them(pipeline):
    """A shard that lost its disk has none of them, and the engine has forgotten them all."""

    async def story(it):
        await it.send(9, it.now_s)
        await it.send(4, it.now_s)  # repeats
        await it.close()
        await it.send(6, it.now_s, "late ")
        await it.close()
        whole = {name: [dict(rows) for rows in it.tables(name)] for name in ("m1", "h1", "d1")}
        assert it.counts() == {"m1": 15, "h1": 15, "d1": 15}
        it.lose(*whole)
        found, report = await it.rebuild()
        assert (found.lost, found.right, report.stale) == (3, 0, [])
        assert it.counts() == {"m1": 15, "h1": 15, "d1": 15}
        again, _ = await it.rebuild()
        assert (again.right, again.lost, again.changed, again.emptied) == (3, 0, 0, 0)

    pipeline.play(story)


def test_wrong_rows_are_replaced_and_rows_without_records_emptied(pipeline):
    """A higher count must not win over the right one, in minutes, hours or days."""

    async def story(it):
        await it.send(9, it.now_s)
        await it.send(3, it.now_s + 60, "next ")
        await it.close()
        for rows in it.tables("m1"):
            for key, row in list(rows.items()):
                rows[key] = {**row, "n": row["n"] + 5}
                other = {**row, "w": row["w"] + 300, "inc": row["inc"]}
                rows[tuple(other[name] for name in it.world.shards.key("m1"))] = other
        for bucket in ("h1", "d1"):
            for shard in (0, 1):
                for start_s in {row["w"] for row in it.world.shards.rows(bucket)}:
                    await it.world.shards.roll_up(shard, bucket, start_s)
        assert it.counts() == {"m1": 54, "h1": 54, "d1": 54}
        found, report = await it.rebuild(dry_run=True)
        assert (found.changed, found.emptied, it.counts()["m1"]) == (6, 6, 54)
        found, report = await it.rebuild()
        assert (found.changed, found.emptied, report.stale) == (6, 6, [])
        assert it.counts() == {"m1": 12, "h1": 12, "d1": 12}
        assert {row["ver"] >> OFFSET_BITS for row in it.world.shards.rows("m1")} == {EPOCH_END}

    pipeline.play(story)


def test_an_hour_that_differs_alone_is_recomputed(pipeline):
    """Its minutes are right, so no row of them says that it must change."""

    async def story(it):
        await it.send(9, it.now_s)
        await it.close()
        for rows in it.tables("h1"):
            for key, row in rows.items():
                rows[key] = {**row, "n": row["n"] + 1, "ver": row["ver"] + 1}
        found, report = await it.rebuild()
        assert (found.touched, found.right, report.stale) == (3, 0, [])
        assert it.counts() == {"m1": 9, "h1": 9, "d1": 9}

    pipeline.play(story)


def test_live_windows_are_left_to_their_owner_and_late_records_add_up(pipeline):
    """Rebuilding a row that its owner sends again, under a higher version, would hide what follows."""

    async def story(it):
        await it.send(9, it.now_s)
        await it.close()
        open_s = it.world.clock.now_ms() // 1000
        await it.send(3, open_s, "open ")
        await asyncio.sleep(2)
        it.lose("m1")
        found, _ = await it.rebuild()
        assert (found.lost, found.live) == (3, 3)
        await it.send(6, it.now_s, "late ")
        await it.send(3, open_s, "more ")
        await it.close()
        assert it.counts() == {"m1": 21, "h1": 21, "d1": 21}

    pipeline.play(story)


def test_one_tenant_alone(pipeline):
    """The rows of others are not read, and not written."""

    async def story(it):
        await it.send(9, it.now_s)
        await it.close()
        it.lose("m1")
        found, _ = await it.rebuild(tenant="another")
        assert (found.lost, it.counts()["m1"]) == (0, 0)
        found, _ = await it.rebuild(tenant="t")
        assert (found.lost, it.counts()["m1"]) == (3, 9)

    pipeline.play(story)


def test_deleted_records_are_named_and_their_windows_left_as_they_are(pipeline):
    """A row counted from a part of its records would replace the right one."""

    async def story(it):
        await it.send(9, it.now_s)
        await it.close()
        it.world.broker.log(TP).trim(4)
        with pytest.raises(RebuildRefused, match=r"begins at offset 4: .*--accept-gap 0:4"):
            await it.rebuild()
        with pytest.raises(RebuildRefused, match="begins at offset 4"):
            await it.rebuild(accepted={0: 3})
        found, report = await it.rebuild(accepted={0: 4})
        assert (found.right, found.changed, found.lost, found.emptied) == (0, 0, 0, 0)
        assert "are left as they are" in report.notes[0]
        assert it.counts()["m1"] == 9

    pipeline.play(story)


def test_records_that_retention_removes_meanwhile_refuse_the_rebuild(pipeline, monkeypatch):
    """Rows of the records that are left would replace rows of all."""

    async def story(it):
        await it.send(6, it.now_s)
        await it.close()
        before, read = it.counts(), MemoryReader.read

        async def removed(self, tp, offset, max_records=5000):
            if tp == TP:
                self._cluster.log(tp).trim(offset + 1)
            return await read(self, tp, offset, max_records)

        monkeypatch.setattr(MemoryReader, "read", removed)
        with pytest.raises(RebuildRefused, match="retention removed it while it was read"):
            await it.rebuild()
        assert it.counts() == before

    pipeline.play(story)


def test_another_verdict_than_that_of_the_time_is_refused(pipeline):
    """With other settings, today's code counts other records: the rows would be of neither."""

    async def story(it):
        await it.send(9, it.now_s)
        await it.send(9, it.now_s + 60)  # repeats by id, of another payload: dead letters
        await it.send(3, it.now_s + 60, "n")
        await it.close()
        assert it.counts()["m1"] == 12
        shorter = replace(SETTINGS, late_max_s=10)
        with pytest.raises(RebuildRefused, match=r"timestamp_too_old.*has no dead letter"):
            await it.rebuild(shorter)
        found, _ = await it.rebuild()
        assert (found.right, found.lost) == (6, 0)
        small = replace(SETTINGS, max_live_windows=2)
        with pytest.raises(RebuildRefused, match="--tenant"):
            await it.rebuild(small)

    pipeline.play(story)


def test_a_part_of_an_epoch_is_not_called_compared(pipeline):
    """The ledger counts whole epochs: another TTL than that of the time would count repeats."""

    async def story(it):
        await it.send(9, it.now_s)
        await asyncio.sleep(HOUR_S)
        later_s = it.world.clock.now_ms() // 1000
        await it.send(9, later_s, "later ")
        await it.close()
        found, report = await it.rebuild(from_s=later_s)
        assert (found.records, found.right) == (9, 3)
        assert "are not compared" in report.notes[0]
        _, report = await it.rebuild()
        assert report.notes == []

    pipeline.play(story)


def test_a_record_over_quota_whose_letter_is_lost_is_not_counted():
    """Nothing else says that it was refused: counted here, a replay would count it twice."""
    pipeline = Pipeline(replace(SETTINGS, quota_series=2))

    async def story(it):
        await it.send(2, it.now_s)
        await asyncio.sleep(HOUR_S)
        later_s = it.world.clock.now_ms() // 1000
        await it.send(6, later_s, "later ")  # every third one is of a third series
        await it.close()
        assert it.counts()["m1"] == 6
        for shard in (0, 1):
            it.world.shards.replicas(shard)[0].tables["dead_letters"].clear()
        found, _ = await it.rebuild(from_s=later_s)
        assert (found.lost, found.right) == (0, 2)
        letters = it.world.broker.log(TopicPartition(MODEL_METRICS.dlq, 0))
        letters.trim(1)
        with pytest.raises(
            RebuildRefused, match=r"2 records were refused over quota.*dead_letters"
        ):
            await it.rebuild(from_s=later_s)
        assert it.counts()["m1"] == 6

    pipeline.play(story)


def test_a_range_whose_minutes_may_have_expired_is_refused(pipeline):
    """Hours and days of it would be recomputed from what is left of their minutes."""

    async def story(it):
        await it.send(1, it.now_s)
        with pytest.raises(UsageError, match="may have expired"):
            await it.rebuild(from_s=it.now_s - 7 * 86_400)
        with pytest.raises(UsageError, match="is not before"):
            await it.rebuild(from_s=it.now_s, to_s=it.now_s)

    pipeline.play(story)


def test_a_rebuild_that_dies_before_its_hours_is_finished_by_the_next(pipeline):
    """Its minutes are right by then, and counts and sums of the hour were never wrong."""

    async def story(it):
        await it.send(9, it.now_s)
        await it.close()
        whole = {name: it.world.shards.rows(name) for name in ("h1", "d1")}
        for rows in it.tables("m1"):
            for row in rows.values():
                row |= {"sk_k": [code + 7 for code in row["sk_k"]], "lv": -1.0}
        for bucket, (start_s,) in ((b, {row["w"] for row in whole[b]}) for b in ("h1", "d1")):
            for shard in (0, 1):
                await it.world.shards.roll_up(shard, bucket, start_s)
        before = {name: [dict(rows) for rows in it.tables(name)] for name in whole}
        found, _ = await it.rebuild()
        assert found.changed == 3
        for name, tables in before.items():
            for rows, was in zip(it.tables(name), tables, strict=True):
                rows.clear()
                rows.update(was)
        found, report = await it.rebuild()
        assert (found.changed, report.stale) == (0, [])
        for name, rows in whole.items():
            shown = {(row["model"], row["lv"], *row["sk_k"]) for row in it.world.shards.rows(name)}
            assert shown == {(row["model"], row["lv"], *row["sk_k"]) for row in rows}

    pipeline.play(story)


@pytest.mark.parametrize("lost", [("m1",), ("m1", "h1")])
def test_a_range_that_cuts_an_hour_does_not_take_from_it(pipeline, lost):
    """Minutes before the range are missing, and the hour or the day still counts them."""

    async def story(it):
        await it.send(9, it.now_s)
        await it.send(3, it.now_s + 120, "later ")
        await it.close()
        it.lose(*lost)
        before = it.counts()
        with pytest.raises(RebuildRefused, match=r"counts 4, its (minutes|hours) 0, .*--from"):
            await it.rebuild(from_s=it.now_s + 60)
        assert it.counts() == before
        day_s = it.now_s // 86_400 * 86_400
        _, report = await it.rebuild(from_s=day_s, to_s=day_s + 86_400)
        assert (it.counts(), report.stale) == ({"m1": 12, "h1": 12, "d1": 12}, [])

    pipeline.play(story)


def test_windows_of_no_minute_in_the_first_hour_are_found(pipeline):
    """Such a row stands at the start of its hour, which may lie before the range."""

    async def story(it):
        await it.send(3, it.now_s + 120)
        await it.close()
        for rows in it.tables("h1"):
            for key, row in list(rows.items()):
                own = {**row, "part": 0, "inc": 7}
                rows[(*key[:4], 0, 7)] = own
        with pytest.raises(RebuildRefused, match="too old for m1"):
            await it.rebuild(from_s=it.now_s + 60)

    pipeline.play(story)


def test_a_partition_whose_changelog_is_gone_is_named(pipeline):
    """It has rows and a ledger. Left out in silence, its rows would count as rebuilt."""

    async def story(it):
        await it.send(9, it.now_s)
        await it.close()
        changelog = MODEL_METRICS.changelog(AGGREGATE_METRICS.group)
        it.world.broker.log(TopicPartition(changelog, 0)).trim(1 << 40)
        with pytest.raises(RebuildRefused, match="reset"):
            await it.rebuild()

    pipeline.play(story)


def test_an_hour_that_its_owner_still_recomputes_does_not_differ():
    """Minutes arrive while a rebuild compares: that is no reason for a bad exit code."""
    hour = StaleBucket("t", "m", "x", "h1", 7200, orphan=False, behind=True)
    assert hour.is_owed(10_799)
    assert not hour.is_owed(10_800)
    assert not hour._replace(behind=False).is_owed(0)


def test_a_row_with_the_identity_of_a_live_window_is_emptied(pipeline):
    """No owner sends it again: the offset in its key began a window of another series."""

    async def story(it):
        await it.send(9, it.now_s)
        await it.close()
        await it.send(1, it.now_s + 600, "open ")
        await asyncio.sleep(5)
        (live,) = (row for rows in it.tables("m1") for row in rows.values() if row["n"] == 1)
        bad = {**live, "w": it.now_s, "model": "m1"}
        it.tables("m1")[0][tuple(bad[name] for name in it.world.shards.key("m1"))] = bad
        found, _ = await it.rebuild()
        assert (found.emptied, found.lost, found.changed) == (1, 0, 0)
        assert it.counts()["m1"] == 10

    pipeline.play(story)
