"""The work of one request in the dispatcher."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from streams.core.errors import BadRecord, JobRefused
from streams.core.job_refusals import (
    InvalidParameters,
    PolicyRejected,
    SimulationCancelled,
    UnknownScenario,
)
from streams.core.records.bad_records import RetriesExhausted
from streams.engine.agents.job_agent import Ask, Outcome
from streams.engine.runtime.jobs.fair_queue import Lane

_REJECTED = (UnknownScenario, InvalidParameters, PolicyRejected)
_MESSAGE_MAX = 1000


def answered_before(needs: tuple[str, ...], error: JobRefused | BadRecord) -> tuple[str, ...]:
    """The needs that answered before ``error``; they are asked in order."""
    need = getattr(error, "need", "")
    return needs[: needs.index(need) + 1] if need in needs else ()


def refused(work: Work, error: Exception, now_ms: int) -> Outcome:
    code = getattr(error, "code", "simulation_failed")
    if isinstance(error, SimulationCancelled):
        status = "cancelled"
    else:
        status = "rejected" if isinstance(error, _REJECTED) else "failed"
    return Outcome(status, {}, code, str(error)[:_MESSAGE_MAX], work.started_ms or now_ms, now_ms)


Stage: TypeAlias = Literal["waiting", "pausing", "preparing", "running", "ended"]

REQUEST_LOG = "request_log"
"""the need of work whose request must be read again from the source topic"""


class GivenUp(NamedTuple):
    """The request becomes a dead letter: its attempts are spent, or its tenant is over a quota."""

    attempts: int
    message: str
    code: str = RetriesExhausted.code


class Known(NamedTuple):
    """The outcome of work that only waits for its request and does not run."""

    outcome: Outcome
    given_up: GivenUp | None = None


class WorkOwner(Protocol):
    def done(self, work: Any, outcome: Outcome, given_up: GivenUp | None) -> None:
        """``work`` ended. Called once, unless the owner was forgotten. The request may not be in
        memory if the work never began."""
        ...

    async def load(self, work: Any) -> Any:
        """Load the request of ``work``, within a time limit. Raises `RequestUnread`, which spends
        no attempt."""
        ...


class Work(msgspec.Struct, eq=False):
    """``event`` is None while the request is not in memory. ``needs``: dependencies besides a
    slot."""

    owner: WorkOwner
    event: Any
    ask: Ask
    needs: tuple[str, ...] = ()
    known: Known | None = None
    order: int = -1
    """place among all work of the dispatcher, assigned once"""
    stage: Stage = "waiting"
    lane: Lane = "normal"
    since_s: float = 0.0
    begun_s: float = 0.0
    """when this attempt left the queue"""
    left_s: float = 0.0
    """time limit left after preparing"""
    started_ms: int = 0
    failures: int = 0
    due_s: float = 0.0
    counted: bool = False
    """counted as queued work that must be prepared"""
    prepared: Any = None
    ready: bool = False
    """prepared: needs only a slot"""

    @property
    def wanting(self) -> tuple[str, ...]:
        """The dependencies to prepare before it can take a slot."""
        if self.ready:
            return ()
        needs = self.needs if self.known is None else ()
        return needs if self.event is not None else (*needs, REQUEST_LOG)
