"""Runs the body of a stream agent for one partition, and decides what an error means: the table in
docs/protocols/stream_agents.md, and

- an unknown schema id of a sent value: the event is retried once the schema registry has answered
- an error that stops a partition or a worker: it stops
- a Faust feature that dia lacks: the partition stops
- an error on a `take` list: each event of the list is given alone
- an error before the first event: the partition stops, unless it is transient

A body that returns is called again.
"""

from __future__ import annotations

import asyncio
import inspect
import traceback
from contextlib import aclosing
from typing import Final, Protocol

import structlog

from streams.core.clock import Clock
from streams.core.errors import (
    AgentFailed,
    DiaError,
    Disposition,
    EngineFailed,
    PartitionRestart,
    PartitionStopped,
    Pending,
    UnsupportedByDia,
    WorkerStopped,
)
from streams.core.records.bad_records import AgentTimeout, RetriesExhausted
from streams.core.resilience.unread_error import read_error
from streams.core.topics.current_stream import current
from streams.core.types import TopicPartition
from streams.engine.agents.stream_agent import StreamAgent
from streams.engine.runtime.partition.agent_waits import AgentWaits
from streams.engine.runtime.partition.schema_wait import Waiting, obtained
from streams.engine.streams.stream import Stream

RETRY_PAUSES_S: Final = (1.0, 2.0, 4.0)
_LONGEST_PAUSE_S: Final = 30.0
_LOOKS: Final = 8
"""checks of the event in progress within the timeout"""
_LOOK_MAX_S: Final = 5.0
_CANCEL_S: Final = 5.0
"""time a cancelled body has to end; after that it is abandoned"""
_TRACE_LINES: Final = 8

log = structlog.get_logger(__name__)


class FedPartition(Waiting, Protocol):
    """The partition whose events the body takes."""

    failure: DiaError | None
    given: int
    """events that the body holds"""
    waits: AgentWaits

    @property
    def tp(self) -> TopicPartition: ...

    @property
    def in_progress(self) -> int | None: ...

    def begin(self) -> Stream: ...

    def complete(self, stream: Stream) -> None: ...

    def drop(self) -> None: ...

    def leave(self) -> None: ...

    def give_singly(self, rows: int) -> None: ...

    def refuse(self, code: str, message: str, attempts: int) -> None: ...


