"""Sharding strategies: even, stable, minimal movement, and refusal of invalid maps."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh64_intdigest

from streams.connect.sinks.sharding import (
    DirectorySharding,
    HashSharding,
    RangeSharding,
    ShardMap,
    Strategy,
    WithoutShards,
    _jump,
    declared,
    jump_consistent_hash,
    load,
)
from streams.core.errors import UsageError
from streams.core.rows.dated_map import MapIdentity
from streams.core.settings import Settings

TODAY = date(2026, 5, 2)
KEYS = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=40)


def jump(key: int, buckets: int) -> int:
    """The algorithm as printed in its paper (Lamping and Veach 2014, figure 1)."""
    bucket, following = -1, 0
    while following < buckets:
        bucket = following
        key = (key * 2862933555777941757 + 1) % 2**64
        following = int((bucket + 1) * (float(1 << 31) / float((key >> 33) + 1)))
    return bucket


@given(KEYS, st.integers(1, 2000))
def test_the_vectorised_hash_equals_the_papers(keys: list[int], buckets: int) -> None:
    """Scalar and vectorised results must agree."""
    found = jump_consistent_hash(np.array(keys, np.uint64), buckets)
    assert found.tolist() == [jump(key, buckets) for key in keys]


@given(KEYS, st.integers(1, 500))
def test_a_new_bucket_only_receives_keys(keys: list[int], buckets: int) -> None:
    """An added shard receives keys, and no key moves between old shards."""
    hashed = np.array(keys, np.uint64)
    before = jump_consistent_hash(hashed, buckets)
    after = jump_consistent_hash(hashed, buckets + 1)
    assert ((after == before) | (after == buckets)).all()


def written(folder: Path, **content: Any) -> str:
    file = folder / "map.json"
    file.write_text(json.dumps({"version": 3, "valid_from": "2026-05-01", **content}))
    return str(file)


def test_ranges_hold_tenants_in_order(tmp_path: Path) -> None:
    """A tenant is in the last range that starts at or before it."""
    ranges = [{"from": "", "shard": 1}, {"from": "m", "shard": 0}, {"from": "ma", "shard": 2}]
    found = load(f"range:{written(tmp_path, ranges=ranges)}", 3, TODAY)
    tenants = ["", "a", "lzzz", "m", "m0", "ma", "z"]
    names = ["x"] * len(tenants)
    assert found.shard_of(tenants, names, names).tolist() == [1, 1, 1, 0, 0, 2, 2]
    assert found.version == 3


def test_a_directory_pins_tenants_and_hashes_the_rest(tmp_path: Path) -> None:
    """Large tenants get dedicated shards."""
    pinned = load(f"directory:{written(tmp_path, tenants={'big': 1})}", 2, TODAY)
    hashed = load("hash", 2, TODAY)
    others = [f"t{i}" for i in range(50)]
    names = ["x"] * 50
    assert pinned.shard_of(["big"], ["x"], ["x"]).tolist() == [1]
    assert (pinned.shard_of(others, names, names) == hashed.shard_of(others, names, names)).all()


@pytest.mark.parametrize(
    ("setting", "content", "says"),
    [
        ("modulo", {}, "is not hash"),
        ("range:", {}, "is not hash"),
        ("range:{file}", {"ranges": []}, "must start"),
        ("range:{file}", {"ranges": [{"from": "a", "shard": 0}]}, "must start"),
        ("range:{file}", {"ranges": [{"from": "", "shard": 2}]}, "names shard 2"),
        ("range:{file}", {"ranges": [{"from": "", "shard": 0, "of": 2}]}, "cannot be used"),
        ("range:{file}", {"ranges": [{"from": "", "shard": 0}] * 2}, "must start"),
        ("range:{file}", {"ranges": [{"from": "", "shard": 0}], "tenants": {"a": 1}}, '"tenants"'),
        ("directory:{file}", {"tenants": {"a": 1}, "ranges": []}, '"ranges"'),
        ("directory:{file}", {}, "names no tenant"),
        ("directory:{file}", {"tenants": {}}, "names no tenant"),
        ("directory:{file}", {"tenants": {"a": -1}}, "names shard -1"),
        ("directory:{file}", {"tenant": {}}, "cannot be used"),
        ("directory:/absent/file", {}, "cannot be used"),
        ("directory:{file}", {"valid_from": str(TODAY + timedelta(1))}, "valid from 2026-05-03"),
    ],
)
def test_an_invalid_map_is_refused(
    tmp_path: Path, setting: str, content: dict[str, Any], says: str
) -> None:
    """An invalid map must stop a worker before it starts."""
    with pytest.raises(UsageError, match=says):
        load(setting.format(file=written(tmp_path, **content)), 2, TODAY)


def test_a_map_with_a_name_twice_is_refused(tmp_path: Path) -> None:
    """JSON has no rule for repeated names: a worker would use the last one, an operator reads the
    first.
    """
    file = tmp_path / "map.json"
    file.write_text('{"version": 1, "valid_from": "2026-05-01", "tenants": {"a": 0, "a": 1}}')
    with pytest.raises(UsageError, match='"a" is there twice'):
        load(f"directory:{file}", 2, TODAY)


def test_a_map_is_valid_on_its_first_day(tmp_path: Path) -> None:
    """The map is valid from its first day on, inclusive."""
    file = written(tmp_path, tenants={"a": 1}, valid_from=str(TODAY))
    assert load(f"directory:{file}", 2, TODAY).shard_of(["a"], ["x"], ["x"]).tolist() == [1]


def test_a_tenant_is_pinned_to_the_first_shard_too(tmp_path: Path) -> None:
    """Shard 0 is the lowest number."""
    tenants = {f"t{n}": 0 for n in range(20)}
    pinned = load(f"directory:{written(tmp_path, tenants=tenants)}", 2, TODAY)
    names = ["x"] * len(tenants)
    assert pinned.shard_of(list(tenants), names, names).tolist() == [0] * len(tenants)


@pytest.mark.parametrize("beside", [-1, 0])
@pytest.mark.parametrize("buckets", [2, 7, 500, 4000])
def test_a_key_at_the_last_bucket_equals_the_papers_too(beside: int, buckets: int) -> None:
    """Its first jump ends at the number of buckets, or one before, which random keys rarely hit."""
    inverse = pow(2862933555777941757, -1, 2**64)
    upper = 2**31 // buckets + beside
    key = (((upper << 33) + 12345 - 1) * inverse) % 2**64
    assert _jump(key, buckets) == jump(key, buckets)
    assert jump_consistent_hash(np.array([key], np.uint64), buckets).tolist() == [
        jump(key, buckets)
    ]


def test_a_single_key_and_a_key_in_a_batch_have_the_same_shard():
    """The shard of a single row and of a row in a batch are computed by different code."""
    keys = [f"model.metrics/0/{n}" for n in range(2000)]
    for count in (1, 2, 3, 7, 64):
        found = jump_consistent_hash(
            np.array([xxh64_intdigest(key.encode()) for key in keys], np.uint64), count
        )
        one_map = ShardMap(count, HashSharding(count))
        assert [one_map.shard_of_key(key) for key in keys] == found.tolist()


def test_a_key_leaves_a_removed_shard_and_no_other() -> None:
    """Rows of later days would fill the shard that an operator empties."""
    before = ShardMap(4, HashSharding(4))
    after = ShardMap(4, WithoutShards(4, HashSharding(4), (0, 2)))
    moved = {0: set(), 2: set()}
    for key in map(str, range(400)):
        was, now = before.shard_of_key(key), after.shard_of_key(key)
        if was in moved:
            moved[was].add(now)
        else:
            assert now == was
    assert moved == {0: {1, 3}, 2: {1, 3}}


def _maps(shards: int) -> st.SearchStrategy[ShardMap]:
    hashed, numbers = HashSharding(shards), st.integers(0, shards - 1)
    tenants = st.dictionaries(st.sampled_from("abc"), numbers, min_size=1)
    starts = st.lists(st.sampled_from("abc"), unique=True).map(lambda names: ("", *sorted(names)))
    strategy: st.SearchStrategy[Strategy] = st.one_of(
        st.just(hashed),
        tenants.map(lambda named: DirectorySharding(named, hashed)),
        starts.flatmap(
            lambda lower: st.tuples(*[numbers] * len(lower)).map(
                lambda shard: RangeSharding(lower, shard)
            )
        ),
    )
    return st.builds(ShardMap, st.just(shards), strategy, st.integers(1, 3))


MAPS = st.integers(1, 3).flatmap(_maps)


@given(MAPS, MAPS)
def test_maps_of_one_digest_place_every_series_alike(first: ShardMap, second: ShardMap) -> None:
    """A server or a changelog stores only the digest of the map that placed its rows."""
    same = first.identity.digest == second.identity.digest
    assert same == ((first.shards, first.strategy) == (second.shards, second.strategy))
    if same:
        names = [f"{a}{n}" for a in ("", "a", "b", "c") for n in range(5)]
        found = first.shard_of(names, names, names)
        assert (found == second.shard_of(names, names, names)).all()
        assert [first.shard_of_key(n) for n in names] == [second.shard_of_key(n) for n in names]


def test_an_identity_describes_the_map_without_server_addresses(tmp_path: Path) -> None:
    """Operators see the identity in a refusal; a server with a new address must not cause one."""
    pinned = load(f"directory:{written(tmp_path, tenants={'big': 1})}", 2, TODAY).identity
    assert pinned.description == "2 shards by directory (version 3)"
    assert MapIdentity.parse(str(pinned)) == pinned
    moved = [
        declared(Settings(clickhouse_shards=urls)).identity
        for urls in ("http://a:1,http://b:1", "http://c:9,http://d:9")
    ]
    assert moved[0] == moved[1]
    assert moved[0].description == "2 shards by hash"
