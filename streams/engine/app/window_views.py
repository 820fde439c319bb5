"""The windows of an app, as the console's Explore and `dia query series` read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streams.connect.sinks.moved_rows import by_key
from streams.connect.sinks.series import DAY_S
from streams.connect.sinks.window_views.aggregated_view import AggregatedView
from streams.connect.sinks.window_views.series_view import series_view
from streams.connect.sinks.window_views.view import POINTS_MAX, WindowView
from streams.core.rows.window_figures import (
    FOREVER_S,
    Chart,
    Dimension,
    Form,
    Grain,
    WindowFigure,
    outward,
)
from streams.core.settings import Settings
from streams.core.topics.topic import TENANT_FIELD
from streams.engine.agents.series_agent import SeriesAgent
from streams.engine.agents.window_agent import windows_of
from streams.engine.app.app import App
from streams.engine.streams.window_aggregates import AggregatedWindows


def window_views(app: App, settings: Settings) -> Mapping[str, WindowView]:
    """By name: those that late records reopen first, then in the order of their declaration."""
    agents = app.agents.values()
    found: dict[str, WindowView] = {}
    if any(isinstance(agent, SeriesAgent) for agent in agents):
        made = series_view(settings.m1_retention_days)
        found[made.name] = made
    for agent in agents:
        every = windows_of(agent)
        for one in every:
            if not one.longer_than:
                longer = (other for other in every if other.longer_than == one.name)
                found[one.name] = _view((one, *longer))
    return found


def _view(family: Sequence[AggregatedWindows]) -> WindowView:
    declared = family[0]
    by = sorted(declared.by, key=lambda name: name != TENANT_FIELD)
    figures: dict[str, tuple[str, WindowFigure]] = {}
    charts = []
    for name, aggregate in declared.fold.items():
        own = []
        for column, kind in aggregate.columns(name, declared.types).items():
            own.append(WindowFigure(outward(column, "fold"), kind, aggregate.merge))
            figures[own[-1].name] = (column, own[-1])
        drawn = tuple(one.name for one in own if one.is_number)
        if drawn:
            form: Form = "bars" if aggregate.counts else "lines"
            charts.append(Chart(name, name, form, drawn, aggregate.accuracy))
    return AggregatedView(
        name=declared.name,
        description=declared.description,
        dimensions=tuple(_dimension(declared, name) for name in by),
        tenant=by[0] == TENANT_FIELD,
        grains=tuple(map(_grain, sorted(family, key=lambda one: one.size_ms))),
        figures=tuple(figure for _, figure in figures.values()),
        charts=tuple(charts),
        disjoint=bool(declared.size_ms) and declared.step_ms == declared.size_ms,
        columns={name: column for name, (column, _) in figures.items()},
        key=tuple(map(by.index, declared.by)),
        placement=by_key(declared.table),
    )


def _dimension(declared: AggregatedWindows, name: str) -> Dimension:
    shown = "tenant" if name == TENANT_FIELD else outward(name, "by")
    return Dimension(name, shown, declared.types[name].kind)


def _grain(windows: AggregatedWindows) -> Grain:
    # A session of a key follows the one before by its gap at least.
    width_ms = windows.step_ms or windows.gap_ms
    kept_s = FOREVER_S if windows.ttl_days is None else windows.ttl_days * DAY_S
    return Grain(windows.name, width_ms, width_ms * POINTS_MAX // 1000, kept_s)
