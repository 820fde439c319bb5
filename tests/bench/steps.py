"""The cost of each step of folding, with kernels and with numpy alone, in microseconds of CPU per
event.

``python -m tests.bench.steps --events 400000 --cut 5000`` folds the events of ``--workload`` into
the minute windows of the built-in app, and into windows of an app of its own, with and without ids.
Record batches are made as a broker stores them (lz4, 2,500 records each), and read, decoded and
folded in one thread, ``--cut`` records at a time; every fourth cut ends a commit. No Kafka, no
RocksDB, no shard. Compare figures of two runs only if they ran side by side.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from numpy.typing import NDArray

from agents.app import AGGREGATE_METRICS
from schemas import ModelMetric
from streams import App, Count, Max, Mean, Min, Quantiles, Sum
from streams.connect.broker.kafka.batches.columns import ColumnFetch
from streams.connect.broker.kafka.batches.record_set import RecordSet
from streams.core import kernels
from streams.core.records.framed_batch import FramedBatch, timestamp_array
from streams.core.types import TopicPartition
from streams.dev.workload.generator import Generator
from streams.dev.workload.shape import PRESETS, preset
from streams.engine.agents.agent import AgentSpec, EventBatch
from streams.engine.agents.window_agent import windows_of
from streams.engine.decode.codecs import Limits, decode
from streams.engine.decode.scanning import Scanner
from streams.engine.engine_tables import MINUTE_WINDOWS, SEEN_EVENTS
from streams.engine.identities.seen_events import SeenEvents
from streams.engine.runtime.partition.key_placement import KeyPlacement
from streams.engine.state.log_time import Expiry, LogTime, log_times
from streams.engine.state.memory_files import MemoryFiles
from streams.engine.windows.fingerprint import Fingerprints
from streams.engine.windows.minutes.minute_windows import MinuteWindows, WindowPolicy

_T_MS: Final = 1_700_000_000_000
_RECORDS: Final = 2500
_LZ4: Final = 3
_COMMIT: Final = 4
_TTL_MS: Final = 3_600_000
_TP: Final = TopicPartition("model.metrics", 0)
_LIMITS: Final = Limits(300, 604_800)


def batches(events: int, name: str) -> list[bytes]:
    """Record batches of a workload with append times, as a broker stores them."""
    workload = preset(name, start_ms=_T_MS)
    found, offset = [], 0
    for block in Generator(workload).blocks(events, _RECORDS):
        builder = DefaultRecordBatchBuilder(2, _LZ4, 0, -1, -1, -1, 1 << 24)
        for row, (key, value) in enumerate(zip(block.keys, block.values, strict=True)):
            builder.append(row, _T_MS, key, value, [])
        offset += len(block.keys)
        raw = bytearray(builder.build())
        raw[0:8] = (offset - len(block.keys)).to_bytes(8, "big")
        raw[22] |= 8  # append time
        raw[35:43] = int(_T_MS + offset * workload.step_ms).to_bytes(8, "big")
        raw[17:21] = calc_crc32c(bytes(raw[21:])).to_bytes(4, "big")
        found.append(bytes(raw))
    return found


def window_agent(ids: str) -> AgentSpec:
    """Windows of an app of its own."""
    app = App("bench")
    topic = app.topic(
        "model.metrics",
        schema="model_metric",
        versions={1: ModelMetric},
        partitions=1,
        key_field="tenant_id",
        time_field="ts",
    )
    fold = {
        "n": Count(),
        "total": Sum("value"),
        "mean": Mean("value"),
        "lowest": Min("value"),
        "highest": Max("value"),
        "q": Quantiles("value"),
    }
    app.windows(
        "by_model",
        of=topic,
        by=("tenant_id", "model_id"),
        size="60s",
        grace="60s",
        fold=fold,
        ids=ids,
    )
    [agent] = app.agents.values()
    assert isinstance(agent, AgentSpec)
    return agent


class Folding:
    """The tables of one partition, and the time of each step. It is the `Scope` of its agent."""

    def __init__(self, agent: AgentSpec) -> None:
        self.seen = SeenEvents(_TTL_MS, MemoryFiles())
        self.fingerprints = Fingerprints(bytes(16))
        self.seconds: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self._agent = agent
        self._windows = [one.empty() for one in windows_of(agent)]
        self._minutes = MinuteWindows(0, 0, 2, _shard_of, WindowPolicy())
        self._tables: Mapping[str, Any] = {
            SEEN_EVENTS.name: self.seen,
            MINUTE_WINDOWS.name: self._minutes,
            **{table.name: table for table in self._windows},
        }
        self._scanner = Scanner.of(agent.source) if agent.columns else None
        self._placement = KeyPlacement(_TP, 1)
        self._log = LogTime()
        self._watermark_ms = 0

    @property
    def states(self) -> int:
        return sum(map(len, self._windows)) or len(self._minutes)

    def table(self, spec: Any) -> Any:
        return self._tables[spec.name]

    def dead_letter(self, *_: Any, **__: Any) -> None:
        self.counts["dead"] += 1

    def count(self, *, applied: int = 0, duplicates: int = 0) -> None:
        self.counts.update(applied=applied, duplicates=duplicates)

    def before_ms(self, batch: EventBatch[Any]) -> NDArray[np.int64]:
        reached = np.minimum(batch.event_ms, batch.append_ms)
        return np.maximum.accumulate(np.r_[self._watermark_ms, reached[:-1]])

    def dropped(self, records: int) -> None:
        self.counts["late"] += records

    def run(self, stored: list[bytes], cut: int) -> None:
        """Fold all batches, ``cut`` records at a time."""
        at_a_time = max(1, cut // _RECORDS)
        for first in range(0, len(stored), at_a_time):
            for seq, batch in enumerate(
                self._read(b"".join(stored[first : first + at_a_time]), cut)
            ):
                self._fold(batch)
                if (first // at_a_time + seq) % _COMMIT == _COMMIT - 1:
                    for table in (*self._windows, self._minutes, self.seen):
                        self._timed("commit", table.delta, first + seq + 1)

    def _read(self, data: bytes, cut: int) -> Iterator[FramedBatch]:
        source = PartitionRecords(
            _TP, RecordSet(data), [], 0, None, None, True, READ_COMMITTED
        )  # fmt: skip
        fetch = ColumnFetch(_TP, source, framing=kernels.active is not None)
        more = True
        while more:
            batch = FramedBatch(_TP, fetch.next_fetch_offset, fetch.next_fetch_offset)
            more = self._timed("fetch", fetch.read, batch, cut)
            if len(batch):
                yield batch

    def _fold(self, batch: FramedBatch) -> None:
        self._timed("decode", self._placement.look, batch)
        if self._scanner is not None:
            decoded = self._timed("decode", self._scanner.decode, batch, _LIMITS)
        else:
            decoded = self._timed("decode", decode, self._agent.source, batch, _LIMITS)
        self.counts["dead"] += len(decoded.bad)
        append_ms = timestamp_array(batch)
        times, self._log = log_times(self._log, append_ms, Expiry.of(_TTL_MS))
        columns = (decoded.events, decoded.positions, decoded.event_ms, decoded.append_ms)
        events = EventBatch(batch, *columns, times, decoded.fields)
        self._timed("fold", self._agent.process, events, self)
        self._watermark_ms = max(self._watermark_ms, int(decoded.event_ms.max()))
        self._minutes.advance(self._watermark_ms, 0.0, int(append_ms[-1]))
        for table in self._windows:
            self._timed("close", table.advance, self._watermark_ms)
            table.take_closed()

    def _timed(self, step: str, call: Any, *arguments: Any) -> Any:
        began = time.thread_time()
        answer = call(*arguments)
        self.seconds[step] += time.thread_time() - began
        return answer


def _shard_of(tenants: Any, models: Any, metrics: Any) -> np.ndarray:
    return np.array([len(name) % 2 for name in tenants], np.int32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--cut", type=int, default=5000)
    parser.add_argument("--workload", default="narrow", choices=[*PRESETS])
    asked = parser.parse_args()
    stored = batches(asked.events, asked.workload)
    agents = {
        "minute windows": AGGREGATE_METRICS,
        "windows of an app": window_agent(""),
        "windows of an app, ids": window_agent("event_id"),
    }
    for mode in ("off", "on"):
        why = kernels.load(mode)
        print(f"kernels {mode} ({why or 'loaded'})")
        for name, agent in agents.items():
            folding = Folding(agent)
            folding.run(stored, asked.cut)
            cost = {step: round(s / asked.events * 1e6, 3) for step, s in folding.seconds.items()}
            print(f"  {name}: {cost}, sum {sum(cost.values()):.2f}")
            print(f"    {dict(folding.counts)}, {folding.states} states")


if __name__ == "__main__":
    main()
