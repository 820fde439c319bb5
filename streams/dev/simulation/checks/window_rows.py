"""Compares visible window rows with the events of the log."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from streams.connect.sinks.memory_replica import Row
from streams.core.rows.built_in_tables import epoch_of
from streams.dev.simulation.checks.truth import AppliedEvent, Expected, Series
from streams.dev.simulation.world import Difference, World

_WIDTH_S = {"m1": 60, "h1": 3600, "d1": 86_400}
_TOLERANCE = 1e-9
"""of sums: the order of addition changes them by far less"""


def newest(rows: Iterable[Row], key: tuple[str, ...]) -> list[Row]:
    """Per key the row with the highest version, as in a view."""
    newest: dict[tuple[Any, ...], Row] = {}
    for row in sorted(rows, key=lambda row: int(row["ver"])):
        newest[tuple(row[name] for name in key)] = row
    return list(newest.values())


def check_windows(
    world: World,
    expected: Expected,
    buried: Sequence[Row],
    old_before_s: int,
    *,
    rolled_up: bool,
) -> Counter[tuple[int, int]]:
    """Windows that m1 keeps are in m1, older ones in h1 and d1; each holds its events once.
    ``buried``: refused rows, each counts as stored. ``rolled_up``: all windows are closed, so h1
    and d1 are the sums of m1.

    Returns the events in rows by partition and epoch. Raises `Difference`."""
    _check_places(world)
    minutes = [row for row in buried if row["table"] == "m1"]
    shown = newest([*world.shards.rows("m1"), *minutes], world.shards.shown_key("m1"))
    young = {s: v for s, v in expected.values.items() if s[3] >= old_before_s}
    old = {s: v for s, v in expected.values.items() if s[3] < old_before_s}
    _compare("m1", shown, young)
    for table in ("h1", "d1"):
        rows = world.shards.rows(table)
        refused = [
            {**row, "w": row["w"] // _WIDTH_S[table] * _WIDTH_S[table]}
            for row in buried
            if row["table"] in {"h1", "d1"}
        ]
        own = newest(
            [*(row for row in rows if row["inc"]), *refused], world.shards.shown_key(table)
        )
        _compare(table, own, old)
        if table == "h1":
            shown += own
        if rolled_up:
            _compare_roll_ups(world, table, [row for row in rows if not row["inc"]])
    counted: Counter[tuple[int, int]] = Counter()
    for row in shown:
        counted[row["part"], epoch_of(row["inc"])] += row["n"]
    return counted


def _check_places(world: World) -> None:
    """A window's row is on one shard: views add up the rows of all shards."""
    for table in ("m1", "h1", "d1"):
        key, places = world.shards.shown_key(table), dict[tuple[Any, ...], int]()
        for shard in range(world.shards.count):
            for row in world.shards.rows(table, shard):
                name = tuple(row[column] for column in key)
                if row["inc"] and places.setdefault(name, shard) != shard:
                    raise Difference(f"{table} {name} is on shards {places[name]} and {shard}")


def _compare(
    table: str, rows: Sequence[Row], values: Mapping[Series, Sequence[AppliedEvent]]
) -> None:
    wanted: dict[Series, list[AppliedEvent]] = defaultdict(list)
    for (tenant, model, metric, start), found in values.items():
        wanted[tenant, model, metric, start // _WIDTH_S[table] * _WIDTH_S[table]] += found
    stored: dict[Series, list[Row]] = defaultdict(list)
    for row in rows:
        stored[row["tenant"], row["model"], row["metric"], int(row["w"])].append(row)
    counts = {series: len(found) for series, found in wanted.items()}
    counted = {series: sum(row["n"] for row in rows) for series, rows in stored.items()}
    if counted != counts:
        bad = {
            series: (counted.get(series), counts.get(series))
            for series in sorted(counted.keys() | counts.keys())
            if counted.get(series) != counts.get(series)
        }
        raise Difference(f"{table} (found, expected) differ: {bad}")
    for series, found in wanted.items():
        wrong = _wrong(stored[series], found)
        if wrong:
            raise Difference(f"{table} {series} (found, expected): {wrong}")


def _wrong(rows: Sequence[Row], events: Sequence[AppliedEvent]) -> dict[str, tuple[float, float]]:
    """Figures of one window in which its rows, one per incarnation, differ from its events."""
    values = [event.value for event in events]
    n, total = len(values), math.fsum(values)
    mean = total / n
    m2 = math.fsum((value - mean) ** 2 for value in values)
    last = max(rows, key=lambda row: (row["lt"], row["inc"]))
    found_mean = math.fsum(row["n"] * row["mean"] for row in rows) / n
    between = (row["n"] * (row["mean"] - found_mean) ** 2 for row in rows)
    size = 1 + math.fsum(map(abs, values))
    figures = {
        "sketched": (sum(sum(row["sk_n"]) for row in rows), n, 0.0),
        "s1": (math.fsum(row["s1"] for row in rows), total, _TOLERANCE * size),
        "mean": (found_mean, mean, _TOLERANCE * size / n),
        "m2": (math.fsum([*(row["m2"] for row in rows), *between]), m2, _TOLERANCE * (1 + m2)),
        "lo": (min(row["lo"] for row in rows), min(values), 0.0),
        "hi": (max(row["hi"] for row in rows), max(values), 0.0),
        "lv": (last["lv"], max(events).value, 0.0),
    }
    return {
        name: (found, wanted)
        for name, (found, wanted, allowed) in figures.items()
        if abs(found - wanted) > allowed
    }


def _compare_roll_ups(world: World, table: str, rows: Sequence[Row]) -> None:
    counts: Counter[Series] = Counter()
    for row in world.shards.rows("m1"):
        start = row["w"] // _WIDTH_S[table] * _WIDTH_S[table]
        counts[row["tenant"], row["model"], row["metric"], start] += row["n"]
    found: Counter[Series] = Counter()
    for row in rows:  # one a shard that has minutes of it
        found[row["tenant"], row["model"], row["metric"], row["w"]] += row["n"]
    if found != counts:
        raise Difference(f"{table} is {found}, its minutes say {dict(counts)}")
