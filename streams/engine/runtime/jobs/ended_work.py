"""What an error says of the work that it ended."""

from __future__ import annotations

from streams.core.errors import BadRecord, JobRefused
from streams.core.job_refusals import (
    InvalidParameters,
    PolicyRejected,
    SimulationCancelled,
    UnknownScenario,
)
from streams.engine.agents.job_agent import Outcome
from streams.engine.runtime.jobs.work import Work

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
