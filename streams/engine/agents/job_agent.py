"""Job agents: each request is answered once, with a result.

    app.job_agent(
        requests, name="render", results=pictures, ask=ask, answer=answer, performer=Renderer.of
    )

``performer`` makes the object that does the work, once per process; the engine schedules it and
commits the answers (docs/protocols/jobs.md). Work may run more than once, but only one run of a key
is committed.
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


class Ask(msgspec.Struct, frozen=True, gc=False):
    """What the engine must know of a request.

    ``payload`` is a fingerprint of the request: a repeat of ``key`` must have the same. ``cancels``
    is the key of another request of the tenant, which this one ends if it is unfinished.
    """

    tenant: str
    key: str
    payload: bytes
    priority: int
    queue: str
    cancels: str | None = None


class Outcome(msgspec.Struct, array_like=True, frozen=True):
    """The result of the first request of a key; its repeats get it again."""

    status: str
    summary: dict[str, Any]
    code: str
    message: str
    started_ms: int
    finished_ms: int


class Answer(NamedTuple):
    """A request's result record (its value; the key is the request's) and a row of facts."""

    result: bytes
    table: str
    row: Mapping[str, Any]


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where and when a request was appended, and whether it repeats another."""

    partition: int
    offset: int
    append_ms: int
    repeated: bool


@dataclass(frozen=True, slots=True)
class Resources:
    """``layer``: the shared cache, if any."""

    settings: Settings
    clock: Clock
    metrics: Metrics
    layer: SharedLayer | None = None


class Performer(Protocol):
    """Does the work of one agent in one process."""

    @property
    def slots(self) -> int:
        """Number of jobs to perform at once."""
        ...

    def told_waiting(self, jobs: int) -> None:
        """How many jobs wait, several times a second: `slots` may follow it."""
        ...

    def queue(self, name: str) -> QueuePolicy:
        """The settings of a queue, also of an unknown one."""
        ...

    def needs(self, event: Any) -> tuple[str, ...]:
        """What `prepare` asks for this request, in that order.

        A bounded number of jobs at once asks a name with a parameter, ``policy acme/p1`` or ``shard
        2``; other names have no bound. Never raises.
        """
        ...

    async def prepare(self, event: Any) -> Any:
        """What `perform` takes besides the request. It takes no slot and may be cancelled at any
        point.

        It must not wait if `needs` is empty. Raises as `perform`; an error's ``need`` names the
        dependency that failed.
        """
        ...

    async def perform(self, event: Any, prepared: Any, timeout_s: float) -> dict[str, Any]:
        """The summary, within ``timeout_s``. May be cancelled at any point.

        Raises `JobRefused` and `BadRecord` errors, which become the result, and `TransientError`
        errors, which are retried by the queue's policy and given up after the last attempt. After
        one with disposition PAUSE (a breaker is open) all jobs with that need wait, and no attempt
        is spent.
        """
        ...

    def finished(self, event: Any, outcome: Outcome) -> None:
        """Called at most once for each first outcome, after its commit. Must not block."""
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
