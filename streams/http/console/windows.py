"""Which windows a question is about, and GET /api/windows: those that the caller may see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from streams.connect.access.refusals import BadRequest, Forbidden
from streams.connect.access.tokens import Role
from streams.connect.sinks.window_views.view import WindowView, view_named
from streams.core.rows.window_figures import Dimension, Grain, WindowFigure
from streams.http.console import reply
from streams.http.console.access.authorizer import Authorizer, Principal
from streams.http.console.parameters import Parameters

FIGURES_MAX = 64
_EXACT_MAX: Final = (1 << 53) - 1
"""whole numbers up to here are doubles (RFC 8259, 6)"""


class AskedWindows(NamedTuple):
    """``tenant`` is "" for windows without one."""

    view: WindowView
    tenant: str

    @property
    def own(self) -> dict[str, Any]:
        """What every answer begins with."""
        return {"windows": self.view.name, **({"tenant": self.tenant} if self.view.tenant else {})}

    def key(self, chosen: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self.tenant, *chosen) if self.view.tenant else chosen

    def figures(self, given: Parameters) -> frozenset[str]:
        """Those that are asked for; none: all. Raises `BadRequest`, `UsageError`."""
        return self.view.wanted(given.names("figure", FIGURES_MAX))

    def span(self, given: Parameters, now_s: float) -> tuple[int, int, Grain]:
        """Start and end in seconds, and the table that is asked for; default the one for such a span.
        Raises `BadRequest`, `UsageError`."""
        start_s, stop_s = given.moment("from", "-1h", now_s), given.moment("to", "now", now_s)
        if stop_s <= start_s:
            raise BadRequest("from is not before to")
        table = given.optional("table")
        if table is None:
            return start_s, stop_s, self.view.grain_of(start_s, stop_s, now_s)
        return start_s, stop_s, self.view.grain_named(table)


@dataclass(eq=False)
class WindowsHandler:
    """A view whose key has no tenant covers every tenant: a bound token sees none of it."""

    _gate: Authorizer
    _views: Mapping[str, WindowView]

    async def listed(self, request: Request) -> Response:
        holder = self._gate.holder(request, Role.READ)
        seen = [one for one in self._views.values() if _open_to(one, holder)]
        return reply.json(request, {"windows": [_described(one) for one in seen]})

    def asked(self, given: Parameters, holder: Principal) -> AskedWindows:
        """By the parameter ``windows``; default the first that are declared. Raises `BadRequest`,
        `UsageError`, `Forbidden`."""
        view = view_named(self._views, given.optional("windows") or "")
        if not _open_to(view, holder):
            raise Forbidden(
                f"windows {view.name} cover every tenant, and this token is bound to one"
            )
        return AskedWindows(view, holder.tenant(given.tenant()) if view.tenant else "")

    @property
    def pages(self) -> tuple[str, ...]:
        """The page that shows windows, where there are any."""
        return ("explore",) if self._views else ()

    def tenants(self) -> list[WindowView]:
        return [one for one in self._views.values() if one.tenant]


def answered(value: Any) -> Any:
    """A value of a dimension as JSON; a text where a reader with doubles, such as a browser, would round it."""
    return str(value) if isinstance(value, int) and abs(value) > _EXACT_MAX else value


def values(dimension: Dimension, given: Parameters, at_most: int) -> tuple[Any, ...]:
    """Raises `BadRequest`, `UsageError`."""
    texts = given.names(dimension.name, at_most, dimension.chars_max)
    return tuple(dict.fromkeys(map(dimension.value, texts)))


def needed(dimension: Dimension, given: Parameters, at_most: int) -> tuple[Any, ...]:
    """As `values`, at least one."""
    found = values(dimension, given, at_most)
    if not found:
        raise BadRequest(f"the parameter {dimension.name} is missing")
    return found


def _open_to(view: WindowView, holder: Principal) -> bool:
    return view.tenant or holder.token.tenant is None


def _described(view: WindowView) -> dict[str, Any]:
    return {
        "name": view.name,
        "description": view.description,
        "tenant": view.tenant,
        "dimensions": [_dimension(one) for one in view.chosen],
        "tables": [{"name": one.table, "width_s": one.width_ms / 1000} for one in view.grains],
        "figures": [_figure(one) for one in view.figures],
        "charts": [one._asdict() for one in view.charts],
        "disjoint": view.disjoint,
        "heatmap": view.sketched,
        "ranked": view.ranked,
    }


def _dimension(one: Dimension) -> dict[str, Any]:
    return {"name": one.name, "column": one.column, "kind": one.kind.__name__}


def _figure(one: WindowFigure) -> dict[str, Any]:
    return {"name": one.name, "type": one.type, "merges": one.merge != "none"}
