"""One request's work, as the dispatcher sees it, and what is said of one that is given up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

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
    """The needs that must have answered before ``error`` could be found; they are asked in order."""
    need = getattr(error, "need", "")
    return needs[: needs.index(need) + 1] if need in needs else ()


def refused(work: Work, error: Exception, now_ms: int) -> Outcome:
    """The outcome that says why there is no summary."""
    code = getattr(error, "code", "simulation_failed")
    if isinstance(error, SimulationCancelled):
        status = "cancelled"
    else:
        status = "rejected" if isinstance(error, _REJECTED) else "failed"
    return Outcome(status, {}, code, str(error)[:_MESSAGE_MAX], work.started_ms or now_ms, now_ms)


Stage: TypeAlias = Literal["waiting", "pausing", "preparing", "running", "ended"]

REQUEST_LOG = "request_log"
"""The need of work whose request is not in memory: it is read again from the source topic."""


class GivenUp(NamedTuple):
    """The request is a dead letter: every attempt ended with an error that may pass, or its tenant
    is over a quota."""

    attempts: int
    message: str
    code: str = RetriesExhausted.code


class Known(NamedTuple):
    """What work ends with once its request is in memory: it does not run (again)."""

    outcome: Outcome
    given_up: GivenUp | None = None


class WorkOwner(Protocol):
    """Whose work it is: a partition."""

    def done(self, work: Any, outcome: Outcome, given_up: GivenUp | None) -> None:
        """``work`` has ended. Called once, unless the owner was forgotten before. Its request may
        not be in memory, if it never began."""
        ...

    async def load(self, work: Any) -> Any:
        """The request of ``work``, which is not in memory. Bounded in time. Raises
        `RequestUnread`, which spends no attempt."""
        ...


@dataclass(slots=True, eq=False)
class Work:
    """``event`` is None while the request is not in memory. ``needs`` names what the work depends
    on besides a slot."""

    owner: WorkOwner
    event: Any
    ask: Ask
    needs: tuple[str, ...] = ()
    known: Known | None = None
    order: int = -1
    """place among all work of the dispatcher, given once"""
    stage: Stage = "waiting"
    lane: Lane = "normal"
    since_s: float = 0.0
    begun_s: float = 0.0
    """when this attempt left the queue"""
    left_s: float = 0.0
    """what preparing left of the limit"""
    started_ms: int = 0
    failures: int = 0
    due_s: float = 0.0
    counted: bool = False
    """among the work in the queue that must be prepared first"""
    prepared: Any = None
    ready: bool = False
    """prepared: it needs a slot and nothing else"""

    @property
    def wanting(self) -> tuple[str, ...]:
        """What it depends on before it can take a slot."""
        if self.ready:
            return ()
        needs = self.needs if self.known is None else ()
        return needs if self.event is not None else (*needs, REQUEST_LOG)
