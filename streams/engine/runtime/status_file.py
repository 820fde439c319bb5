"""The status of a worker process in ``STATE/workers/SLOT.json``, for `dia status`. Consoles on
other hosts read it from the metrics port."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import msgspec
import structlog

from streams.core.process.atomic_file import write_atomically
from streams.engine.runtime.partition.partition import Partition
from streams.engine.runtime.poison.letter_quota import NAMES_MAX
from streams.engine.runtime.worker import Worker

log = structlog.get_logger(__name__)


class StatusFile:
    """Replaced atomically."""

    def __init__(
        self, state_dir: Path, slot: int, http_port: int, pages_port: int | None = None
    ) -> None:
        folder = state_dir / "workers"
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{slot}.json"
        self._slot = slot
        self._http_port = http_port
        self._pages_port = pages_port
        self._silent = False

    @property
    def written(self) -> bool:
        return not self._silent

    def write(self, worker: Worker) -> bytes:
        """Write and return the status. The first failed write is logged."""
        counts = worker.counts()
        status = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "slot": self._slot,
            "http_port": self._http_port,
            "pages_port": self._pages_port,
            "ready": counts is not None and not (counts.restoring or counts.stopped),
            "settled": worker.settled,
            "degradation": worker.degradation.standing,
            "pool_changes": worker.pool_changes,
            "sources": [
                {"group": group.group, "topic": topic, "partitions": partitions}
                for group in worker.groups
                for topic, partitions in group.topics.items()
            ],
            "partitions": [
                {
                    "group": group.group,
                    "topic": held.tp.topic,
                    "partition": held.tp.partition,
                    "phase": held.phase,
                    "lag": held.lag,
                    "behind_s": round(held.behind_s, 1),
                    "paused": held.paused,
                    "waits_for": held.waits_for,
                    "held_back_s": round(held.held_back_s, 1),
                    "next_offset": held.next_offset,
                    "clock_ahead_s": held.clock_ahead_s,
                    "quarantined": held.partition.poison.quarantined() if held.partition else 0,
                    "letters_over_quota": _over_quota(held.partition),
                    "held_windows": _held_windows(held.partition),
                    "stopped_by": held.stopped_by.code if held.stopped_by else None,
                }
                for group in worker.groups
                for held in group.partitions.values()
            ],
        }
        told = msgspec.json.encode(status)
        try:
            write_atomically(self._path, told)
        except OSError as error:
            # A full disk must not end the worker.
            if not self._silent:
                log.warning("status_not_written", path=str(self._path), why=str(error))
            self._silent = True
        else:
            self._silent = False
        return told

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


def _over_quota(partition: Partition | None) -> dict[str, object] | None:
    """The newest tenants, and how many more."""
    over = partition.poison.over_quota() if partition is not None else ()
    if not over:
        return None
    return {"tenants": over[:NAMES_MAX], "more": max(0, len(over) - NAMES_MAX)}


def _held_windows(partition: Partition | None) -> list[dict[str, object]]:
    """By owner and table, those with the most windows first."""
    if partition is None or not partition.held:
        return []
    return [owner._asdict() for owner in partition.held.owners()]
