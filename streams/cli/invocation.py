"""One invocation of `dia`: global options, settings, and the printer."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import typer

from streams.cli.terminal.output import Printer
from streams.cli.terminal.output_form import (
    COLUMN_FORMS,
    OutputForm,
    QueryForm,
    is_columnar,
    query_form_option,
)
from streams.cli.terminal.watching import EVERY_S, is_watchable, watch_options

if TYPE_CHECKING:
    from streams.core.settings import Provenance, Settings
    from streams.core.topics.topology import Topology
    from streams.engine.app.app import App

_GLOBAL_OPTIONS = frozenset({"home", "app", "form", "json", "quiet", "no_color"})


@dataclass(slots=True)
class Invocation:
    """Stored in ``ctx.obj``."""

    home: str | None = None
    app_name: str | None = None
    form: OutputForm = OutputForm.TABLE
    column_form: QueryForm | None = None
    """arrow or parquet, which only `columnar` commands take; ``form`` is then unused"""
    quiet: bool = False
    watch_s: float | None = None
    _loaded: tuple[Settings, list[Provenance]] | None = field(default=None, init=False)
    _app: App | None = field(default=None, init=False)

    @property
    def json(self) -> bool:
        return self.form is OutputForm.JSON

    @property
    def whole(self) -> bool:
        """Whether every column is shown: all forms but a table."""
        return self.form is not OutputForm.TABLE

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

    def printer(self) -> Printer:
        return Printer(form=self.form, quiet=self.quiet)

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
    of_columnar = _copy_for_commands(query_form_option())
    _extend(root, shared, [_copy_for_commands(param) for param in watch_options()], of_columnar)
    return root


def _copy_for_commands(param: Any) -> Any:
    twin = copy.copy(param)
    twin.expose_value = False
    twin.callback = _store
    return twin


def _store(ctx: Any, param: Any, value: Any) -> Any:
    if not value or ctx.resilient_parsing:
        return value
    run = ctx.find_object(Invocation)
    match param.name:
        case "no_color":
            forbid_color()
        case "app":
            run.app_name = value
        case "json":
            run.form = OutputForm.JSON
            run.column_form = None
        case "form" if value in COLUMN_FORMS:
            run.column_form = None if run.json else QueryForm(value)
        case "form":
            run.form = run.form if run.json else OutputForm(value)
        case "watch":
            run.watch_s = run.watch_s or EVERY_S
        case "every":
            from streams.core.words.moments import span_s

            run.watch_s = span_s(value, "--every")
        case name:
            setattr(run, name, value)
    return value


def _extend(group: Any, shared: list[Any], of_watchable: list[Any], of_columnar: Any) -> None:
    for command in group.commands.values():
        if hasattr(command, "commands"):
            _extend(command, shared, of_watchable, of_columnar)
        else:
            own = [of_columnar] if is_columnar(command.callback) else []
            added = [*own, *shared, *(of_watchable if is_watchable(command.callback) else ())]
            command.params.extend(_beside(command.params, added))


def _beside(own: list[Any], added: list[Any]) -> Iterator[Any]:
    """Of ``added``, what the command does not have itself; of two spellings maybe one."""
    names = {param.name for param in own}
    taken = {spelling for param in own for spelling in param.opts}
    for param in added:
        free = [spelling for spelling in param.opts if spelling not in taken]
        if param.name in names or not free:
            continue
        names.add(param.name)
        twin = copy.copy(param)
        twin.opts = free
        yield twin
