"""Records of a report: one file per part, with its source and machine. A part is measured again
only after a change of either."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from streams.core.errors import UsageError
from streams.dev.bench.cases import capacity
from streams.dev.bench.cases.capacity import Capacity
from streams.dev.bench.console_load import record as console_load
from streams.dev.bench.console_load.record import ConsoleLoad
from streams.dev.bench.curves import curves, jobs
from streams.dev.bench.curves.curves import Curves
from streams.dev.bench.curves.jobs import Jobs
from streams.dev.bench.peers import agents
from streams.dev.bench.peers import results as peer_results
from streams.dev.bench.peers.agents import AgentReport
from streams.dev.bench.peers.results import PeerReport
from streams.dev.bench.report import files as records
from streams.dev.bench.report import results
from streams.dev.bench.report.results import BenchReport

PEERS, CURVES, CAPACITY, JOBS, READERS = "peers", "curves", "capacity", "jobs", "readers"
AGENTS = "agents"
_NOTES = "made_with.json"


class MadeWith(msgspec.Struct, frozen=True):
    source: str
    machine: str


@dataclass(slots=True)
class Records:
    """``runs`` are by part name."""

    runs: dict[str, BenchReport] = field(default_factory=dict)
    peers: PeerReport | None = None
    curves: Curves | None = None
    capacity: Capacity | None = None
    jobs: Jobs | None = None
    agents: AgentReport | None = None
    readers: ConsoleLoad | None = None


class Notes:
    def __init__(self, folder: Path) -> None:
        self._path = folder / _NOTES
        self._made: dict[str, MadeWith] = {}
        try:
            self._made = msgspec.json.decode(self._path.read_bytes(), type=dict[str, MadeWith])
        except FileNotFoundError:
            return
        except msgspec.MsgspecError as error:
            raise UsageError(f"{self._path} is broken: {error}. Remove it.") from error

    def holds(self, part: str, made: MadeWith) -> bool:
        return self._made.get(part) == made and self._path.with_name(f"{part}.json").exists()

    def note(self, part: str, made: MadeWith) -> None:
        self._made[part] = made
        encoded = msgspec.json.encode(self._made)
        self._path.write_bytes(msgspec.json.format(encoded) + b"\n")

    def parts(self) -> list[str]:
        """In order of their first measurement."""
        return list(self._made)


def read_all(folder: Path) -> Records:
    """Raises `UsageError` for a broken record."""
    found = Records()
    for part in Notes(folder).parts():
        path = folder / f"{part}.json"
        if part == PEERS:
            found.peers = records.load(path, PeerReport, peer_results.FORMAT)
        elif part == CURVES:
            found.curves = records.load(path, Curves, curves.FORMAT)
        elif part == CAPACITY:
            found.capacity = records.load(path, Capacity, capacity.FORMAT)
        elif part == JOBS:
            found.jobs = records.load(path, Jobs, jobs.FORMAT)
        elif part == AGENTS:
            found.agents = records.load(path, AgentReport, agents.FORMAT)
        elif part == READERS:
            found.readers = records.load(path, ConsoleLoad, console_load.FORMAT)
        else:
            found.runs[part] = results.read(path)
    return found
