"""Plans for one more shard, and the settings that the servers' record of maps accepts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import NamedTuple

import msgspec
import pytest

from streams.connect.sinks import map_record, shard_maps
from streams.connect.sinks.map_record import MapRecord, RecordedMap, day_of
from streams.connect.sinks.shard_maps import KnownMaps, assumed, known
from streams.connect.sinks.sharding import DirectorySharding, HashSharding, RangeSharding, ShardMap
from streams.core.errors import (
    DependencyUnreachable,
    RefusedBySafety,
    ShardMapChanged,
    ShardUnavailable,
    UsageError,
)
from streams.core.settings import Settings
from streams.operate.shards import growth

TWO = Settings(clickhouse_shards="http://a:1,http://b:1")
NEW = [("http://c:1",)]
DAY = growth.tomorrow() + timedelta(days=1)
SERIES = [(f"t{n % 50}", f"m{n}", "x") for n in range(4000)]


def recorded(settings=TWO):
    """The servers' record after `dia migrate apply`."""
    return replace(assumed(settings), recorded=True)


def grown(before, urls=NEW, **given):
    """The maps after a plan was applied."""
    plan = growth.planned(TWO, before, urls, given.pop("first", DAY), **given)
    now = RecordedMap(plan.record, in_force=True)
    return KnownMaps((*before.maps, now), plan.record.urls, recorded=True)


def test_a_plan_adds_a_shard_behind_the_others_from_its_day_on():
    """The other shards keep their numbers and addresses, so none of their windows moves."""
    plan = growth.planned(TWO, recorded(), NEW, DAY)
    assert plan.record.urls == (("http://a:1",), ("http://b:1",), ("http://c:1",))
    assert (plan.record.version, plan.record.first_day) == (2, day_of(DAY))
    now, then = zip(*growth.shares(plan, recorded().first, SERIES), strict=True)
    assert now[2] == 0
    assert [sum(now), sum(then)] == pytest.approx([1, 1])
    assert then == pytest.approx([1 / 3] * 3, abs=0.03)


def test_a_shard_of_three_times_the_weight_gets_three_times_the_series():
    """A larger server can be added alone."""
    plan = growth.planned(TWO, recorded(), NEW, DAY, weight=3)
    _, then = zip(*growth.shares(plan, recorded().first, SERIES), strict=True)
    assert then == pytest.approx([0.2, 0.2, 0.6], abs=0.03)
    before = plan.record.shard_map.shard_of(*map(list, zip(*SERIES, strict=True)))
    after = recorded().first.shard_of(*map(list, zip(*SERIES, strict=True)))
    assert set(before[before != after].tolist()) == {2}


@pytest.mark.parametrize("first", [growth.tomorrow() - timedelta(days=1), growth.tomorrow()])
def test_a_day_that_has_begun_is_refused(first):
    """Partitions would adopt the map on another day than the operator gave."""
    if first == growth.tomorrow():
        assert growth.planned(TWO, recorded(), NEW, first).record.first_day == day_of(first)
        return
    with pytest.raises(UsageError, match="has begun"):
        growth.planned(TWO, recorded(), NEW, first)


def test_a_second_map_does_not_begin_before_the_first():
    """Maps assign days in their order."""
    with pytest.raises(UsageError, match="the day of the last map"):
        growth.planned(TWO, grown(recorded()), [("http://d:1",)], DAY - timedelta(days=1))


@pytest.mark.parametrize("urls", [[("http://b:1",)], [("http://c:1",), ("http://c:1",)]])
def test_a_server_cannot_be_two_shards(urls):
    """Its rows would count twice."""
    with pytest.raises(UsageError, match="named twice"):
        growth.planned(TWO, recorded(), urls, DAY)


def test_nothing_is_planned_on_servers_without_a_record_or_with_an_unfinished_map():
    """The base of the plan must be in force on all servers first."""
    with pytest.raises(RefusedBySafety, match="migrate apply"):
        growth.planned(TWO, assumed(TWO), NEW, DAY)
    after = grown(recorded())
    unfinished = replace(after, maps=(after.maps[0], replace(after.maps[1], in_force=False)))
    with pytest.raises(RefusedBySafety, match="has to finish first"):
        growth.planned(TWO, unfinished, [("http://d:1",)], DAY)


