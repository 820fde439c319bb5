"""The part of `App` that declares stream agents and their tables, with Faust's API."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, NoReturn, Protocol

from croniter import croniter

from streams.core.errors import UnsupportedByDia, UsageError
from streams.core.process.background_task import BackgroundTask
from streams.core.topics.current_stream import Target, current
from streams.core.topics.topic import Topic, given_topic
from streams.core.words.absent_words import check_body
from streams.engine.agents.stream_agent import Body, Sink, StreamAgent
from streams.engine.state.keyed import Default
from streams.engine.streams.app_table import AppTable, SetTable
from streams.engine.streams.declared_table import DeclaredTable, Keys
from streams.engine.streams.global_table import GlobalTable
from streams.engine.streams.stream import Regrouping
from streams.engine.streams.windowed_table import OnClose

Run = Callable[..., Any]
SinkOf = Topic | StreamAgent | Callable[[Any], Any]


class _Declares(Protocol):
    """The other parts of `App`."""

    name: str

    @property
    def group(self) -> str: ...

    def topic(self, name: str, **options: Any) -> Topic: ...

    def add_agent(self, agent: Any) -> None: ...

    @property
    def agents(self) -> Any: ...


class StreamDeclarations:
    _background: tuple[BackgroundTask, ...] = ()

    def agent(
        self: _Declares,
        topic: Topic | None = None,
        *,
        name: str | None = None,
        group: str | None = None,
        sink: Sequence[SinkOf] = (),
        concurrency: int = 1,
        tables: tuple[DeclaredTable, ...] | None = None,
        value_type: Any = None,
        **faust: Any,
    ) -> Callable[[Body], StreamAgent]:
        """Declare the decorated coroutine function, or async generator function, as an agent that
        handles the events of ``topic`` one at a time.

        Without ``topic`` it has its own, ``{app}-{agent}``. ``group``: default `App.group`.
        ``sink``: topics, agents and functions that take what the body yields. ``tables``: default
        those that its code names; no other agent may use them.

        Raises `UsageError`, and `UnsupportedByDia` for a ``concurrency`` above 1 and for a body
        that uses an unsupported feature of Faust's streams.
        """
        if concurrency != 1:
            raise UnsupportedByDia(
                f"concurrency={concurrency}: an agent handles the events of a partition one by "
                "one, in log order. Give the topic more partitions."
            )
        if topic is not None:
            given_topic("@app.agent", topic)
        if unknown := sorted(faust.keys() - _PASSED_OVER):
            raise UnsupportedByDia(f"@app.agent: {unknown[0]} is not supported.")

        def register(body: Body) -> StreamAgent:
            called: str = name or getattr(body, "__name__", "") or ""
            if not (inspect.iscoroutinefunction(body) or inspect.isasyncgenfunction(body)):
                raise UsageError(f"agent {called} is no `async def`: it could not read its stream.")
            check_body(called, body)
            source = topic or self.topic(f"{self.name}-{called}", value_type=value_type)
            make = partial(
                StreamAgent,
                name=called,
                body=body,
                declared=tables,
                sinks=tuple(map(_as_sink, sink)),
            )
            if not _regroups(body):
                agent = make(source=source, group=group or self.group)
                self.add_agent(agent)
                return agent
            arrives = _arrivals(self, source, called)
            sender = make(
                name=f"{called}-group_by",
                source=source,
                group=group or self.group,
                declared=(),
                regrouping=Regrouping(arrives, sends=True),
            )
            agent = make(
                source=arrives,
                group=group or self.group,
                regrouping=Regrouping(arrives, sends=False),
                entry=source,
            )
            self.add_agent(sender)
            self.add_agent(agent)
            return agent

        return register

    def Table(  # noqa: N802 - Faust's name
        self,
        name: str,
        *,
        default: Default | None = None,
        value_type: Any = None,
        keys: Keys = "record",
        on_window_close: OnClose | None = None,
        **faust: Any,
    ) -> AppTable:
        """Declare a key/value table; see streams/engine/streams/declared_table.py and
        streams/engine/streams/app_table.py."""
        return AppTable(
            name,
            default=default,
            value_type=value_type,
            keys=keys,
            on_window_close=on_window_close,
            **faust,
        )

    def SetTable(self, name: str, *, keys: Keys = "record", **faust: Any) -> SetTable:  # noqa: N802
        return SetTable(name, keys=keys, **faust)

    def GlobalTable(  # noqa: N802
        self,
        name: str,
        *,
        default: Default | None = None,
        value_type: Any = None,
        keys: Keys = "record",
        **faust: Any,
    ) -> GlobalTable:
        """Declare a table that one agent writes and all read; see
        streams/engine/streams/global_table.py."""
        return GlobalTable(name, default=default, value_type=value_type, keys=keys, **faust)

    # --- beside the agents -------------------------------------------------------------------

    @property
    def background(self) -> tuple[BackgroundTask, ...]:
        return self._background

    def task(self, run: Run | None = None, *, on_leader: bool = False) -> Any:
        """Run the decorated coroutine function once in each worker process, at its start."""
        _check_leader("task", on_leader)
        return self._beside(run, {})

    def timer(self, interval: float | timedelta, *, on_leader: bool = False, name: str = "") -> Any:
        """Run it repeatedly, ``interval`` seconds after its last end."""
        _check_leader("timer", on_leader)
        if not isinstance(interval, int | float | timedelta):
            raise UsageError(
                f"@app.timer takes an interval in seconds, and {interval!r} is none: write "
                "@app.timer(10)."
            )
        seconds = interval.total_seconds() if isinstance(interval, timedelta) else float(interval)
        if seconds <= 0:
            raise UsageError(f"@app.timer({interval!r}): an interval must be more than 0 seconds.")
        return self._beside(None, {"interval_s": seconds, "name": name})

    def crontab(self, cron_format: str, *, timezone: Any = None, on_leader: bool = False) -> Any:
        """Run it at the minutes of a cron expression, in ``timezone`` (default UTC)."""
        _check_leader("crontab", on_leader)
        if not croniter.is_valid(cron_format):
            raise UsageError(f"@app.crontab({cron_format!r}) is no cron expression.")
        zone = str(timezone) if timezone is not None else "UTC"
        return self._beside(None, {"cron": cron_format, "timezone": zone})

    def _beside(self, run: Run | None, options: dict[str, Any]) -> Any:
        def register(run: Run) -> Run:
            called = options.pop("name", "") or getattr(run, "__name__", "")
            if not inspect.iscoroutinefunction(run):
                raise UsageError(f"task {called} is no `async def`.")
            takes_app = bool(inspect.signature(run).parameters)
            call = partial(run, self) if takes_app else run
            task = BackgroundTask(name=called, run=call, **options)
            self._background = (*self._background, task)
            return run

        return register if run is None else register(run)

    # --- Faust's words that dia does not have ------------------------------------------------

    def channel(self, *args: Any, **options: Any) -> NoReturn:
        raise UnsupportedByDia(
            "app.channel is not supported: its contents would be lost with the process. Use "
            "app.topic."
        )

    def stream(self, *args: Any, **options: Any) -> NoReturn:
        raise UnsupportedByDia(
            "app.stream is not supported: declare an agent with @app.agent(topic)."
        )

    def LiveCheck(self, *args: Any, **options: Any) -> NoReturn:  # noqa: N802
        raise UnsupportedByDia(
            "app.LiveCheck is not supported: use streams.testing, and `dia audit` on the running "
            "system."
        )


def _check_leader(word: str, on_leader: bool) -> None:
    if on_leader:
        raise UnsupportedByDia(
            f"@app.{word}(on_leader=True) is not supported: run it in every worker, or in a "
            "separate program."
        )


def _arrivals(app: _Declares, source: Topic, agent: str) -> Topic:
    return app.topic(
        f"{app.name}-{agent}-group_by",
        versions=source.versions,
        time_field=source.time_field,
        codec=source.codec,
        partitions=source.partitions,
        upcasters=source.upcasters,
    )


def _regroups(body: Body) -> bool:
    code = getattr(body, "__code__", None)
    return code is not None and "group_by" in code.co_names


_PASSED_OVER = frozenset({"help", "isolated_partitions", "supervisor_strategy", "key_type"})
"""ignored arguments of Faust's decorator"""


def _as_sink(sink: SinkOf) -> Sink:
    target: Target
    if isinstance(sink, StreamAgent):
        target = sink.source
    elif isinstance(sink, Topic):
        target = sink
    elif callable(sink):
        return sink
    else:
        raise UsageError(f"{sink!r} is no sink: give a topic, an agent, or a function.")

    def to_topic(value: Any) -> None:
        current.get().send(target, None, value)

    return to_topic
