"""The status that a worker process writes to ``STATE/workers/SLOT.json``, for `dia status`; consoles on
other hosts ask its metrics port for the same."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import msgspec
import structlog

from streams.core.process.atomic_file import write_atomically
from streams.engine.runtime.worker import Worker

log = structlog.get_logger(__name__)


class StatusFile:
    """Replaced atomically, so a reader never sees half of one."""

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
        """The last attempt to write it succeeded: the folder takes writes."""
        return not self._silent

    def write(self, worker: Worker) -> bytes:
        """Tell how the worker stands now, and return that; where it cannot be written, say so once
        and go on."""
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
                    "paused": held.paused,
                    "waits_for": held.waits_for,
                    "held_back_s": round(held.held_back_s, 1),
                    "next_offset": held.next_offset,
                    "clock_ahead_s": held.clock_ahead_s,
                    "quarantined": held.partition.poison.quarantined() if held.partition else 0,
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
            # A full disk must not end a worker that has nothing more to do than to say so.
            if not self._silent:
                log.warning("status_not_written", path=str(self._path), why=str(error))
            self._silent = True
        else:
            self._silent = False
        return told

    def remove(self) -> None:
        """The process ends: there is nothing to tell any more."""
        self._path.unlink(missing_ok=True)
