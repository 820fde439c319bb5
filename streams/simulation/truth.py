"""What must have come out, read from the source log alone.

The judgement of each record is written here a second time, record by record and with nothing
of the engine: what the engine and this file agree on, neither got from the other.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from streams.settings import Settings
from streams.types import RecordBatch
from streams.workload.log_age import LogAge

Series = tuple[str, str, str, int]
"""tenant, model, metric, window start in seconds"""

_FIELDS: tuple[tuple[str, type | tuple[type, ...]], ...] = (
    ("tenant_id", str),
    ("model_id", str),
    ("metric", str),
    ("ts", int),
    ("value", (int, float)),
)
_SAID = ("model_id", "metric", "ts", "value", "run_id")


@dataclass(slots=True)
class Expected:
    """Of one source: values by window, ids of dead letters, counts by partition."""

    values: dict[Series, list[float]] = field(default_factory=lambda: defaultdict(list))
    dead: set[str] = field(default_factory=set)
    read: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    applied: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    shed: dict[int, int] = field(default_factory=lambda: defaultdict(int))


def judge(
    batch: RecordBatch, settings: Settings, expected: Expected, shed: Sequence[range] = ()
) -> None:
    """Add one partition's whole log to ``expected``. Nobody looked at the offsets in ``shed``."""
    first: dict[tuple[str, str], tuple[int, int, str]] = {}
    age = LogAge(settings.dedupe_ttl_s * 1000)
    partition = batch.tp.partition
    expected.shed[partition] = sum(map(len, shed))
    expected.read[partition] += expected.shed[partition]
    rows = zip(
        batch.offsets, batch.timestamps, batch.keys, batch.values, batch.headers, strict=True
    )
    for offset, append_ms, key, value, headers in rows:
        if any(offset in skipped for skipped in shed):
            continue
        expected.read[partition] += 1
        age.read(append_ms)
        # Of a replayed record: its age is that of its first append, its id counts from this one.
        # A clock that stepped back by more than that age makes it a dead letter again.
        first_ms = int(dict(headers).get("dia.replay.append_ts", b"%d" % append_ms))
        event = _event(key, value, first_ms, settings) if first_ms <= append_ms else None
        if event is None:
            expected.dead.add(f"{batch.tp}/{offset}")
            continue
        identity = (event["tenant_id"], event.get("event_id") or f"bytes {value!r}")
        said = json.dumps([event.get(name) for name in _SAID])
        seen = first.get(identity)
        in_time = seen is not None and append_ms - seen[0] <= settings.dedupe_ttl_s * 1000
        if seen is not None and in_time and not age.forgets(seen[1]):
            if seen[2] != said:
                expected.dead.add(f"{batch.tp}/{offset}")
            continue
        first[identity] = (append_ms, age.now, said)
        window = event["ts"] // 60_000 * 60
        series = (event["tenant_id"], event["model_id"], event["metric"], window)
        expected.values[series].append(float(event["value"]))
        expected.applied[partition] += 1


def _event(
    key: bytes | None, value: bytes | None, append_ms: int, settings: Settings
) -> dict[str, Any] | None:
    """The event, or None where it must be a dead letter."""
    try:
        event: dict[str, Any] = json.loads(value or b"")
    except ValueError:
        return None
    if not isinstance(event, dict):
        return None
    if not all(isinstance(event.get(name), kind) for name, kind in _FIELDS):
        return None
    future_ms, late_ms = settings.future_max_s * 1000, settings.late_max_s * 1000
    in_time = append_ms - late_ms <= event["ts"] <= append_ms + future_ms
    return event if in_time and key == event["tenant_id"].encode() else None
