"""The scheduled audit: a separate process, whose report follows `dia audit`."""

from __future__ import annotations

import asyncio
import os
import sys

import msgspec
import pytest

from streams.core.errors import JobProcessFailed
from streams.core.settings import Settings, load
from streams.engine.schedule.ledger_audit import environment, ledger_audit, output_of, read_report


def _report(**changes):
    found = {"check": "rows = applied", "topic": "model.metrics", "partition": 1, "expected": "5"}
    health = {"verdict": "healthy", "findings": []}
    report = {"clean": False, "findings": [found], "notes": ["n"], "health": health}
    return msgspec.json.encode({**report, **changes})


def test_a_report_becomes_a_count_and_a_text():
    """The count is a gauge with an alert; the text goes to the journal."""
    assert read_report(1, _report(), b"") == (
        1,
        {"differences": ["rows = applied: model.metrics/1"], "notes": 1},
    )
    assert read_report(0, _report(findings=[], clean=True), b"").found == 0


def test_records_that_nothing_reads_are_found_by_the_schedule():
    """Such records have no ledger to compare, so an audit of ledgers alone would report no
    difference.
    """
    red = {"code": "group_dead", "severity": "red", "subject": "model.metrics"}
    warning = {"code": "group_dead", "severity": "warning", "subject": "train.results"}
    said = _report(findings=[], health={"verdict": "red", "findings": [red, warning]})
    found = read_report(1, said, b"")
    assert (found.found, found.detail["differences"]) == (1, ["health: group_dead: model.metrics"])


@pytest.mark.parametrize(
    ("code", "said"), [(4, b""), (0, b""), (1, b"[]"), (1, b'{"findings":[{}],"notes":[]}')]
)
def test_an_incomplete_audit_does_not_count_as_clean(code, said):
    """If ClickHouse is away, the ledgers are neither right nor wrong."""
    with pytest.raises(JobProcessFailed, match="no shard answers"):
        read_report(code, said, b"talk\nno shard answers")


def test_the_process_gets_the_effective_settings(monkeypatch, tmp_path):
    """Some settings come from the worker's command line, which a child process does not see."""
    for name in [name for name in os.environ if name.startswith("DIA_")]:
        monkeypatch.delenv(name)
    chosen = Settings(home=str(tmp_path), kafka_bootstrap="k:1", session_timeout_s=45.5)
    read, _ = load(environment(chosen))
    assert read == chosen
    assert ledger_audit(chosen).interval_s == chosen.audit_interval_s


async def test_a_cancelled_run_leaves_no_process_behind(tmp_path):
    """A leader that steps down must not leave a running audit."""
    note = tmp_path / "pid"
    program = (
        f"import os, time; open({str(note)!r} + '.draft', 'w').write(str(os.getpid()));"
        f"os.rename({str(note)!r} + '.draft', {str(note)!r}); time.sleep(600)"
    )
    running = asyncio.create_task(output_of([sys.executable, "-c", program], os.environ))
    async with asyncio.timeout(200):
        while not note.exists():  # noqa: ASYNC110 - another process has no notification
            await asyncio.sleep(0.02)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)
