"""How an agent is written whose records are work: each request is answered, once, with a result.

    SIMULATE_DECISION = JobAgent(
        name="simulate_decision", source=SIMULATION_REQUEST, group=SIMULATOR_GROUP,
        results=SIMULATION_RESULT, ask=ask, answer=answer, performer=Simulator.of,
    )

``performer`` makes, once a process, what does the work; the engine decides what runs when, and
makes the answer true (ARCHITECTURE, "Jobs"). Work may run more than once, in whole or in part,
but only one run of a key is ever committed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec

from streams.agent import AgentSpec
from streams.cache.cache import SharedLayer
from streams.clock import Clock
from streams.queue_policy import QueuePolicy
from streams.settings import Settings
from streams.telemetry.metrics import Metrics
from streams.topology import SourceTopic
from tables import FINISHED_OFFSETS, OUTCOMES
from tables.table import TableSpec

E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Ask:
    """What the engine has to know of a request.

    ``payload`` fingerprints what is asked: a repeat of ``key`` must have the same. ``cancels``
    is the key of another request of the tenant, which this one ends if it is not finished.
    """

    tenant: str
    key: str
    payload: bytes
    priority: int
    queue: str
    cancels: str | None = None


class Outcome(msgspec.Struct, array_like=True, frozen=True):
    """What came of the first request of a key; kept, and given again to its repeats."""

    status: str
    summary: dict[str, Any]
    code: str
    message: str
    started_ms: int
    finished_ms: int


class Answer(NamedTuple):
    """One request's result record (its value; its key is the request's), and a row of facts."""

    result: bytes
    table: str
    row: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where and when a request was appended, and whether it repeats an earlier one."""

    partition: int
    offset: int
    append_ms: int
    repeated: bool


@dataclass(frozen=True, slots=True)
class Resources:
    """What a performer is made of; ``layer`` is the cache that processes share, if there is one."""

    settings: Settings
    clock: Clock
    metrics: Metrics
    layer: SharedLayer | None = None


class Performer(Protocol):
    """Does the work of one agent in one process."""

    @property
    def slots(self) -> int:
        """How much work is worth starting at once."""
        ...

    def queue(self, name: str) -> QueuePolicy:
        """The settings of a queue; any for a name it does not know."""
        ...

    async def perform(self, event: Any) -> dict[str, Any]:
        """The summary. May be cancelled at any point.

        Raises `JobRefused` and `BadRecord` kinds for what will not succeed (they become the
        result), and `TransientError` kinds for what may: it is performed again, by the queue's
        policy. One whose disposition is PAUSE says that what work needs is away (a breaker is
        open): for a while nothing starts and partitions take nothing in, and no attempt is spent.
        """
        ...

    def finished(self, event: Any, outcome: Outcome) -> None:
        """Told of each first outcome after it was committed, at most once."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAgent(Generic[E]):
    """A declared job agent. ``results`` is keyed like ``source`` and has as many partitions."""

    name: str
    source: SourceTopic
    group: str
    results: SourceTopic
    ask: Callable[[E], Ask]
    answer: Callable[[E, Outcome, Place], Answer]
    performer: Callable[[Resources], Performer]

    @property
    def tables(self) -> tuple[TableSpec[Any], ...]:
        return (FINISHED_OFFSETS, OUTCOMES)


Agent: TypeAlias = AgentSpec | JobAgent[Any]
"""Either kind."""
