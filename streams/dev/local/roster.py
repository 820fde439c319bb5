"""The state of the supervisor and its children: one small file, replaced at each change."""

from __future__ import annotations

from enum import Enum

import msgspec

from streams.core.process.atomic_file import write_atomically
from streams.core.process.process import ProcessIdentity
from streams.dev.local.folder import StackFolder


class ChildState(Enum):
    """STARTING -> READY, on a death WAITING -> STARTING, or FAILED."""

    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting"
    FAILED = "failed"
    STOPPED = "stopped"


class RosterEntry(msgspec.Struct, frozen=True, kw_only=True):
    """``process`` is None while it does not run; ``reason`` explains its last death."""

    name: str
    address: str
    state: ChildState
    process: ProcessIdentity | None
    starts: int
    reason: str
    log: str


class Roster(msgspec.Struct, frozen=True, kw_only=True):
    supervisor: ProcessIdentity
    entries: tuple[RosterEntry, ...]


def write_roster(folder: StackFolder, roster: Roster) -> None:
    write_atomically(folder.roster, msgspec.json.encode(roster))


def read_roster(folder: StackFolder) -> Roster | None:
    """Even of a dead supervisor."""
    try:
        return msgspec.json.decode(folder.roster.read_bytes(), type=Roster)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
