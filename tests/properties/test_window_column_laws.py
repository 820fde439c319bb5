"""Windows folded by columns equal those folded by events: dead letters, rows and states, also if a
partition switches between the two."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.app import MODEL_METRICS
from streams import (
    Count,
    Distinct,
    First,
    Last,
    Max,
    Mean,
    Min,
    Quantiles,
    Sum,
    TopK,
    Variance,
)
from streams.core import kernels
from streams.core.errors import StateLimit
from streams.core.formats.scalar_fields import scalar_fields
from streams.core.records.framed_batch import timestamp_array
from streams.engine.agents.agent import EventBatch
from streams.engine.agents.window_agent import window_agent
from streams.engine.decode.codecs import decode
from streams.engine.decode.scanned_events import ScannedFields
from streams.engine.decode.scanning import Scanner
from streams.engine.engine_tables import SEEN_EVENTS
from streams.engine.identities.seen_events import SeenEvents
from streams.engine.state.log_time import Expiry, LogTime, log_times
from streams.engine.state.memory_files import MemoryFiles
from streams.engine.streams.window_aggregates import AggregatedWindows
from streams.engine.windows.fingerprint import Fingerprints
from tests.properties import scan_bodies

if kernels.active is None:
    pytest.skip("the compiled kernels are not available", allow_module_level=True)

TTL_MS = 3_600_000
NUMBERS = {
    MODEL_METRICS.name: ("value", "ts"),
    scan_bodies.READINGS.name: ("level", "count", "heat", "ratio"),
}
TEXTS = {
    MODEL_METRICS.name: ("metric", "run_id"),
    scan_bodies.READINGS.name: ("note", "site"),
}
KEYS = {
    MODEL_METRICS.name: (("tenant_id",), ("tenant_id", "model_id"), ("metric", "ts", "tenant_id")),
    scan_bodies.READINGS.name: (("device_id",), ("count", "device_id")),
}
IDS = {
    MODEL_METRICS.name: ("", "event_id", "run_id"),
    scan_bodies.READINGS.name: ("", "note", "level", "count"),
}
TIMES = (
    {"size_ms": 1000, "step_ms": 1000},
    {"size_ms": 60_000, "step_ms": 60_000},
    {"size_ms": 3000, "step_ms": 2000},
    {"gap_ms": 1000},
)
COLUMNS, EVENTS, NUMPY = "columns", "events", "events without kernels"


def _fold(draw, topic):
    number, text = draw.choice(NUMBERS[topic.name]), draw.choice(TEXTS[topic.name])
    every = {
        "n": Count(),
        "total": Sum(number),
        "mean": Mean(number),
        "spread": Variance(number),
        "lowest": Min(number),
        "highest": Max(number),
        "q": Quantiles(number),
        "first": First(draw.choice((number, text))),
        "last": Last(draw.choice((number, text))),
        "different": Distinct(draw.choice((number, text))),
        "top": TopK(text, k=2),
    }
    return {name: every[name] for name in draw.sample([*every], draw.randint(1, 5))}


def _agent(draw, topic):
    ids = draw.choice(IDS[topic.name])
    windows = [
        AggregatedWindows(
            name=f"windows_{number}",
            topic=topic,
            by=draw.choice(KEYS[topic.name]),
            fold=_fold(draw, topic),
            grace_ms=draw.choice((0, 5000)),
            late=draw.choice(("dead_letter", "drop")),
            keys="any",
            ids=ids,
            **draw.choice(TIMES),
        )
        for number in range(draw.randint(1, 2))
    ]
    return window_agent("windows", topic, "group", tuple(windows))


def _batch(draw, topic, second, offset):
    """Bodies of scan_bodies.py in a log whose time advances by up to a second a record."""
    batch = scan_bodies.batch_of(draw, topic, draw.choice((1, 3, 30)))
    batch.offsets = [offset + row for row in range(len(batch))]
    batch.start, batch.end = offset, offset + len(batch)
    for row, value in enumerate(batch.values):
        second += draw.choice((0, 0, 0, 1))
        batch.timestamps[row] += second * 1000
        if value is not None:
            at = second - draw.choice((0, 0, 0, 1, 4))
            batch.values[row] = value.replace(b"1700000000", b"17%08d" % max(at, 0))
    return batch, second


class Part:
    """The tables of a partition, as its agent's `WindowScope`, and all their output."""

    def __init__(self, agent, max_bytes):
        self.agent, self.found = agent, []
        self.fingerprints = Fingerprints(bytes(16))
        self.tables = {one.name: one.empty(max_bytes) for one in agent.windows}
        self.seen = SeenEvents(TTL_MS, MemoryFiles())
        self._log, self._watermark_ms = LogTime(), 0
        scanner = Scanner.of(agent.source)
        assert scanner is not None, "the topic is scanned"
        self._scanner = replace(scanner, slow_share_max=1.0)

    def table(self, spec):
        return self.seen if spec is SEEN_EVENTS else self.tables[spec.name]

    def dead_letter(self, row, code, message, tenant=""):
        self.found.append(("letter", row, code, message, tenant))

    def count(self, *, applied=0, duplicates=0):
        self.found.append(("count", applied, duplicates))

    def dropped(self, records):
        self.found.append(("dropped", records))

    def before_ms(self, batch):
        reached = np.minimum(batch.event_ms, batch.append_ms)
        return np.maximum.accumulate(np.r_[self._watermark_ms, reached[:-1]])

    def fold(self, batch, way):
        if way == COLUMNS:
            read = self._scanner.decode(batch, scan_bodies.LIMITS)
        else:
            read = decode(self.agent.source, batch, scan_bodies.LIMITS)
        log, self._log = log_times(self._log, timestamp_array(batch), Expiry.of(TTL_MS))
        if not read.events:
            return
        columns = (read.events, read.positions, read.event_ms, read.append_ms)
        self.agent.process(EventBatch(batch, *columns, log, read.fields), self)
        reached = int(np.minimum(read.event_ms, read.append_ms).max())
        self._watermark_ms = max(self._watermark_ms, reached)
        for table in self.tables.values():
            table.advance(self._watermark_ms)
            self.found += table.take_closed()

    def commit(self, seq):
        for table in self.tables.values():
            self.found.append(sorted(map(str, table.take_early(1 << 20))))
            self.found.append(sorted(table.delta(seq), key=repr))
        self.found.append(self.seen.delta(seq))


