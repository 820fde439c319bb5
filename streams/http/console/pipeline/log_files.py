"""Where the log of a worker of this machine is."""

from __future__ import annotations

from pathlib import Path

from streams.engine.health.live_workers import LiveWorker
from streams.engine.health.remote_workers import RemoteWorker

_DELETED = " (deleted)"


def log_file(worker: LiveWorker, processes: Path = Path("/proc")) -> str | None:
    """The file that a worker's errors, and so its log, go to. None where it is no file, as a terminal or a pipe to a
    supervisor, where another user owns the process, and for a worker of another host."""
    if isinstance(worker, RemoteWorker):
        return None
    try:
        found = str((processes / str(worker.pid) / "fd" / "2").readlink())
    except OSError:
        return None
    is_file = found.startswith("/") and not found.startswith("/dev/")
    return found if is_file and not found.endswith(_DELETED) else None
