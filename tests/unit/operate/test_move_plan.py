"""Plans for moves of stored days and for a map without a shard, and what of them is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from streams.connect.sinks.map_record import DayState, MapRecord, RecordedMap, day_of
from streams.connect.sinks.moved_rows import counted
from streams.connect.sinks.shard_maps import KnownMaps, assumed
from streams.connect.sinks.sharding import HashSharding, ShardMap, WithoutShards
from streams.core.command_errors import MoveRefused
from streams.core.errors import RefusedBySafety, UsageError
from streams.core.rows.moved_mark import mark, token
from streams.core.settings import Settings
from streams.operate.shards import growth
from streams.operate.shards.move_plan import planned_move, planned_removal

THREE = Settings(clickhouse_shards="http://a:1,http://b:1,http://c:1")
TODAY = datetime.now(UTC).date()
SERIES = [[f"t{n % 50}" for n in range(4000)], [f"m{n}" for n in range(4000)], ["x"] * 4000]


def ago(days):
    return TODAY - timedelta(days=days)


def recorded(settings=THREE):
    return replace(assumed(settings), recorded=True)


def followed(before, plan, states=None):
    now = RecordedMap(plan.record, in_force=True, states=states or {})
    return KnownMaps((*before.maps, now), plan.record.urls, recorded=True)


def test_a_drained_shard_leaves_the_series_of_the_others_where_they_are():
    """A move copies no more than it has to, and the others get alike much of it."""
    plan = planned_move(THREE, recorded(), ago(5), ago(3), [0])
    before = recorded().first.shard_of(*SERIES)
    after = plan.record.shard_map.shard_of(*SERIES)
    assert (after[before != 0] == before[before != 0]).all()
    assert set(after[before == 0].tolist()) == {1, 2}
    share = (after[before == 0] == 1).mean()
    assert share == pytest.approx(0.5, abs=0.05)


def test_a_move_is_another_map_for_a_chain_than_its_placement():
    """A partition that takes it must not find it by the name of a map without end."""
    plan = planned_move(THREE, recorded(), ago(5), ago(3))
    assert plan.record.shard_map.identity == recorded().first.identity
    assert plan.record.identity != recorded().first.identity
    other = planned_move(THREE, recorded(), ago(5), ago(4))
    assert plan.record.identity.digest != other.record.identity.digest
    packed = msgspec.json.encode(plan)
    assert msgspec.json.decode(packed, type=growth.GrowthPlan) == plan


@pytest.mark.parametrize(("first", "last"), [(ago(3), ago(1)), (ago(3), TODAY), (ago(3), ago(4))])
def test_days_that_are_not_long_over_are_refused(first, last):
    """Their windows are live, so no partition would take the move."""
    with pytest.raises(UsageError):
        planned_move(THREE, recorded(), first, last)


def test_days_whose_minutes_may_be_expiring_are_refused():
    """A copy of half a day would roll up to half an hour's count."""
    with pytest.raises(MoveRefused, match="expiring"):
        planned_move(THREE, recorded(), ago(32), ago(28))
    assert planned_move(THREE, recorded(), ago(60), ago(40))


def test_shards_with_replicas_are_refused():
    """A view over a Distributed table cannot say what counts on each shard."""
    settings = replace(THREE, clickhouse_cluster="dia")
    with pytest.raises(MoveRefused, match="cluster"):
        planned_move(settings, recorded(), ago(5), ago(3))


def test_one_move_at_a_time():
    """What the next one takes as originals is decided then; a day may move repeatedly."""
    plan = planned_move(THREE, recorded(), ago(5), ago(4), [0])
    days = [day_of(ago(5)), day_of(ago(4))]
    with pytest.raises(MoveRefused, match="has not finished"):
        planned_move(THREE, followed(recorded(), plan), ago(9), ago(9))
    moved = followed(recorded(), plan, dict.fromkeys(days, DayState.DONE))
    assert planned_move(THREE, moved, ago(4), ago(3)).record.version == 3
    returned = followed(recorded(), plan, dict.fromkeys(days, DayState.RETURNED))
    assert planned_move(THREE, returned, ago(5), ago(4)).record.version == 3


def test_a_map_without_a_shard_keeps_it_out_when_shards_are_added():
    """A shard that was emptied gets no window again by a later map."""
    plan = planned_removal(recorded(), 1, growth.tomorrow())
    assert set(plan.record.shard_map.shard_of(*SERIES).tolist()) == {0, 2}
    after = followed(recorded(), plan)
    grown = growth.planned(THREE, after, [["http://d:1"]], growth.tomorrow())
    assert set(grown.record.shard_map.shard_of(*SERIES).tolist()) == {0, 2, 3}
    with pytest.raises(RefusedBySafety, match="no shard is left"):
        planned_move(THREE, after, ago(5), ago(3), [0, 2])
    with pytest.raises(UsageError):
        planned_removal(recorded(), 3, growth.tomorrow())


def test_a_plan_that_follows_a_move_begins_at_the_newest_map():
    """A move is no map for later days."""
    plan = planned_move(THREE, recorded(), ago(5), ago(4), [0])
    moved = followed(recorded(), plan, {day_of(ago(n)): DayState.DONE for n in (4, 5)})
    grown = growth.planned(THREE, moved, [["http://d:1"]], growth.tomorrow())
    assert grown.record.shard_map.strategy == HashSharding(4)
    assert (grown.record.version, grown.after) == (3, plan.record.identity.digest)


def test_the_condition_of_a_shard_follows_the_states_of_the_days():
    """Copies count from the state shown on, originals up to it."""
    shard_map = ShardMap(3, WithoutShards(3, HashSharding(3), (0,)))
    record = MapRecord.of(
        shard_map, [["a"], ["b"], ["c"]], version=2, first_day=20_000, last_day=20_002
    )

    def condition(**states):
        days = {int(day[1:]): state for day, state in states.items()}
        now = RecordedMap(record, in_force=True, states=days)
        return counted(KnownMaps((*recorded().maps, now), record.urls, recorded=True), 1)

    arrived = f"moved >= {token(2, 0)} AND moved < {mark(2)}"
    assert counted(recorded(), 1) == ""
    assert condition() == f" AND NOT ({arrived})"
    shown = condition(_20001=DayState.SHOWN, _20000=DayState.RETURNED)
    bounds = (
        f"w >= toDateTime({20_001 * 86_400}, 'UTC') AND w < toDateTime({20_002 * 86_400}, 'UTC')"
    )
    assert f"NOT ({arrived} AND NOT ({bounds}))" in shown
    assert f"NOT (({bounds}) AND moved < {token(2, 0)} AND (" in shown
    assert shown.endswith("!= 1)")
    every = condition(_20000=DayState.DONE, _20001=DayState.DONE, _20002=DayState.CLEANING)
    assert arrived not in every
