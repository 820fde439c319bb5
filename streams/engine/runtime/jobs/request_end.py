"""What the end of a request brings, before any of it is applied to the partition."""

from __future__ import annotations

from typing import NamedTuple

from streams.engine.agents.job_agent import Answer, Outcome
from streams.engine.runtime.jobs.requests import Request
from streams.engine.runtime.jobs.work import GivenUp
from streams.engine.state.outcomes import Remembered


class AnsweredRequest(NamedTuple):
    """``verdict``: APPLIED, DUPLICATE or the code of its dead letter."""

    request: Request
    answer: Answer
    verdict: str


class RequestEnd(NamedTuple):
    """``answers``: its own and those of its repeats in memory. ``kept``: its outcome, for later
    requests of its key; None where there is nothing to remember."""

    request: Request
    outcome: Outcome
    given_up: GivenUp | None
    answers: list[AnsweredRequest]
    kept: Remembered | None
