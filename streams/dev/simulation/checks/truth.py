"""The expected result of `model.metrics`, from the source log alone, by
`streams.operate.audit.reference_decoder`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from agents.app import MODEL_METRICS
from streams.core.settings import Settings
from streams.core.types import RecordBatch
from streams.operate.audit.reference_decoder import ReferenceDecoder, Rules

Series = tuple[str, str, str, int]
"""tenant, model, metric, window start in seconds"""


class AppliedEvent(NamedTuple):
    """Of two in one window, the greater one is newer."""

    ts_ms: int
    offset: int
    value: float


@dataclass(slots=True)
class Expected:
    """Events by window, ids of dead letters, counts by partition. ``duplicates`` is None where the
    log alone does not determine it."""

    values: dict[Series, list[AppliedEvent]] = field(default_factory=lambda: defaultdict(list))
    dead: set[str] = field(default_factory=set)
    read: Counter[int] = field(default_factory=Counter)
    applied: Counter[int] = field(default_factory=Counter)
    shed: Counter[int] = field(default_factory=Counter)
    duplicates: Counter[int] | None = None


def judge(
    batch: RecordBatch, settings: Settings, expected: Expected, shed: Sequence[range] = ()
) -> None:
    """Add one partition's whole log to ``expected``, without the offsets in ``shed``."""
    rules = Rules(
        source=MODEL_METRICS,
        future_max_ms=settings.future_max_s * 1000,
        late_max_ms=settings.late_max_s * 1000,
        dedupe_ttl_ms=settings.dedupe_ttl_s * 1000,
    )
    judged, partition = ReferenceDecoder(rules), batch.tp.partition
    expected.duplicates = expected.duplicates or Counter()
    expected.shed[partition] = sum(map(len, shed))
    expected.read[partition] += expected.shed[partition]
    rows = zip(
        batch.offsets, batch.timestamps, batch.keys, batch.values, batch.headers, strict=True
    )
    for offset, append_ms, key, value, headers in rows:
        if any(offset in skipped for skipped in shed):
            continue
        expected.read[partition] += 1
        verdict, event = judged.judge(append_ms, key, value, headers)
        if verdict == "dead":
            expected.dead.add(f"{batch.tp}/{offset}")
        elif event is None:
            expected.duplicates[partition] += 1
        else:
            expected.applied[partition] += 1
            series = (*event.series, event.ts_ms // 60_000 * 60)
            expected.values[series].append(AppliedEvent(event.ts_ms, offset, event.value))
