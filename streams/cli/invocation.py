"""One invocation of `dia`: global options, settings, and the printer."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import typer

from streams.cli.terminal.output import Form, Printer

if TYPE_CHECKING:
    from streams.core.settings import Provenance, Settings
    from streams.core.topics.topology import Topology
    from streams.engine.app.app import App

_GLOBAL_OPTIONS = frozenset({"home", "app", "json", "quiet", "no_color"})


@dataclass(slots=True)
class Invocation:
    """Stored in ``ctx.obj``."""

    home: str | None = None
    app_name: str | None = None
    json: bool = False
    quiet: bool = False
    _loaded: tuple[Settings, list[Provenance]] | None = field(default=None, init=False)
    _app: App | None = field(default=None, init=False)

    @property
    def settings(self) -> Settings:
        """Read at the first use. Raises `UsageError` with the name of an invalid variable."""
        return self._load()[0]

    @property
    def provenance(self) -> list[Provenance]:
        """In declaration order."""
        return self._load()[1]

    @property
    def app(self) -> App:
        """Imported at the first use. Raises `UsageError` with the defect."""
        if self._app is None:
            from streams.engine.app.loading import load_app

            self._app = load_app(self.app_meant)
            self._connect(self._app)
        return self._app

    def _connect(self, app: App) -> None:
        """A missing address of the schema registry is an error only when a command needs a
        schema."""
        from streams.connect.schema_registry.connecting import connect_to, registry_codecs

        if registry_codecs(app.topics.values()) and self.settings.schema_registry_url:
            from streams.core.clock import SystemClock
            from streams.core.process.version import app_version
            from streams.core.telemetry.metrics import Metrics

            metrics = Metrics(version=app_version(), process="command")
            connect_to(self.settings, app.topics.values(), SystemClock(), metrics)

    @property
    def app_meant(self) -> str:
        """MODULE:NAME, for a child process's ``--app``."""
        from streams.engine.app.loading import named_app

        return named_app(self.settings.app)

    @property
    def topology(self) -> Topology:
        return self.app.topology

    def printer(self, *, csv: bool = False) -> Printer:
        """``--json`` takes precedence over ``csv``."""
        form = Form.JSON if self.json else Form.CSV if csv else Form.TABLE
        return Printer(form=form, quiet=self.quiet)

    def _load(self) -> tuple[Settings, list[Provenance]]:
        if self._loaded is None:
            from streams.core.settings import load

            self._loaded = load(home=self.home, app=self.app_name)
        return self._loaded


def invocation(ctx: typer.Context) -> Invocation:
    found = ctx.find_object(Invocation)
    assert found is not None, "commands run under the root callback, which sets it"
    return found


def forbid_color() -> None:
    """Libraries and child processes read NO_COLOR."""
    os.environ["NO_COLOR"] = "1"


def accept_everywhere(root: Any) -> Any:
    """Let every command below ``root`` also accept the root's global options.

    Users type ``dia status --json``, not ``dia --json status``. Each command gets a copy of each
    option whose name it does not use; the value is stored in the `Invocation`."""
    shared = [_copy_for_commands(param) for param in root.params if param.name in _GLOBAL_OPTIONS]
    _extend(root, shared)
    return root


def _copy_for_commands(param: Any) -> Any:
    twin = copy.copy(param)
    twin.expose_value = False
    twin.callback = _store
    return twin


def _store(ctx: Any, param: Any, value: Any) -> Any:
    if not value or ctx.resilient_parsing:
        return value
    if param.name == "no_color":
        forbid_color()
    else:
        name = "app_name" if param.name == "app" else param.name
        setattr(ctx.find_object(Invocation), name, value)
    return value


def _extend(group: Any, shared: list[Any]) -> None:
    for command in group.commands.values():
        if hasattr(command, "commands"):
            _extend(command, shared)
        else:
            own = {param.name for param in command.params}
            command.params.extend(param for param in shared if param.name not in own)
