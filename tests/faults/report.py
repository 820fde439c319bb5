"""The findings of the suite as a table: each fault, its number of runs, and the events under it."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

_HEAD = """\
# Faults thrown at a running pipeline

Written by `make test-faults`; every row is a test of this folder. Each run feeds a real stack
(Kafka, Redis, two ClickHouse shards) and ends with the reconciliation of `dia demo`: every
window's count and sum, every dead letter, every counter of the ledger against the generator's
own record. Then `dia audit --deep`, which has no such record, must find nothing either (after a
reset: `dia audit`, for the log that a deep one reads is gone).

A run of some faults renews their rows and leaves the others. *Lost* and *doubled* are events that
windows lack or have too many, added up over all windows.
*Recovery* is the longest of all runs, in seconds, from the end of the fault until less than a
second of events was unread (for faults of a shard: until it held rows again that came after it).

"""
_COLUMNS = "| Fault | Runs | Events | Lost | Doubled | Recovery | Notes |"
_RULE = "|---|---:|---:|---:|---:|---:|---|"


@dataclass(frozen=True, slots=True)
class Finding:
    """One run of one fault; ``recovery_s`` is None if the trial measured no recovery."""

    fault: str
    events: int
    lost: int
    doubled: int
    recovery_s: float | None = None
    note: str = ""


def write(path: Path, findings: Sequence[Finding], seconds: float, seed: int) -> None:
    """One row per fault, in order of execution; rows of faults that did not run are kept."""
    rows = _rows_of(path)
    for finding in findings:
        rows[finding.fault] = ""
    for fault, group in groupby(sorted(findings, key=_fault), key=_fault):
        rows[fault] = _row(fault, list(group))
    facts = (
        f"{_machine()} Last run: {len(findings)} trials, seed {seed}, {seconds / 60:.1f} minutes.\n"
    )
    path.write_text(_HEAD + facts + "\n" + "\n".join([_COLUMNS, _RULE, *rows.values()]) + "\n")


def _fault(finding: Finding) -> str:
    return finding.fault


def _rows_of(path: Path) -> dict[str, str]:
    """The rows of an earlier report, by fault."""
    lines = path.read_text().splitlines() if path.exists() else []
    table = [line for line in lines if line.startswith("| ") and line != _COLUMNS]
    return {line.split(" | ")[0].removeprefix("| "): line for line in table}


def _row(fault: str, found: Sequence[Finding]) -> str:
    times = [finding.recovery_s for finding in found if finding.recovery_s is not None]
    cells = [
        fault,
        str(len(found)),
        f"{sum(finding.events for finding in found):,}",
        str(sum(finding.lost for finding in found)),
        str(sum(finding.doubled for finding in found)),
        f"{max(times):.1f}" if times else "-",
        found[-1].note,
    ]
    return "| " + " | ".join(cells) + " |"


def _machine() -> str:
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    cores = len(os.sched_getaffinity(0))
    day = time.strftime("%Y-%m-%d")
    return (
        f"{day}, {cores} cores of {cpu}, {memory_gib:.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}."
    )
