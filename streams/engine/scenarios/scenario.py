"""Declaration of a scenario."""

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

CANCEL = "cancel"
"""The name of the scenario whose requests end another request of their tenant."""

TRIALS_MAX = 20_000_000
"""8 bytes a trial are held at once"""


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
    del parameters
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario(Generic[P]):
    """A declared scenario. ``run`` returns the summary, plain JSON values, or raises
    `streams.core.job_refusals.InvalidParameters`.

    ``history`` returns the windows that the parameters need; they are read outside the pool into
    `Run.history`. ``on_completed`` and ``on_failed`` are called with each first result after its
    commit, at most once: a crash may lose the call, but not the result.
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
        """The module that a pool process imports: that of ``run``."""
        return self.run.__module__

    def imported(self) -> Scenario[Any] | None:
        return scenario_in(self.module, self.name)


def scenario_in(module: str, name: str) -> Scenario[Any] | None:
    """The scenario of that name at the top level of ``module``."""
    for found in vars(import_module(module)).values():
        if isinstance(found, Scenario) and found.name == name:
            return found
    return None