class AgentRun:
    def __init__(
        self, partition: FedPartition, agent: StreamAgent, clock: Clock, timeout_s: float
    ) -> None:
        self._partition = partition
        self._agent = agent
        self._clock = clock
        self._timeout_s = timeout_s
        self._task: asyncio.Task[None] | None = None
        self._body: asyncio.Task[None] | None = None
        self._interrupted = False
        self._failing = -1
        self._attempts = 0
        self._pauses = 0

    def start(self) -> None:
        if self._task is None:
            name = f"agent-{self._agent.name}-{self._partition.tp.partition}"
            self._task = asyncio.create_task(self._run(), name=name)

    def interrupt(self) -> None:
        """Cancel the event in progress and call the body again."""
        if self._body is not None:
            self._interrupted = True
            self._body.cancel()

    def end(self) -> None:
        for task in (self._body, self._task):
            if task is not None:
                task.cancel()

    async def _run(self) -> None:
        partition = self._partition
        try:
            while partition.failure is None:
                await self._live()
        except DiaError as error:
            partition.failure = partition.failure or error
        except Exception as error:
            log.exception("engine_failed", tp=str(partition.tp))
            partition.failure = EngineFailed(f"{partition.tp}: unexpected {error!r}")

    async def _live(self) -> None:
        partition = self._partition
        self._interrupted = False  # while no body ran, between two attempts
        stream = partition.begin()
        body = self._body = asyncio.create_task(self._call(stream), name="agent-body")
        body.add_done_callback(read_error)
        try:
            expired = await self._watch(body)
        finally:
            body.cancel()
        given, offset, waited_s = partition.given, partition.in_progress, partition.waits.take()
        partition.drop()
        if self._interrupted or partition.failure is not None:
            return
        error = stream.failed or self._end_of(body, expired=expired)
        if error is None:
            if not stream.asked:
                partition.failure = AgentFailed(
                    f"agent {self._agent.name} returned without reading its stream. An agent gets "
                    "its events by `async for event in stream`."
                )
            return
        await self._judge(error, given, offset, waited_s)

    def _end_of(self, body: asyncio.Task[None], *, expired: bool) -> BaseException | None:
        if expired:
            return AgentTimeout(
                f"agent {self._agent.name} waited longer than "
                f"DIA_AGENT_TIMEOUT_S={self._timeout_s:g} on this event"
            )
        if body.cancelled():
            return asyncio.CancelledError("the agent cancelled itself")
        return body.exception()

    async def _call(self, stream: Stream) -> None:
        current.set(stream)
        made = self._agent.body(stream)
        if inspect.isasyncgen(made):
            async with aclosing(made):
                async for value in made:
                    await self._give(value)
        else:
            await made
        if self._partition.given:
            self._partition.complete(stream)

    async def _give(self, value: object) -> None:
        for sink in self._agent.sinks:
            taken = sink(value)
            if inspect.isawaitable(taken):
                await taken

    async def _watch(self, body: asyncio.Task[None]) -> bool:
        """Wait until the body ends, or is left behind because it ignores its cancellation; True if it was
        cancelled by the timeout."""
        seen: int | None = None
        since_s = self._clock.monotonic()
        while not body.done():
            if self._interrupted:
                await self._end(body)
                return False
            now_s, offset = self._clock.monotonic(), self._partition.in_progress
            if offset is None or offset != seen:
                seen, since_s = offset, now_s
            elif now_s - since_s >= self._timeout_s:
                self._partition.leave()
                body.cancel()
                await self._end(body)
                return True
            await self._clock.wait(body, min(self._timeout_s / _LOOKS, _LOOK_MAX_S))
        return False

    async def _end(self, body: asyncio.Task[None]) -> None:
        await self._clock.wait(body, _CANCEL_S)
        if not body.done():
            log.error(
                "agent_ignores_cancellation", agent=self._agent.name, tp=str(self._partition.tp)
            )

    # --- what follows from an error ----------------------------------------------------------

    async def _judge(
        self, error: BaseException, given: int, offset: int | None, waited_s: float
    ) -> None:
        partition = self._partition
        if isinstance(error, PartitionStopped | PartitionRestart | WorkerStopped):
            partition.failure = error
        elif not isinstance(error, Exception | asyncio.CancelledError):
            raise error
        elif isinstance(error, Pending):
            await obtained(error, self._clock, partition.tp, partition)
        elif offset is None or isinstance(error, UnsupportedByDia):
            await self._on_no_event(error)
        elif given > 1:
            partition.give_singly(given)
        else:
            await self._on_an_event(error, offset, waited_s)

    async def _on_no_event(self, error: BaseException) -> None:
        if _disposition(error) not in (Disposition.RETRY, Disposition.PAUSE):
            log.error("agent_failed", agent=self._agent.name, tp=str(self._partition.tp))
            where = "for every event" if isinstance(error, UnsupportedByDia) else "outside an event"
            self._partition.failure = AgentFailed(
                f"agent {self._agent.name} raised {where}: {_lines(error)}"
            )
            return
        await self._pause(error, min(2.0**self._pauses, _LONGEST_PAUSE_S))
        self._pauses += 1

    async def _on_an_event(self, error: BaseException, offset: int, waited_s: float) -> None:
        if offset != self._failing:
            self._failing, self._attempts, self._pauses = offset, 0, 0
        disposition = _disposition(error)
        if disposition is Disposition.PAUSE:
            await self._pause(error, min(2.0**self._pauses, _LONGEST_PAUSE_S))
            self._pauses += 1
            return
        self._attempts += 1
        over = self._partition.waits.failed(waited_s)
        if disposition is Disposition.RETRY:
            if self._attempts <= len(RETRY_PAUSES_S) and not over:
                pause_s = RETRY_PAUSES_S[self._attempts - 1]
                self._partition.waits.failed(pause_s)
                await self._pause(error, pause_s)
                return
            self._refuse(RetriesExhausted.code, error)
        elif isinstance(error, DiaError):
            self._refuse(error.code, error)
        else:
            self._refuse(AgentFailed.code, error)

    def _refuse(self, code: str, error: BaseException) -> None:
        why = str(error) if isinstance(error, AgentTimeout) else _lines(error)
        log.warning(
            "event_refused", agent=self._agent.name, tp=str(self._partition.tp),
            offset=self._failing, code=code,
        )  # fmt: skip
        self._partition.refuse(code, why, self._attempts)

    async def _pause(self, error: BaseException, pause_s: float) -> None:
        code = error.code if isinstance(error, DiaError) else type(error).__name__
        log.warning(
            "agent_waits", agent=self._agent.name, tp=str(self._partition.tp), code=code,
            seconds=pause_s,
        )  # fmt: skip
        await self._clock.sleep(pause_s)


def _disposition(error: BaseException) -> Disposition:
    if isinstance(error, DiaError):
        return error.disposition
    passing = isinstance(error, ConnectionError | TimeoutError)
    return Disposition.RETRY if passing else Disposition.DEAD_LETTER


def _lines(error: BaseException) -> str:
    """The exception first, then the end of its traceback: lists of dead letters cut the text."""
    what = traceback.format_exception_only(error)
    where = traceback.format_exception(error)[: -len(what)]
    return "\n".join(["".join(what).rstrip(), *"".join(where).splitlines()[-_TRACE_LINES:]])
