"""The part of `App` that declares scenarios of simulations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from streams.core.errors import UsageError
from streams.engine.agents.queue_policy import QueuePolicy
from streams.engine.scenarios.scenario import HistoryQuery, Hook, Run, Scenario, no_history

P = TypeVar("P", bound=msgspec.Struct)


class ScenarioDeclarations:
    _scenarios: dict[str, Scenario[Any]]

    @property
    def scenarios(self) -> Mapping[str, Scenario[Any]]:
        return MappingProxyType(self._scenarios)

    def scenario(
        self,
        parameters: type[P],
        *,
        name: str | None = None,
        history: Callable[[P], HistoryQuery | None] = no_history,
        queue: QueuePolicy | None = None,
        on_completed: Hook | None = None,
        on_failed: Hook | None = None,
    ) -> Callable[[Callable[[Run[P]], dict[str, Any]]], Scenario[P]]:
        """Declare the decorated function as the run of a scenario; see `Scenario` for the
        arguments.

        ``name``: default the function's. Raises `UsageError` for a name that is taken.
        """

        def register(run: Callable[[Run[P]], dict[str, Any]]) -> Scenario[P]:
            declared = Scenario(
                name=name or run.__name__,
                parameters=parameters,
                run=run,
                history=history,
                queue=queue or QueuePolicy(),
                on_completed=on_completed,
                on_failed=on_failed,
            )
            self.add_scenario(declared)
            return declared

        return register

    def add_scenario(self, declared: Scenario[Any]) -> None:
        """Register a scenario. Raises `UsageError` for a name that is taken."""
        if declared.name in self._scenarios:
            raise UsageError(f"the app declares two scenarios named {declared.name!r}.")
        self._scenarios[declared.name] = declared

    def check_scenarios(self) -> None:
        """Raises `UsageError` for a scenario that a pool process would not find."""
        for declared in self._scenarios.values():
            if declared.imported() is not declared:
                raise UsageError(
                    f"scenario {declared.name!r}: a process of the pool imports the module of its run, "
                    f"{declared.module}, and finds no scenario of that name there. Declare the "
                    f"scenario at the top level of the module that defines its run."
                )
