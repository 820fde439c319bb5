"""What a scenario is: typed parameters, a run, the windows it asks for, and how it queues."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
import numpy as np
from msgspec import Meta

from streams.scenarios.history import History

P = TypeVar("P", bound=msgspec.Struct)

TRIALS_MAX = 20_000_000
"""Outcomes of all trials are held at once, 8 bytes each."""


class HistoryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The minute windows of one metric of the request's tenant and model that a scenario needs."""

    metric: str
    minutes: int


class QueuePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How the requests of one scenario wait, run and are tried again, in one worker process.

    Only what is likely to pass by itself is tried again: a process that died, a service that is
    away. ``backoff_s`` is the first pause; an exponential one doubles up to ``backoff_max_s``.
    """

    concurrency: Annotated[int, Meta(ge=1, le=1024)] | None = None
    """runs at once; None is as many as there are processes"""
    rate_per_s: Annotated[float, Meta(gt=0)] | None = None
    """starts a second, averaged; None is no limit"""
    priority: Annotated[int, Meta(ge=0, le=9)] | None = None
    """replaces what requests say of themselves"""
    attempts: Annotated[int, Meta(ge=1, le=10)] = 3
    backoff: Literal["exponential", "fixed"] = "exponential"
    backoff_s: Annotated[float, Meta(gt=0, le=60)] = 1.0
    backoff_max_s: Annotated[float, Meta(gt=0, le=600)] = 8.0
    timeout_s: Annotated[float, Meta(gt=0, le=3600)] = 30.0
    """of one run, in its process; after it the process is killed"""

    def pause_s(self, failures: int) -> float:
        """How long to wait after the ``failures``-th failure in a row."""
        if self.backoff == "fixed":
            return self.backoff_s
        return min(self.backoff_max_s, self.backoff_s * 2.0 ** (failures - 1))


@dataclass(frozen=True, slots=True)
class Run(Generic[P]):
    """One run: ``rng`` is seeded by the request and the only source of randomness."""

    parameters: P
    trials: int
    rng: np.random.Generator
    history: History | None


def no_history(parameters: Any) -> HistoryQuery | None:
    """The scenario looks at nothing but its parameters."""
    del parameters
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario(Generic[P]):
    """A declared scenario. ``run`` gives the summary, plain JSON values, or raises
    `streams.errors.InvalidParameters`.

    ``history`` says which windows the parameters need; they are read outside the pool and come
    as `Run.history`. ``on_completed`` and ``on_failed`` are told each first result after it is
    committed, at most once: a crash in between loses the call, never the result.
    """

    name: str
    parameters: type[P]
    run: Callable[[Run[P]], dict[str, Any]]
    history: Callable[[P], HistoryQuery | None] = no_history
    queue: QueuePolicy = field(default_factory=QueuePolicy)
    on_completed: Callable[[dict[str, Any]], None] | None = None
    on_failed: Callable[[dict[str, Any]], None] | None = None
