"""The part of `App` that declares windows with aggregators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol, overload

from streams.core.errors import UsageError
from streams.core.rows.clickhouse_table import ClickHouseTable
from streams.core.topics.topic import Topic, given_topic
from streams.engine.agents.agent import AgentSpec
from streams.engine.agents.series_agent import SeriesAgent, series_agent
from streams.engine.agents.window_agent import WindowAgent, window_agent
from streams.engine.aggregates.aggregate import Aggregate
from streams.engine.streams.series_windows import Series, SeriesWindows, check_tables
from streams.engine.streams.window_aggregates import AggregatedWindows, Late, OnClose, Span, span_ms

_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms"))
"""milliseconds and name, longest first"""


class _Declares(Protocol):
    """The other parts of `App`."""

    _agents: dict[str, Any]

    @property
    def group(self) -> str: ...

    def check_agent(self, agent: Any) -> None: ...

    def check_target_name(self, name: str) -> None: ...

    def add_clickhouse_table(self, declared: ClickHouseTable) -> None: ...


class WindowDeclarations:
    @overload
    def windows(
        self: _Declares,
        name: str,
        *,
        of: Topic,
        by: Sequence[str],
        fold: Mapping[str, Aggregate],
        size: Span = 0,
        step: Span = 0,
        gap: Span = 0,
        roll_ups: Sequence[Span] = (),
        grace: Span = 60.0,
        late: Late = "dead_letter",
        keys: Literal["record", "any"] = "record",
        on_window_close: OnClose | None = None,
        ids: str = "",
        ttl_days: int | None = None,
        group: str | None = None,
        description: str = "",
    ) -> AggregatedWindows: ...

    @overload
    def windows(
        self: _Declares,
        name: str,
        *,
        of: Topic,
        by: Sequence[str],
        fold: Series,
        size: Span,
        roll_ups: Sequence[Span],
        late: Literal["reopen"],
        ids: str,
        group: str | None = None,
        agent: str | None = None,
    ) -> AgentSpec: ...

    def windows(
        self: _Declares,
        name: str,
        *,
        of: Topic,
        fold: Mapping[str, Aggregate] | Series,
        late: Late | Literal["reopen"] = "dead_letter",
        **options: Any,
    ) -> AggregatedWindows | AgentSpec:
        """Declare windows of the events of ``of``; their rows are the ClickHouse table ``name``.

        ``by``: the fields of a window's key. ``fold``: aggregators by column name. ``size``,
        ``step``: a window of ``size`` begins every ``step``, default ``size``; ``gap`` instead of
        both: sessions. Times are seconds, timedeltas or text like "5m".

        ``roll_ups``: longer tumbling windows, multiples of ``size``, with the same aggregators;
        "1h" and "1d" of windows ``sales`` are the tables ``sales_1h`` and ``sales_1d``.

        A window closes once the watermark, the highest event time of its partition, has passed its
        end by ``grace``. ``late``: a later record becomes a dead letter `window_closed`, or is
        dropped and counted. ``on_window_close``: a plain function, called once for each closed
        window; its sends with `Topic.send_soon` are in the same transaction.

        ``keys`` "any": ``by`` need not have the topic's key field, and a key has a row for each
        partition. ``ids``: the field that identifies an event. A repeat within `DIA_DEDUPE_TTL_S`
        counts once; one with another payload is a dead letter `idempotency_conflict`. All windows
        of a topic have the same ``ids``. ``ttl_days``: how long ClickHouse keeps rows.

        ``late="reopen"``: a late record opens its window again, and rows of one window add up. Then
        ``fold`` is a `Series`, and the tables are the minutes m1, the hours h1 and the days d1, whose
        grace is the setting DIA_GRACE_S (streams/engine/streams/series_windows.py). An app has
        one such declaration; ``agent`` is the name of its agent, which is returned.

        All windows of a topic are one agent, ``{topic}-windows``. Raises `UsageError`.
        """
        given_topic("app.windows", of)
        if isinstance(fold, Series) and late == "reopen":
            return _windows_that_reopen(self, name, of, fold, **options)
        if isinstance(fold, Series) or late == "reopen":
            raise UsageError(
                f"windows {name!r}: late='reopen' and fold=Series(...) belong together. Give both, "
                "or aggregators with late='dead_letter' or 'drop'."
            )
        return _windows(self, name, of, fold, late, **options)


def _windows(
    app: _Declares,
    name: str,
    topic: Topic,
    fold: Mapping[str, Aggregate],
    late: Late,
    *,
    by: Sequence[str],
    size: Span = 0,
    step: Span = 0,
    gap: Span = 0,
    roll_ups: Sequence[Span] = (),
    grace: Span = 60.0,
    keys: Literal["record", "any"] = "record",
    on_window_close: OnClose | None = None,
    ids: str = "",
    ttl_days: int | None = None,
    group: str | None = None,
    description: str = "",
) -> AggregatedWindows:
    size_ms = span_ms("size", size)
    declared = AggregatedWindows(
        name=name,
        topic=topic,
        by=_fields(by),
        fold=dict(fold),
        size_ms=size_ms,
        step_ms=span_ms("step", step) or size_ms,
        gap_ms=span_ms("gap", gap),
        grace_ms=span_ms("grace", grace),
        late=late,
        keys=keys,
        on_window_close=on_window_close,
        ids=ids,
        ttl_days=ttl_days,
        description=description,
    )
    every = (declared, *_longer(declared, [span_ms("roll_ups", one) for one in roll_ups]))
    agent = _agent_with(app, every, group)
    for one in every:
        app.check_target_name(one.name)
    for one in every:
        app.add_clickhouse_table(one.table)
    app._agents[agent.name] = agent  # noqa: SLF001 - the class it is mixed into
    return declared


def _windows_that_reopen(
    app: _Declares,
    name: str,
    topic: Topic,
    fold: Series,
    *,
    by: Sequence[str],
    size: Span = 0,
    roll_ups: Sequence[Span] = (),
    ids: str = "",
    group: str | None = None,
    agent: str | None = None,
    **more: Any,
) -> AgentSpec:
    if more:
        raise UsageError(
            f"windows {name!r}: windows with late='reopen' take no {min(more)}. Their grace is "
            "DIA_GRACE_S, and what ClickHouse keeps of m1, h1 and d1 is a setting, too."
        )
    check_tables(name, span_ms("size", size), [span_ms("roll_ups", one) for one in roll_ups])
    agents = app._agents  # noqa: SLF001 - the class it is mixed into
    for other in agents.values():
        if isinstance(other, SeriesAgent):
            raise UsageError(
                f"windows of {topic.name}: their tables have the windows of {other.source.name} "
                "already. Send these events to that topic, or use late='dead_letter' or 'drop'."
            )
    series = SeriesWindows(topic=topic, by=_fields(by), value=fold.field, ids=ids)
    made = series_agent(agent or f"{topic.name}-windows", group or app.group, series)
    app.check_agent(made)
    agents[made.name] = made
    return made


def _fields(by: Sequence[str]) -> tuple[str, ...]:
    return (by,) if isinstance(by, str) else tuple(by)


def _longer(declared: AggregatedWindows, sizes_ms: Sequence[int]) -> Iterator[AggregatedWindows]:
    """Windows of other sizes over the same records. Each has its own states; no row is read
    back."""
    if sizes_ms and (declared.gap_ms or declared.step_ms != declared.size_ms):
        raise UsageError(
            f"windows {declared.name!r}: only tumbling windows have roll_ups. Declare longer "
            "windows under another name."
        )
    for size_ms in sizes_ms:
        if size_ms <= declared.size_ms or size_ms % declared.size_ms or sizes_ms.count(size_ms) > 1:
            raise UsageError(
                f"windows {declared.name!r}: roll_ups must be different multiples of their size, "
                f"{declared.size_ms / 1000:g} s; {size_ms / 1000:g} s is not."
            )
        unit_ms, unit = next(one for one in _UNITS if size_ms % one[0] == 0)
        yield replace(
            declared,
            name=f"{declared.name}_{size_ms // unit_ms}{unit}",
            size_ms=size_ms,
            step_ms=size_ms,
            on_window_close=None,
            description=f"{declared.name} in longer windows. {declared.description}".strip(),
            longer_than=declared.name,
        )


def _agent_with(
    app: _Declares, declared: tuple[AggregatedWindows, ...], group: str | None
) -> WindowAgent:
    topic = declared[0].topic
    name = f"{topic.name}-windows"
    before = app._agents.get(name)  # noqa: SLF001 - the class it is mixed into
    if not isinstance(before, WindowAgent) or before.source is not topic:
        agent = window_agent(name, topic, group or app.group, declared)
        app.check_agent(agent)
        return agent
    if group not in (None, before.group):
        raise UsageError(
            f"windows {declared[0].name!r}: the other windows of {topic.name} are in group "
            f"{before.group}."
        )
    return window_agent(name, topic, before.group, (*before.windows, *declared))
