"""Runs an `App` as this process on Faust's worker, with dia's logs and shutdown.

``faust -A streams.engine.host.host worker --without-web`` runs the app of DIA_APP in Faust's own
worker.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from typing import Any, NoReturn

import faust
from faust.app.base import BootStrategy

from streams.connect.access.listening import is_loopback
from streams.connect.broker.kafka.security import KafkaSecurity
from streams.connect.schema_registry.connecting import check_named
from streams.connect.sinks.clickhouse import ClickHouseShards
from streams.core.errors import DependencyUnreachable, RefusedBySafety, UsageError, WorkerStopped
from streams.core.process.listener import bound
from streams.core.settings import Settings, load
from streams.engine.agents.job_agent import Agent
from streams.engine.app.app import App
from streams.engine.app.loading import load_app, named_app
from streams.engine.host.worker_service import Runtime, ShardsOf
from streams.engine.runtime.identity import SlotLock

_ABORTED = 130
_CRASHED = 1
_GOODBYE_S = 2.0
"""time that Faust has to stop after dia's part is closed"""


class _WithoutKafka(BootStrategy):  # type: ignore[misc]  # follow_imports=skip, as below
    enable_kafka = False


class WorkerHost(faust.App):  # type: ignore[misc]  # follow_imports=skip: faust's own types do not check
    """A Faust application that runs agents of an app. Faust hosts the process (supervision,
    shutdown, timers); dia's runtime, one service of it, handles the records.

    Faust's Kafka clients are not started: one that meets no broker ends the process, while the
    runtime waits for the broker.
    """

    BootStrategy = _WithoutKafka

    def __init__(
        self,
        settings: Settings,
        app: App,
        *,
        agents: Sequence[Agent] | None = None,
        slot: int = 0,
        shards: ShardsOf = ClickHouseShards.from_settings,
        **options: Any,
    ) -> None:
        """``agents``: those of ``app`` to run; None: all.

        Raises `DependencyUnreachable` without a broker address, and `UsageError` for settings of
        Kafka's security that cannot work, and if a topic needs a schema registry and none is
        configured.
        """
        if not settings.kafka_bootstrap:
            raise DependencyUnreachable(
                "no Kafka address is known. Start the local stack with `dia up`, or set "
                "DIA_KAFKA_BOOTSTRAP=host:port."
            )
        check_named(settings, app.topics.values())
        KafkaSecurity.from_settings(settings)
        super().__init__(
            app.name,
            datadir=str(settings.state_path() / "faust"),
            # Faust's server would listen on all addresses without authentication.
            web_enabled=False,
            autodiscover=False,
            **options,
        )
        self.settings = settings
        self.slot = slot
        self._shards_of = shards
        self._slot_lock: SlotLock | None = None
        self._listener: socket.socket | None = None
        self._pages_listener: socket.socket | None = None
        self.on_drained: Callable[[], None] = lambda: None
        """called once dia's part is committed and closed; Faust may still be stopping"""
        self._declared = app
        self._agents = tuple(app.agents.values()) if agents is None else tuple(agents)

    def take_slot(self) -> socket.socket:
        """Hold this process's slot and health port until it ends; the bound port.

        Raises `SlotInUse`, `AddressUnavailable`, and `UsageError` or `RefusedBySafety` for pages
        that cannot be served.
        """
        if self._listener is None:
            first = self.settings.http_port
            port = first + self.slot if first else 0
            self._listener = bound(self.settings.http_host, port, "DIA_HTTP_PORT")
        if self._pages_listener is None and self._declared.own_pages and self.settings.pages_port:
            self._pages_listener = self._pages_port()
        if self._slot_lock is None:
            self._slot_lock = SlotLock(self.settings.state_path(), self.slot)
        return self._listener

    def _pages_port(self) -> socket.socket:
        settings = self.settings
        if any(find_spec(name) is None for name in ("starlette", "uvicorn", "httptools")):
            raise UsageError(
                "app.page needs the packages of a web server: pip install 'dia-streams[edge]', or "
                "unset DIA_PAGES_PORT."
            )
        from streams.engine.pages.owners import check_peers  # noqa: PLC0415 - it needs httpx

        check_peers(settings.pages_peers)
        if not (settings.pages_behind_tls or is_loopback(settings.pages_host)):
            raise RefusedBySafety(
                f"DIA_PAGES_HOST={settings.pages_host} would send tokens in clear text. Put a "
                "proxy with TLS in front of it, and set DIA_PAGES_BEHIND_TLS=1."
            )
        return bound(settings.pages_host, settings.pages_port + self.slot, "DIA_PAGES_PORT")

    async def on_first_start(self) -> None:
        """Take the slot, which creates the folders above Faust's own."""
        self.take_slot()
        await super().on_first_start()

    def on_init_dependencies(self) -> Iterable[Any]:
        self._runtime = Runtime(
            self.settings,
            self._declared.topology,
            self._agents,
            self.slot,
            self._shards_of,
            self.on_drained,
            self.take_slot(),
            self._declared.background,
            self._declared.own_pages,
            self._pages_listener,
            loop=self.loop,
            beacon=self.beacon,
        )
        return [*super().on_init_dependencies(), self._runtime]


class Host(faust.Worker):  # type: ignore[misc]  # follow_imports=skip: faust's types do not check
    """Faust's worker without its log set-up and spinner.

    The first SIGTERM or SIGINT drains; a second one ends the process without a commit, and the next
    owners continue from the last one.
    """

    def __init__(self, app: WorkerHost) -> None:
        super().__init__(
            app, quiet=True, redirect_stdouts=False, override_logging=False, daemon=True
        )
        self.spinner = None
        self._on_drained = app.on_drained
        app.on_drained = self._leave_soon

    def _setup_logging(self) -> None:
        """Logs are already configured (streams.core.telemetry.logs)."""

    def _schedule_shutdown(self, signal: signal.Signals) -> None:
        if self._signal_stop_time is not None:
            os._exit(_ABORTED)
        super()._schedule_shutdown(signal)

    def _leave_soon(self) -> None:
        """Exit within `_GOODBYE_S`: Faust waits for threads, which may hang until their timeout."""
        self._on_drained()
        timer = threading.Timer(_GOODBYE_S, self._leave)
        timer.daemon = True
        timer.start()

    def _leave(self) -> None:
        reason = self.crash_reason
        _exit(0 if reason is None else getattr(reason, "exit_code", _CRASHED))


def __getattr__(name: str) -> Any:
    """``app`` for Faust's command line, made at its first use."""
    if name != "app":
        raise AttributeError(f"module {__name__} has no attribute {name}")
    settings, _ = load()
    host = WorkerHost(settings, load_app(named_app(settings.app)))
    globals()["app"] = host
    return host


def run(app: WorkerHost) -> NoReturn:
    """Run until a signal, then end the process with Faust's exit code. Raises `SlotInUse`."""
    app.take_slot()
    code: str | int | None = 0
    try:
        Host(app).execute_from_commandline()
    except SystemExit as end:
        code = end.code
    except WorkerStopped as error:
        sys.stderr.write(f"error: {error} [{error.code}]\n")
        code = error.exit_code
    # Not sys.exit: it waits for sink threads, which may hang until their timeout. All is committed
    # and closed here.
    _exit(code if isinstance(code, int) else _CRASHED)


def _exit(code: int) -> NoReturn:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