def test_a_map_of_ranges_needs_new_ranges(tmp_path):
    """The map has no rule which tenants a new shard gets."""
    ranges = ShardMap(2, RangeSharding(("", "m"), (0, 1)))
    by_range = RecordedMap(MapRecord.of(ranges, recorded().urls), in_force=True)
    with pytest.raises(UsageError, match="--sharding range:FILE"):
        growth.planned(TWO, replace(recorded(), maps=(by_range,)), NEW, DAY)


@pytest.mark.parametrize(
    "strategy",
    [
        HashSharding(2),
        HashSharding(2, (1, 3)),
        RangeSharding(("", "m"), (1, 0)),
        DirectorySharding({"t1": 1, "t2": 0}, HashSharding(2, (2, 1))),
    ],
)
def test_a_record_gives_the_same_map_again(strategy):
    """Every process reads placement from the record."""
    made = MapRecord.of(ShardMap(2, strategy), recorded().urls)
    row = (msgspec.json.encode(made).decode(), 1)
    (read,) = map_record.read([row])
    columns = [list(column) for column in zip(*SERIES[:200], strict=True)]
    assert read.record.shard_map.identity == made.shard_map.identity
    assert read.record.shard_map.identity == ShardMap(2, strategy).identity
    assert (read.record.shard_map.shard_of(*columns) == strategy.shard_of(*columns)).all()


def test_a_record_holds_no_password():
    """Every user of a server may read it."""
    secret = Settings(clickhouse_shards="http://u:secret@a:1/x,http://b:1")
    assert assumed(secret).maps[0].record.urls == (("http://a:1/x",), ("http://b:1",))


@pytest.mark.parametrize("urls", ["http://a:1,http://b:1", "http://a:1,http://b:1,http://moved:1"])
def test_settings_that_name_a_recorded_map_are_accepted_and_win_by_their_addresses(urls):
    """Processes with old and new settings run side by side, and a server's address may change."""
    after = grown(recorded())
    settings = Settings(clickhouse_shards=urls)
    found = known(settings, after.maps)
    assert len(found.urls) == 3
    assert found.urls[:2] == after.urls[:2]
    assert found.urls[2] == (("http://c:1",) if urls.count(",") == 1 else ("http://moved:1",))
    assert found.identity == recorded().identity
    assert [dated.shards for dated in found.in_force] == [2, 3]


@pytest.mark.parametrize("urls", ["http://a:1", "http://a:1,http://b:1,http://c:1,http://d:1"])
def test_settings_that_name_another_map_are_refused_with_both_named(urls):
    """The process would look for rows on the wrong shards."""
    with pytest.raises(
        ShardMapChanged, match=r"2 shards by hash.*then 3 shards by hash"
    ) as refused:
        known(Settings(clickhouse_shards=urls), grown(recorded()).maps)
    assert f"{urls.count(',') + 1} shard" in str(refused.value)
    assert refused.value.exit_code == 5


def test_a_series_is_looked_up_on_the_shards_of_all_maps():
    """A partition may adopt a map later than on its first day."""
    after = grown(grown(recorded()), [("http://d:1",)])
    for names in SERIES[:200]:
        places = {
            int(one.record.shard_map.shard_of(*([n] for n in names))[0]) for one in after.maps
        }
        assert after.shards_of(*names) == sorted(places)


def test_of_two_records_of_a_version_the_one_in_force_counts():
    """Two operators announced at the same time, and one of them finished."""
    first, *_ = recorded().maps
    mine = grown(recorded()).maps[1].record
    other = msgspec.structs.replace(mine, first_day=mine.first_day + 1)
    rows = [
        (msgspec.json.encode(record).decode(), in_force)
        for record, in_force in ((first.record, 1), (mine, 1), (other, 0))
    ]
    assert map_record.read(rows) == [first, RecordedMap(mine, in_force=True)]