@contextmanager
def _without_kernels(off: bool) -> Iterator[None]:
    loaded = kernels.active
    if off:
        kernels.active = None
    try:
        yield
    finally:
        kernels.active = loaded


def _run(seed, topic, ways, max_bytes):
    draw = random.Random(seed)
    part, second, offset = Part(_agent(draw, topic), max_bytes), 0, 0
    for seq in range(6):
        batch, second = _batch(draw, topic, second, offset)
        offset = batch.end
        way = ways[seq % len(ways)]
        try:
            with _without_kernels(way == NUMPY):
                part.fold(batch, way)
                if seq % 3 == 2:
                    part.commit(seq)
        except StateLimit as stop:
            return [*part.found, str(stop)]
    return part.found


@pytest.mark.parametrize(
    "topic", [MODEL_METRICS, scan_bodies.READINGS], ids=lambda topic: topic.name
)
@given(st.integers(0, 2**32), st.sampled_from((2000, 20_000, 1 << 62)))
@settings(max_examples=25, deadline=None)
def test_columns_give_what_events_give(topic, seed, max_bytes):
    """Dead letters, counters, rows and changelog, also near the shares of tenants."""
    events = _run(seed, topic, [NUMPY], max_bytes)
    assert _run(seed, topic, [COLUMNS], max_bytes) == events
    assert _run(seed, topic, [COLUMNS, EVENTS, COLUMNS, NUMPY], max_bytes) == events


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "device_id": st.sampled_from(("", "a", "ab")),
                "taken_at": st.sampled_from((0, 1)),
                "note": st.sampled_from((None, "", "a", "b")),
                "site": st.sampled_from((None, "", "b")),
                "level": st.sampled_from((None, 0, 1)),
                "count": st.just(0),
                "heat": st.sampled_from((None, 1.0)),
                "ratio": st.sampled_from((0.0, -0.0, 0.5)),
            }
        ),
        min_size=2,
        max_size=30,
    )
)
@settings(max_examples=100, deadline=None)
def test_payload_hashes_are_equal_exactly_if_all_fields_are(readings):
    """A null differs from an empty text and from zero, and a text is not that of the next field."""
    events = [scan_bodies.Reading(**reading) for reading in readings]
    table = scalar_fields(scan_bodies.Reading)
    assert table is not None
    said = Fingerprints(bytes(16)).scalars(ScannedFields.of_events(table, events), ())
    pairs = {*zip(said.tolist(), map(msgspec.msgpack.encode, events), strict=True)}
    assert len(pairs) == len({one for one, _ in pairs}) == len({text for _, text in pairs})
