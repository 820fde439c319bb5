"""The record of one load test, as JSON in ``HOME/loadtests``; the console shows the newest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from streams.core.process.atomic_file import write_atomically
from streams.core.process.file_modes import private_folder
from streams.operate.loadtest.exactness import ExactnessReport
from streams.operate.loadtest.recorder import FlowRecord
from streams.operate.loadtest.verdict import JudgedThreshold

FORMAT: Final = 1
RECORDS_MAX: Final = 50
"""the newest ones stay"""


class FlowResult(msgspec.Struct, frozen=True, kw_only=True):
    """Lists have an entry for each interval of ``width_s``, by the time at which a request was due;
    None: no latency there. Counts are of the whole test."""

    name: str
    note: str
    requests: int
    failed: int
    events: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float
    codes: dict[str, int]
    width_s: float
    answered: list[int]
    failures: list[int]
    p50_ms_by_time: list[float | None]
    p95_ms_by_time: list[float | None]
    p99_ms_by_time: list[float | None]


class LoadTestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """``run`` sorts by time. ``sender_late_s``: the longest delay for which the machine that sends is
    to blame. ``interrupted``: ended by a signal before its end."""

    format: int = FORMAT
    run: str
    name: str
    began_ms: int
    duration_s: float
    ramp_s: float
    sent_s: float
    edge: str
    console: str
    interrupted: bool
    sender_late_s: float
    flows: list[FlowResult]
    freshness: FlowResult | None
    exactness: ExactnessReport | None
    thresholds: list[JudgedThreshold]

    @property
    def held(self) -> bool:
        return not self.interrupted and all(one.held for one in self.thresholds)


def flow_result(name: str, note: str, record: FlowRecord) -> FlowResult:
    by_time = {share: record.by_interval_s(share) for share in (0.5, 0.95, 0.99)}
    return FlowResult(
        name=name,
        note=note,
        requests=record.requests,
        failed=int(record.failed.sum()),
        events=int(record.events.sum()),
        p50_ms=_ms(record.quantile_s(0.5)),
        p95_ms=_ms(record.quantile_s(0.95)),
        p99_ms=_ms(record.quantile_s(0.99)),
        max_ms=round(1000 * record.max_s, 2),
        codes=dict(record.codes.most_common()),
        width_s=record.width_s,
        answered=record.answered.tolist(),
        failures=record.failed.tolist(),
        p50_ms_by_time=[_ms(one) for one in by_time[0.5]],
        p95_ms_by_time=[_ms(one) for one in by_time[0.95]],
        p99_ms_by_time=[_ms(one) for one in by_time[0.99]],
    )


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 2)


def folder_of(home: Path) -> Path:
    return home / "loadtests"


def keep(folder: Path, record: LoadTestRecord, page: str) -> tuple[Path, Path]:
    """Write the JSON and the page; returns their paths. Raises `OSError`."""
    private_folder(folder)
    data, html = (folder / f"{record.run}.{kind}" for kind in ("json", "html"))
    write_atomically(html, page.encode())
    write_atomically(data, msgspec.json.format(msgspec.json.encode(record)) + b"\n")
    for old in _names(folder)[RECORDS_MAX:]:
        old.unlink(missing_ok=True)
        old.with_suffix(".html").unlink(missing_ok=True)
    return data, html


def newest(folder: Path) -> LoadTestRecord | None:
    """None without a readable record. Raises `OSError`."""
    for path in _names(folder):
        try:
            return msgspec.json.decode(path.read_bytes(), type=LoadTestRecord)
        except (FileNotFoundError, msgspec.MsgspecError):
            continue
    return None


def _names(folder: Path) -> Sequence[Path]:
    """Newest first: a run's name begins with its time."""
    return sorted(folder.glob("*.json"), key=lambda path: path.name, reverse=True)
