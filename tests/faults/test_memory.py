"""A worker whose shards are slow: settings bound its memory, not the length of the stream."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.faults.shard_proxy import Weather

HELD_S = 600.0
RATE_PER_S = 3000
DELAY_S = 8.0
"""Seconds per insert, so that the shards together accept less than half of the arriving rows."""
LIVE_WINDOWS = 20_000
SINK_ROWS = 10_000
HOT_IDS = 100_000
UNACKED_BYTES = 4 << 20
PARTITIONS = 4
WINDOW_BYTES = 2048
"""Upper bound in bytes for one live window: columns, sketch, name and its place in the queues."""
ROW_BYTES = 1024
"""Upper bound in bytes for one row on its way to a shard."""
ID_BYTES = 100
"""Upper bound in bytes for one id in memory: its row, half as much again as reserve, and its place
in the hash table."""
FIXED_BYTES = 300 << 20
"""Bytes of fetch buffers (50 MiB at most), RocksDB (72 MiB a partition at most) and the allocator.
"""


@pytest.mark.once
@pytest.mark.timeout(1200)
async def test_a_slow_sink_does_not_grow_the_worker(trial, proxies, report):
    """The remaining records wait in Kafka: partitions pause, and memory stays below the bound that
    follows from the settings."""
    for proxy in proxies:
        proxy.delay_s, proxy.weather = DELAY_S, Weather.SLOW
    events = int(RATE_PER_S * HELD_S)
    trial.feed(events, rate_per_s=RATE_PER_S, tenants=1000, models=50, metrics=20, step_ms=0.4)
    worker = trial.worker(
        max_live_windows=LIVE_WINDOWS,
        hot_ids=HOT_IDS,
        sink_queue_rows=SINK_ROWS,
        sink_batch_rows=5000,
        max_unacked_bytes=UNACKED_BYTES,
        sink_timeout_s=30,
        idle_close_s=1,
    )
    await worker.ready()
    base, peak = worker.rss_bytes(), 0
    deadline = time.monotonic() + HELD_S
    while time.monotonic() < deadline:
        peak = max(peak, worker.rss_bytes())
        await worker.until(lambda _: True)
        await asyncio.sleep(0.2)
    a_partition = LIVE_WINDOWS * WINDOW_BYTES + HOT_IDS * ID_BYTES + UNACKED_BYTES
    bound = base + FIXED_BYTES + PARTITIONS * a_partition + len(proxies) * SINK_ROWS * ROW_BYTES
    assert peak < bound, f"{peak >> 20} MiB of {bound >> 20} MiB"
    assert worker.said("partition_paused") > 0
    for proxy in proxies:
        proxy.weather = Weather.FAIR
    await trial.recovered()
    note = f"{RATE_PER_S:,} events/s; peak {peak >> 20} MiB resident, {base >> 20} MiB at the start, bound {bound >> 20} MiB"
    report(await trial.exact("both shards slow for ten minutes", note=note))
