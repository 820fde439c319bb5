"""The workers of this host, from the STATE/workers/SLOT.json that each writes."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from streams.core.degradation.level import HEALTHY, Standing, worst
from streams.core.process.process import ProcessIdentity
from streams.engine.health.host_scaling import ProcessChange

SILENT_MAX_S: Final = 30.0
"""workers report four times a second; an older status proves nothing, because the state folder may take no
writes, or the worker may hang"""
CLOCK_SLACK_S = 1.0
"""file times and process times come from different clocks"""


class LiveWorker(msgspec.Struct, frozen=True, kw_only=True):
    """The last status of one worker process. ``silent_s``: seconds between its report and the present,
    on either side. ``settled``: lag 0, outbox empty, no live windows."""

    pid: int
    slot: int | str
    partitions: list[dict[str, Any]] = []
    sources: list[dict[str, Any]] = []
    ready: bool = False
    http_port: int | None = None
    pages_port: int | None = None
    settled: bool = False
    degradation: Standing = HEALTHY
    pool_changes: tuple[ProcessChange, ...] = ()
    silent_s: float = 0.0

    @property
    def silent(self) -> bool:
        """The status is too old to prove anything."""
        return self.silent_s > SILENT_MAX_S


def live_workers(state: Path) -> list[LiveWorker]:
    found = [_read(path) for path in sorted((state / "workers").glob("*.json"))]
    return sorted((worker for worker in found if worker), key=lambda worker: str(worker.slot))


def member_prefix(state: Path) -> str | None:
    """The prefix of the member ids of this folder's workers, before their slot; None until one has
    run. See streams/engine/runtime/identity.py."""
    try:
        return f"{socket.gethostname()}-{(state / 'id').read_text().strip()}-"
    except OSError:
        return None


def standing(workers: Sequence[LiveWorker]) -> Standing | None:
    return worst(worker.degradation for worker in workers) if workers else None


def pipeline_settled(workers: Sequence[LiveWorker]) -> bool:
    """Whether every partition of every source has an owner among the live workers, and each worker
    is settled and not silent."""
    owned = {
        (held["group"], held["topic"], held["partition"])
        for worker in workers
        for held in worker.partitions
    }
    wanted = {
        (source["group"], source["topic"], partition)
        for worker in workers
        for source in worker.sources
        for partition in range(source["partitions"])
    }
    return (
        bool(wanted)
        and wanted <= owned
        and all(worker.settled and not worker.silent for worker in workers)
    )


def _read(path: Path) -> LiveWorker | None:
    """None for a file that is incomplete, in another format, or of a dead process."""
    try:
        written_s_ago = time.time() - path.stat().st_mtime
        worker = msgspec.json.decode(path.read_bytes(), type=LiveWorker)
    except (OSError, msgspec.MsgspecError):
        return None
    process = ProcessIdentity.of(worker.pid)
    # A process younger than the file reuses the dead worker's pid.
    if process is None or process.age_s() + CLOCK_SLACK_S < written_s_ago:
        return None
    # A time ahead of the clock is of no report since the clock was set back, or of another clock.
    return msgspec.structs.replace(worker, silent_s=abs(round(written_s_ago, 1)))
