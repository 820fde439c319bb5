"""One declaration of `app.windows` as readers see it: the console's Explore and `dia query series`.

A *dimension* is a part of a window's key, a *figure* a number of a window, a *grain* one table of the
declaration: its windows, or those of a roll-up. A question names one value for each dimension, so its
answer is a series of *points* in time. Both kinds of `app.windows` have a view
(docs/protocols/console.md, "Windows of any app").
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from streams.connect.sinks.shard_maps import KnownMaps
from streams.core.errors import UsageError
from streams.core.rows.window_figures import Chart, Dimension, Grain, WindowFigure

Rows: TypeAlias = Sequence[Sequence[Any]]
Statement: TypeAlias = tuple[str, dict[str, Any]]
"""SQL and its parameters"""
POINTS_MAX: Final = 1500
"""of a series that is drawn"""


def seconds(ms: int) -> float:
    """A whole number where it is one."""
    return ms // 1000 if ms % 1000 == 0 else ms / 1000


class Question(NamedTuple):
    """``key``: a value for each dimension, in their order. A half-open range of window starts, and a
    step that is a multiple of the grain's width."""

    key: tuple[Any, ...]
    grain: Grain
    start_s: int
    stop_s: int
    step_ms: int


class WindowPoints(NamedTuple):
    """``columns``: ``t`` (start in seconds since the epoch, ascending) and figures by name; None: unknown.
    Of a ranking: its names, in place of ``t``. ``sketches``: (t, codes, counts) of each point, where they were asked for."""

    columns: Mapping[str, Sequence[Any]]
    sketches: Rows = ()

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        return [*zip(*self.columns.values(), strict=True)]


class WindowReading(Protocol):
    """One question to the shards that may have rows of it."""

    @property
    def owner(self) -> str:
        """The tenant whose share of the shards it takes; "": of all."""
        ...

    def asked(self, known: KnownMaps) -> list[tuple[int, Statement]]: ...

    def points(self, found: Sequence[Rows]) -> WindowPoints:
        """From the rows of each shard, in the order of `asked`."""
        ...


@dataclass(frozen=True, kw_only=True)
class WindowView(ABC):
    """``tenant``: whether the first dimension is the tenant. ``disjoint``: no record is in two windows of a key,
    so a step may be longer than a window. ``sketched``: points have sketches of values. ``ranked``: `ranking` answers."""

    name: str
    description: str
    dimensions: tuple[Dimension, ...]
    tenant: bool
    grains: tuple[Grain, ...]
    figures: tuple[WindowFigure, ...]
    charts: tuple[Chart, ...]
    disjoint: bool = True
    sketched: bool = False
    ranked: bool = False

    @property
    def chosen(self) -> tuple[Dimension, ...]:
        """The dimensions that a question chooses: all but the tenant."""
        return self.dimensions[1:] if self.tenant else self.dimensions

    def wanted(self, names: Iterable[str]) -> frozenset[str]:
        """Raises `UsageError` for a name that is no figure."""
        found, known = frozenset(names), [one.name for one in self.figures]
        for name in found.difference(known):
            raise UsageError(
                f"windows {self.name} have the figures {', '.join(known)}, not {name!r}."
            )
        return found

    def key_of(self, given: Mapping[str, str]) -> tuple[Any, ...]:
        """From a text for each dimension, by name. Raises `UsageError` for one that is missing or unknown."""
        known = [one.name for one in self.dimensions]
        missing = [name for name in known if name not in given]
        unknown = [name for name in given if name not in known]
        if missing or unknown:
            raise UsageError(
                f"the key of windows {self.name} is {', '.join(known)}: "
                + "; ".join(
                    [
                        *(f"{name} is missing" for name in missing),
                        *(f"{name} is not one of them" for name in unknown),
                    ]
                )
                + ". Give --tenant, and --key NAME=VALUE for each other one."
            )
        return tuple(one.value(given[one.name]) for one in self.dimensions)

    def grain_of(self, start_s: int, stop_s: int, now_s: float) -> Grain:
        """The first for a range of this length that still has its beginning; else the last."""
        range_s, age_s = stop_s - start_s, now_s - start_s
        fitting = (one for one in self.grains if range_s <= one.range_s and age_s <= one.kept_s)
        return next(fitting, self.grains[-1])

    def grain_named(self, table: str) -> Grain:
        """Raises `UsageError`."""
        for one in self.grains:
            if one.table == table:
                return one
        raise UsageError(f"table is one of {', '.join(one.table for one in self.grains)}")

    @abstractmethod
    def grain_for(self, start_s: int, stop_s: int, step_ms: int, now_s: float) -> Grain:
        """The table that has this range in this step. Raises `UsageError`, also for a range that is empty or
        has too many steps."""

    def figures_in(
        self, grain: Grain, step_ms: int, asked: frozenset[str] = frozenset()
    ) -> tuple[WindowFigure, ...]:
        """Those of ``asked`` (none: all) that a step of this length has. Raises `UsageError` for a step that joins
        windows which overlap, and where no figure is left."""
        wanted = tuple(one for one in self.figures if not asked or one.name in asked)
        if step_ms == grain.width_ms:
            return wanted
        if not self.disjoint:
            raise UsageError(
                f"windows {self.name} overlap, or end at any time, so a longer step would count twice: leave step "
                "out, or choose a shorter range"
            )
        found = tuple(one for one in wanted if one.merge != "none")
        if not found:
            raise UsageError(
                f"{', '.join(one.name for one in wanted)} of several windows cannot be made from those of each: "
                f"choose a step of {' or '.join(f'{one.width_ms / 1000:g} s' for one in self.grains)}"
            )
        return found

    def left_out(self, shown: Iterable[WindowFigure], asked: frozenset[str]) -> tuple[str, ...]:
        """Names of ``asked`` (none: all) that are not among ``shown``, those of `figures_in`."""
        there = {one.name for one in shown}
        wanted = (one.name for one in self.figures if not asked or one.name in asked)
        return tuple(name for name in wanted if name not in there)

    @abstractmethod
    def reading(
        self, question: Question, figures: Sequence[WindowFigure], *, sketches: bool = False
    ) -> WindowReading: ...

    def ranking(self, question: Question, of: str) -> WindowReading:
        """A row for each value of the dimension ``of``, over the whole range; what the key has for it does not matter.
        Raises `UsageError` for windows without a ranking."""
        raise UsageError(f"windows {self.name} have no ranking: only those with late='reopen' do.")

    @abstractmethod
    def names(self, at: int, given: Mapping[int, Sequence[Any]], limit: int) -> Statement:
        """Distinct values of the dimension number ``at``, where those of ``given`` have one of these
        values; none are given: any."""


def view_named(views: Mapping[str, WindowView], name: str) -> WindowView:
    """``name`` "": the first. Raises `UsageError`."""
    found = views.get(name) if name else next(iter(views.values()), None)
    if found is not None:
        return found
    if not views:
        raise UsageError("this app declares no windows with app.windows, so there is none to read.")
    raise UsageError(f"no windows {name!r}. Declared are: {', '.join(views)}.")
