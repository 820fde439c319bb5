"""Simulated console users in the report: their event rate, and when their p95 counts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from streams.core.errors import UsageError
from streams.dev.bench.cases.capacity import Capacity
from streams.dev.bench.cases.case import PACED_EVENTS_MAX
from streams.dev.bench.console_load.record import ConsoleLoad, Lag, Times
from streams.dev.bench.report import files as records
from streams.dev.bench.report import parts as report_parts
from streams.dev.bench.report.machine import this_machine
from streams.dev.bench.report.parts import PARTS, Bench, Part, measure_parts
from streams.dev.bench.report.records import CAPACITY, READERS, Records, read_all
from streams.dev.bench.report.targets import TARGETS
from streams.dev.bench.report.text import compose

MACHINE = this_machine()


class _Silent:
    def say(self, text: str) -> None:
        pass


def _load(**changes: object) -> ConsoleLoad:
    times = Times(path="all", requests=9, p50_ms=1.0, p95_ms=70.1, p99_ms=213.9, max_ms=840.9)
    still = Lag(second_quarter=9, last_quarter=9, most=9, at_end=0, grew=False)
    found = ConsoleLoad(
        started_at="2026", machine=MACHINE, versions={}, case="narrow", readers=200, seconds=60,
        rate_per_s=47_000, exact=True, differences=[], times=[times], errors={}, unchanged=1,
        events=2, console_ms_per_request=1.19, processes=[], readers_cpu_s=5.0, others_cores=0.0,
        sender_late_s=0.0, lag=still,
    )  # fmt: skip
    return msgspec.structs.replace(found, **changes)


GREW = Lag(second_quarter=9, last_quarter=99, most=99, at_end=0, grew=True)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    clone = tmp_path / "tests" / "bench"
    (tmp_path / "streams").mkdir(parents=True)
    (tmp_path / "streams" / "engine.py").touch()
    return Bench(home=tmp_path, clone=clone, folder=clone / "results", talk=_Silent())


def _part() -> Part:
    return next(part for part in PARTS if part.name == READERS)


def _safe(bench: Bench, rate: int | None) -> None:
    found = Capacity(
        started_at="2026", machine=MACHINE, versions={}, case="narrow", safe_per_s=rate,
        exact=True, differences=[], tries=[],
    )  # fmt: skip
    measure_parts([Part(CAPACITY, 1, lambda _: found)], bench, again=False)


@pytest.mark.parametrize(
    ("safe", "rate", "seconds"), [(95_999, 47_000, 60), (400_000, 200_000, 25)]
)
def test_users_are_simulated_at_half_of_the_safe_rate(bench, monkeypatch, safe, rate, seconds):
    """For 60 s, or for as long as the prepared events last."""
    _safe(bench, safe)
    asked = SimpleNamespace()
    monkeypatch.setattr(
        report_parts,
        "measure_console_load",
        lambda case, readers, home, talk: asked.__dict__.update(case=case, readers=readers),
    )
    _part().measure(bench)
    assert (asked.case.rate_per_s, asked.case.seconds, asked.readers) == (rate, seconds, 200)
    assert asked.case.events <= PACED_EVENTS_MAX


@pytest.mark.parametrize("safe", ["never measured", None])
def test_users_are_not_simulated_without_a_safe_rate(bench, safe):
    """Half of an unknown rate is not a load."""
    if safe is None:
        _safe(bench, None)
    bench.folder.mkdir(parents=True, exist_ok=True)
    with pytest.raises(UsageError, match="measure it first"):
        _part().measure(bench)


def test_responses_are_written_and_read_back(bench):
    """The report is made of records, which may be from another day."""
    measure_parts([Part(READERS, 1, lambda _: _load())], bench, again=False)
    found = read_all(bench.folder).readers
    assert found == _load()
    assert found.held
    text = compose(Records(readers=found))
    for expected in (
        "200 readers for 60 s",
        "**70.1 ms**",
        "47,000",
        "0 cores busy",
        "| all | 9 | 1 | 70.1 |",
    ):
        assert expected in text
    saved = records.load(bench.folder / f"{READERS}.json", ConsoleLoad, 1)
    assert saved.p95_ms == 70.1


@pytest.mark.parametrize(
    "changes",
    [
        {"exact": False, "differences": ["windows"]},
        {"errors": {"/overview 503": 1}},
        {"lag": GREW},
    ],
)
def test_p95_counts_only_where_everything_else_is_right(changes):
    """Errors are fast, and a stopped pipeline leaves the machine to the console."""
    row = {target.name: target for target in TARGETS}[TARGETS[-1].name]
    assert row.row(Records(readers=_load()))[3:] == ("70", "yes")
    spoilt = _load(**changes)
    assert not spoilt.held
    assert row.row(Records(readers=spoilt))[3:] == ("not measured", "-")
