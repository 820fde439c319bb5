"""How an agent is written whose records are work: each request is answered, once, with a result.

    app.job_agent(
        requests, name="render", results=pictures, ask=ask, answer=answer, performer=Renderer.of
    )

``performer`` makes, once a process, what does the work; the engine decides what runs when, and
makes the answer true (docs/protocols/jobs.md). Work may run more than once, in whole or in part,
but only one run of a key is ever committed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec

from streams.connect.cache.cache import SharedLayer
from streams.core.clock import Clock
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.core.topics.topic import Topic
from streams.engine.agents.agent import AgentSpec
from streams.engine.agents.queue_policy import QueuePolicy
from streams.engine.agents.stream_agent import StreamAgent
from streams.engine.engine_tables import FINISHED_OFFSETS, OUTCOMES
from streams.engine.state.table import TableSpec

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
        """How many jobs are worth performing at once."""
        ...

    def queue(self, name: str) -> QueuePolicy:
        """The settings of a queue; any for a name it does not know."""
        ...

    def needs(self, event: Any) -> tuple[str, ...]:
        """What `prepare` asks for this request, in the order in which it asks.

        A name with a space, ``policy acme/p1`` or ``shard 2``, is one of its kind and is asked by a
        bounded number of jobs at once; a bare name is shared by all. Never raises.
        """
        ...

    async def prepare(self, event: Any) -> Any:
        """What `perform` takes besides the request. Takes no slot; may be cancelled at any point.

        Must not wait where `needs` is empty. Raises as `perform`; an error's ``need`` names the
        dependency that failed.
        """
        ...

    async def perform(self, event: Any, prepared: Any, timeout_s: float) -> dict[str, Any]:
        """The summary, within ``timeout_s``. May be cancelled at any point.

        Raises `JobRefused` and `BadRecord` kinds for what will not succeed (they become the
        result), and `TransientError` kinds for what may: it is tried again, by the queue's policy,
        and given up after its last attempt. One whose disposition is PAUSE says that what the job
        needs is away (a breaker is open): the jobs with that need wait, and no attempt is spent.
        """
        ...

    def finished(self, event: Any, outcome: Outcome) -> None:
        """Called for each first outcome after it was committed, at most once. Must not block."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAgent(Generic[E]):
    """A declared job agent. ``results`` is keyed like ``source`` and has as many partitions."""

    name: str
    source: Topic
    group: str
    results: Topic
    ask: Callable[[E], Ask]
    answer: Callable[[E, Outcome, Place], Answer]
    performer: Callable[[Resources], Performer]

    @property
    def tables(self) -> tuple[TableSpec[Any], ...]:
        return (FINISHED_OFFSETS, OUTCOMES)


Agent: TypeAlias = AgentSpec | JobAgent[Any] | StreamAgent
"""Any kind."""