def test_a_plan_whose_map_others_follow_changes_nothing(monkeypatch):
    """Its views would omit the shards that were added later."""
    after = grown(grown(recorded()), [("http://d:1",)])
    first, second, _ = after.maps
    plan = growth.GrowthPlan(after=first.record.shard_map.identity.digest, record=second.record)
    prepared = []
    monkeypatch.setattr(shard_maps, "told", lambda settings: after)
    monkeypatch.setattr(
        growth, "servers", lambda settings, tables, known: prepared.append(known.urls) or []
    )
    assert not growth.apply(TWO, {}, plan, lambda: None, print)
    assert prepared == []


class Server(NamedTuple):
    shard: int
    replica: SimpleNamespace
    migrator: SimpleNamespace


class Installation:
    """The servers of three shards, to which a second map is announced."""

    def __init__(self, monkeypatch):
        whole = grown(recorded())
        self.record = whole.maps[1].record
        self.known = KnownMaps(
            (whole.maps[0], RecordedMap(self.record, in_force=False)), whole.urls, recorded=True
        )
        self.said = {url: {1: 1, 2: 0} for (url,) in self.known.urls}
        """by server and version: whether the map is in force"""
        self.views: dict[str, int] = {}
        """by server: how many shards its views read"""
        self.dies_at = ""
        monkeypatch.setattr(shard_maps, "told", lambda settings: self._looked())
        monkeypatch.setattr(growth, "servers", self._servers)

    def _looked(self):
        maps = self.known.maps[: len(self.said["http://a:1"])]
        return KnownMaps(maps, self.known.urls[: maps[-1].record.shards], recorded=True)

    def _servers(self, settings, tables, known):
        return [
            Server(number, self._replica(url), self._migrator(url, len(known.urls)))
            for number, (url,) in enumerate(known.urls)
        ]

    def _replica(self, url):
        def query(sql):
            texts = [msgspec.json.encode(one.record).decode() for one in self.known.maps]
            return (), [(texts[version - 1], force) for version, force in self.said[url].items()]

        def command(sql, parameters):
            assert sql == map_record.WITHDRAW
            if url == self.dies_at:
                raise ShardUnavailable(f"{url} is away.")
            if not self.said[url].get(parameters["version"], 1):
                del self.said[url][parameters["version"]]

        return SimpleNamespace(url=url, query=query, command=command, close=lambda: None)

    def _migrator(self, url, shards):
        def apply():
            self.views[url] = shards

        return SimpleNamespace(apply=apply)

    def withdraw(self):
        return growth.withdraw(TWO, {}, lambda: None, lambda text: None)


def test_an_announced_map_is_withdrawn_from_every_server(monkeypatch):
    """No process writes by it, and its new server may never come."""
    there = Installation(monkeypatch)
    assert there.withdraw() == there.record
    assert there.said == {url: {1: 1} for (url,) in there.known.urls}
    assert there.views == {"http://a:1": 2, "http://b:1": 2}
    with pytest.raises(RefusedBySafety, match="none is announced"):
        there.withdraw()


@pytest.mark.parametrize("dies_at", ["http://a:1", "http://b:1", "http://c:1"])
def test_a_withdrawal_that_broke_off_is_run_again(monkeypatch, dies_at):
    """The server that is asked first says that the map is announced, until no other does."""
    there = Installation(monkeypatch)
    there.dies_at = dies_at
    with pytest.raises(DependencyUnreachable, match="dia shards withdraw"):
        there.withdraw()
    there.dies_at = ""
    there.withdraw()
    assert there.said == {url: {1: 1} for (url,) in there.known.urls}


def test_a_map_that_one_server_has_in_force_is_not_withdrawn(monkeypatch):
    """A partition may have placed rows by it."""
    there = Installation(monkeypatch)
    there.said["http://c:1"][2] = 1
    with pytest.raises(RefusedBySafety, match="http://c:1 says that map 2 is in force"):
        there.withdraw()
    assert there.views == {}
    assert there.said["http://a:1"] == {1: 1, 2: 0}
