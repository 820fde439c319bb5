"""Pathway as in its documentation: two group-bys over a Kafka table, with persistence in files.

One group an id drops repeats, one a window counts and sums. Its own windows would forget what comes
behind the watermark. Everything but the callback runs in its Rust engine.

Pathway has the Business Source License 1.1: the bench installs it to measure it, dia contains nothing
of it."""

import threading
import time
from pathlib import Path

import pathway as pw
from progress import BOOTSTRAP, GROUP, MINUTE_MS, STATE, TOPIC, Progress

FETCHED_BYTES = 256 << 10
"""received on the loopback interface: the first records are here"""

progress = Progress()


class Event(pw.Schema):
    event_id: str
    tenant_id: str
    model_id: str
    metric: str
    ts: int
    value: float


events = pw.io.kafka.read(
    {"bootstrap.servers": BOOTSTRAP, "group.id": GROUP, "auto.offset.reset": "earliest"},
    topic=TOPIC,
    schema=Event,
    format="json",
    autocommit_duration_ms=1000,
    name="events",
)
unique = events.groupby(pw.this.event_id).reduce(
    tenant_id=pw.reducers.any(pw.this.tenant_id),
    model_id=pw.reducers.any(pw.this.model_id),
    metric=pw.reducers.any(pw.this.metric),
    ts=pw.reducers.any(pw.this.ts),
    value=pw.reducers.any(pw.this.value),
)
windows = (
    unique.with_columns(minute=pw.this.ts // MINUTE_MS)
    .groupby(pw.this.tenant_id, pw.this.model_id, pw.this.metric, pw.this.minute)
    .reduce(count=pw.reducers.count(), total=pw.reducers.sum(pw.this.value))
)
# One table of both sums, so that a callback sees those of one moment.
sums = pw.Table.concat_reindex(
    events.reduce(name="read", events=pw.reducers.count()),
    windows.reduce(name="applied", events=pw.reducers.sum(pw.this.count)),
)
found = {"read": 0, "applied": 0}


def on_change(key, row, time, is_addition):
    if is_addition:
        found[row["name"]] = row["events"]


def on_time_end(time):
    read = found["read"]
    if read > progress.read:
        progress.applied, progress.duplicates = found["applied"], read - found["applied"]
        progress.add(read - progress.read)


def received_bytes():
    [loopback] = [line for line in Path("/proc/net/dev").read_text().splitlines() if " lo:" in line]
    return int(loopback.split()[1])


def start_with_the_first_records():
    """A callback learns of records only after a step, which may hold a large part of them all."""
    before = received_bytes()
    while not progress.read and received_bytes() < before + FETCHED_BYTES:
        time.sleep(0.01)
    progress.start()


pw.io.subscribe(sums, on_change=on_change, on_time_end=on_time_end)

if __name__ == "__main__":
    threading.Thread(target=start_with_the_first_records, daemon=True).start()
    pw.run(
        monitoring_level=pw.MonitoringLevel.NONE,
        persistence_config=pw.persistence.Config(
            pw.persistence.Backend.filesystem(STATE), snapshot_interval_ms=1000
        ),
    )
