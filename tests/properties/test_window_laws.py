"""The window table counts every value once, whatever the batches, crashes and answers.

A small driver stands for the runtime: it commits deltas into a dictionary that survives crashes,
keeps the rows that a shard would hold (highest version wins), and loses memory at random.
"""

from __future__ import annotations

import random
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.rows.built_in_tables import WindowRows
from streams.engine.windows.minutes import window_lookup
from streams.engine.windows.minutes.emission import Emission
from streams.engine.windows.minutes.minute_windows import MinuteWindows, WindowPolicy
from streams.engine.windows.minutes.sketch_code import encode
from tests.depth import cases

SHARDS = 2
POLICY = WindowPolicy(grace_ms=60_000, late_hold_s=30.0, emit_rows_max=6)


@pytest.fixture(autouse=True, scope="module")
def _no_slack():
    """Renew the look-up of a minute within a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(window_lookup, "_STALE_SLACK", 0)
        yield


def shard_of(tenants, models, metrics):
    return np.array([len(t) % SHARDS for t in tenants], np.int32)


class Driver:
    """Stands for runtime, store and shards of one window table."""

    def __init__(self) -> None:
        self.store: dict[bytes, bytes] = {}
        self.rows: dict[tuple, tuple] = {}
        self.offset = 0
        self.committed_offset = 0
        self.log: list[tuple[str, int, float]] = []
        self.seq = 0
        self.watermark_ms = 0
        self.now_s = 0.0
        self.restart()

    def restart(self) -> None:
        """Crash: memory is lost, records after the last commit are read again."""
        self.windows = MinuteWindows(3, 0, SHARDS, shard_of, POLICY)
        self.windows.load(sorted(self.store.items()))
        self.windows.advance(self.watermark_ms, self.now_s, 0)
        self.in_flight: list[Emission] = []
        self.fold(self.log[self.committed_offset :], self.committed_offset)

    def produce(self, records: list[tuple[str, int, float]]) -> None:
        start = len(self.log)
        self.log += records
        self.fold(records, start)

    def fold(self, records, start) -> None:
        if not records:
            return
        names = [name for name, _, _ in records]
        keys = self.windows.names.keys(names, ["m"] * len(names), ["x"] * len(names))
        ts = np.array([ts for _, ts, _ in records], np.int64)
        values = np.array([value for _, _, value in records])
        self.windows.advance(self.watermark_ms, self.now_s, 0)
        self.windows.fold(keys, ts, values, np.arange(start, start + len(records)), ts)
        self.watermark_ms = max(self.watermark_ms, int(ts.max()))

    def commit(self, room: int, rewrites: int = 0) -> None:
        self.windows.advance(self.watermark_ms, self.now_s, 0)
        self.seq += 1
        for key in sorted(self.store)[:rewrites]:
            self.windows.rewrite(key, self.store[key])
        for key, value in self.windows.delta(self.seq):
            if value is None:
                self.store.pop(key)
            else:
                self.store[key] = value
        self.committed_offset = len(self.log)
        self.in_flight += self.windows.take_emissions([room] * SHARDS, early=True)

    def answer(self, index: int, stored: bool) -> None:
        if not self.in_flight:
            return
        emission = self.in_flight.pop(index % len(self.in_flight))
        if stored:
            for rows in emission.rows:
                self.store_rows(rows)
            self.windows.acknowledged(emission)
        else:
            self.windows.released(emission)

    def store_rows(self, rows: WindowRows) -> None:
        for i in range(len(rows)):
            key = (rows.tenants[rows.tenant_code[i]], int(rows.w[i]), int(rows.inc[i]))
            low, high = rows.sk_off[i], rows.sk_off[i + 1]
            sketch = tuple(
                zip(rows.sk_k[low:high].tolist(), rows.sk_n[low:high].tolist(), strict=True)
            )
            row = (
                int(rows.ver[i]),
                int(rows.n[i]),
                float(rows.s1[i]),
                sketch,
                float(rows.lo[i]),
                float(rows.hi[i]),
                float(rows.lv[i]),
                int(rows.lt[i]),
            )
            before = self.rows.get(key)
            if before is not None and before[0] == row[0]:
                assert before[:2] + before[3:] == row[:2] + row[3:], "equal versions, equal rows"
            if before is None or before[0] <= row[0]:
                self.rows[key] = row

    def settle(self) -> None:
        self.watermark_ms += 10_000_000
        self.now_s += 1000
        for _ in range(300):
            self.commit(1000)
            if not self.in_flight and self.windows.idle:
                return
            while self.in_flight:
                self.answer(0, True)
        raise AssertionError("never settles")


def truth(log):
    counted = defaultdict(list)
    for name, ts, value in log:
        counted[name, ts // 60_000 * 60].append((ts, value))
    return counted


def records(rng: random.Random, watermark_ms: int) -> list[tuple[str, int, float]]:
    """A few records near the watermark, a third of them late by up to five minutes."""
    made = []
    for _ in range(rng.randint(1, 8)):
        lag = rng.randint(0, 300_000) if rng.random() < 0.3 else rng.randint(-60_000, 30_000)
        value = rng.choice((0.0, 1e-9, -3.0, 1e6, rng.lognormvariate(0, 2), -rng.random()))
        made.append((rng.choice(("a", "bb", "ccc")), max(0, watermark_ms - lag), value))
    return made


def play(driver: Driver, rng: random.Random, steps: int = 120) -> None:
    """A random history: any step can follow any other."""
    kinds = ("produce", "commit", "answer", "time", "restart", "shed", "flush", "stale")
    for _ in range(steps):
        kind = rng.choices(kinds, (30, 25, 20, 8, 4, 2, 6, 3))[0]
        if kind == "produce":
            driver.produce(records(rng, driver.watermark_ms))
        elif kind == "commit":
            driver.commit(rng.randint(0, 4), rng.choice((0, 0, 0, 1, 2)))
        elif kind == "answer":
            driver.answer(rng.randint(0, 5), rng.random() < 0.7)
        elif kind == "time":
            driver.watermark_ms += rng.randint(1, 100_000)
            driver.now_s += rng.randint(1, 60)
        elif kind == "shed":
            driver.windows.shed(rng.randint(0, 4))
        elif kind == "restart":
            driver.restart()
        elif kind == "stale":
            driver.windows.forget_early()
        else:
            driver.commit(9)
            for _ in range(rng.randint(1, 9)):
                driver.answer(0, stored=True)
            driver.commit(0)


@settings(max_examples=cases(250), deadline=None)
@given(st.builds(random.Random, st.integers(0, 2**32)))
def test_every_value_counts_once_in_the_rows(rng):
    """Crashes, partial acknowledgements, rewrites and early closes must neither lose nor double."""
    driver = Driver()
    play(driver, rng)
    driver.settle()
    expected = truth(driver.log)
    found = defaultdict(list)
    for (name, w, _), row in driver.rows.items():
        found[name, w].append(row)
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        rows = found[key]
        assert sum(row[1] for row in rows) == len(values)
        total = sum(row[2] for row in rows)
        assert abs(total - sum(v for _, v in values)) <= 1e-9 * (1 + sum(abs(v) for _, v in values))
        assert min(row[4] for row in rows) == min(v for _, v in values)
        assert max(row[5] for row in rows) == max(v for _, v in values)
        assert max(row[7] for row in rows) == max(ts for ts, _ in values)
        sketch: dict[int, int] = defaultdict(int)
        for row in rows:
            for code, count in row[3]:
                sketch[code] += count
        codes, counts = np.unique(encode(np.array([v for _, v in values])), return_counts=True)
        assert sorted(sketch.items()) == list(zip(codes.tolist(), counts.tolist(), strict=True))


@settings(max_examples=cases(50), deadline=None)
@given(st.builds(random.Random, st.integers(0, 2**32)))
def test_a_settled_table_holds_nothing(rng):
    """Acknowledged windows are deleted: otherwise state and restore would grow without bound."""
    driver = Driver()
    play(driver, rng)
    driver.settle()
    assert driver.store == {}
    assert len(driver.windows) == 0
    assert driver.windows.idle


def test_a_minute_closed_repeatedly_keeps_a_small_look_up():
    """Under memory pressure a window closes and reopens often: its look-up must not keep all
    incarnations."""
    driver = Driver()
    driver.produce([("a", 0, 1.0)])  # its shard never answers: the minute stays live
    for _ in range(200):
        driver.produce([("bb", 0, 1.0)])
        driver.windows.shed(0)
        driver.commit(9)
        for emission in [e for e in driver.in_flight if e.shard == 0]:
            driver.answer(driver.in_flight.index(emission), stored=True)
        driver.commit(0)
    assert len(driver.windows) == 1
    (window,) = driver.windows._lookup
    assert len(window.table) <= 4
