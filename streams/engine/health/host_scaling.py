"""How many worker processes a host runs and why, in ``STATE/scaling.json``: written by the parent of `dia
worker --processes-min`, read by the console of that host."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from streams.core.process.atomic_file import write_atomically
from streams.core.process.process import ProcessIdentity

CHANGES_MAX: Final = 20
"""the newest ones stay"""
_NAME: Final = "scaling.json"


class ProcessChange(msgspec.Struct, frozen=True, kw_only=True):
    """A decision: from ``before`` to ``after`` processes."""

    at_ms: int
    before: int
    after: int
    why: str


class HostScaling(msgspec.Struct, frozen=True, kw_only=True):
    """``changes``: oldest first, at most `CHANGES_MAX`."""

    parent: ProcessIdentity
    processes: int
    least: int
    most: int
    changes: tuple[ProcessChange, ...] = ()

    def changed(self, change: ProcessChange) -> HostScaling:
        changes = (*self.changes, change)[-CHANGES_MAX:]
        return msgspec.structs.replace(self, processes=change.after, changes=changes)

    def write(self, state: Path) -> None:
        """Raises `OSError`."""
        state.mkdir(parents=True, exist_ok=True)
        write_atomically(state / _NAME, msgspec.json.encode(self))


def host_scaling(state: Path) -> HostScaling | None:
    """None where no such parent runs."""
    try:
        found = msgspec.json.decode((state / _NAME).read_bytes(), type=HostScaling)
    except (OSError, msgspec.MsgspecError):
        return None
    return found if found.parent.alive() else None
