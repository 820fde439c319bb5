"""What a scenario is: typed parameters, a run, the windows it asks for, and how it queues."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec
import numpy as np

from streams.engine.agents.queue_policy import QueuePolicy
from streams.engine.scenarios.history import History

P = TypeVar("P", bound=msgspec.Struct)
Hook: TypeAlias = Callable[[dict[str, Any]], None]

TRIALS_MAX = 20_000_000
"""Outcomes of all trials are held at once, 8 bytes each."""


class HistoryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The minute windows of one metric of the request's tenant and model that a scenario needs."""

    metric: str
    minutes: int


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
    `streams.core.job_refusals.InvalidParameters`.

    ``history`` says which windows the parameters need; they are read outside the pool and come
    as `Run.history`. ``on_completed`` and ``on_failed`` are called with each first result after it
    is committed, at most once: a crash in between loses the call, never the result.
    """

    name: str
    parameters: type[P]
    run: Callable[[Run[P]], dict[str, Any]]
    history: Callable[[P], HistoryQuery | None] = no_history
    queue: QueuePolicy = field(default_factory=QueuePolicy)
    on_completed: Hook | None = None
    on_failed: Hook | None = None

    @property
    def module(self) -> str:
        """The module that a process of the pool imports to run it: that of ``run``."""
        return self.run.__module__

    def imported(self) -> Scenario[Any] | None:
        """The scenario that a process of the pool finds."""
        return scenario_in(self.module, self.name)


def scenario_in(module: str, name: str) -> Scenario[Any] | None:
    """The scenario of that name at the top level of ``module``."""
    for found in vars(import_module(module)).values():
        if isinstance(found, Scenario) and found.name == name:
            return found
    return None
