"""The ASGI application: routes and their handlers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, get_args

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streams.core.clock import Clock
from streams.core.telemetry.http_metrics import ConsoleMetrics
from streams.http.console import reply
from streams.http.console.access.authorizer import Authorizer
from streams.http.console.access.sign_in import SignInHandler
from streams.http.console.admin_handlers import CacheHandler, PolicyHandler
from streams.http.console.capacity.handler import CapacityHandler
from streams.http.console.catalog import CatalogHandler
from streams.http.console.compression import Compression
from streams.http.console.dead_letters.decisions import DecisionHandler
from streams.http.console.dead_letters.letters import DeadLetterHandler
from streams.http.console.dead_letters.plans import PlanHandler
from streams.http.console.history.history_handler import HistoryHandler
from streams.http.console.history.top_tenants import TopTenantsHandler
from streams.http.console.openapi import document as openapi
from streams.http.console.pipeline.overview import OverviewHandler
from streams.http.console.pipeline.pipeline import PipelineHandler
from streams.http.console.ranges import RangeHandler
from streams.http.console.ranking import RankingHandler
from streams.http.console.series import SeriesHandler
from streams.http.console.shedding import SheddingHandler
from streams.http.console.simulations import SimulationHandler
from streams.http.console.stored_data import StoredDataHandler
from streams.http.console.topics.handlers import TopicHandlers
from streams.http.console.training import TrainingHandler
from streams.http.console.views import ViewHandler
from streams.http.console.windows import WindowsHandler
from streams.http.region import ONE_REGION, PATH, RegionGate
from streams.operate.replay.journal.control import Word

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    # With "no-referrer" browsers send "Origin: null" with a form, as another site's page would.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


TLS_ONLY: Final = "max-age=31536000"


class SecurityHeaders:
    """ASGI middleware. A response without a cache policy gets no-store. ``secure``: HTTPS only, for
    a year."""

    def __init__(self, app: ASGIApp, *, secure: bool) -> None:
        self._app = app
        transport = {"Strict-Transport-Security": TLS_ONLY} if secure else {}
        self._headers = {**HEADERS, **transport}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, sending)


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """The handlers; pages use the same ones."""

    gate: Authorizer
    windows: WindowsHandler
    series: SeriesHandler
    ranges: RangeHandler
    ranking: RankingHandler
    catalog: CatalogHandler
    overview: OverviewHandler
    simulations: SimulationHandler
    training: TrainingHandler
    pipeline: PipelineHandler
    stored_data: StoredDataHandler
    capacity: CapacityHandler
    history: HistoryHandler
    top_tenants: TopTenantsHandler
    letters: DeadLetterHandler
    plans: PlanHandler
    decisions: DecisionHandler
    shedding: SheddingHandler
    logs: TopicHandlers
    caches: CacheHandler
    policies: PolicyHandler
    views: ViewHandler
    topics: Sequence[str]
    pages: Collection[str]
    """the optional pages of this app"""
    clock: Clock
    metrics: ConsoleMetrics
    region: RegionGate = ONE_REGION


Pages = Callable[[Console], Sequence[BaseRoute]]
UnknownPage = Callable[[Request], Response | None]
Lifespan = Callable[[Starlette], AbstractAsyncContextManager[Any]]


def console_app(
    console: Console,
    *,
    pages: Pages | None = None,
    added: Mapping[tuple[str, str], reply.Endpoint] | None = None,
    unknown: UnknownPage = lambda request: None,
    lifespan: Lifespan | None = None,
) -> Starlette:
    """``pages`` adds the HTML pages, ``added`` routes by method and path, ``unknown`` that of an unknown address; ``lifespan`` starts and
    stops the parts."""
    app = Starlette(
        routes=[
            *api_routes(console),
            *(_route(console, *at, endpoint) for at, endpoint in (added or {}).items()),
            *(pages(console) if pages is not None else ()),
        ],
        middleware=[
            Middleware(SecurityHeaders, secure=console.gate.secure),
            Middleware(Compression),
        ],
        exception_handlers={HTTPException: reply.teller_of_unknown(console.metrics, unknown)},
        lifespan=lifespan or _nothing_to_start,
    )
    # Behind a proxy that ends TLS, a redirect would name http://.
    app.router.redirect_slashes = False
    return app


def api_routes(console: Console) -> list[Route]:
    sign_in = SignInHandler(console.gate, console.metrics)

    async def describe(request: Request) -> Response:
        return reply.json(request, openapi.document(tuple(console.topics)))

    def route(method: str, path: str, endpoint: reply.Endpoint) -> Route:
        return _route(console, method, path, endpoint)

    return [
        route("POST", "/session", sign_in.begin),
        route("GET", "/session", sign_in.show),
        route("POST", "/session/end", sign_in.end),
        route("GET", "/overview", console.overview.show),
        route("GET", "/api/windows", console.windows.listed),
        route("GET", "/api/names", console.catalog.names),
        route("GET", "/api/tenants", console.catalog.tenants),
        route("GET", "/api/models", console.catalog.models),
        route("GET", "/api/metrics", console.catalog.metrics),
        route("GET", "/api/series", console.series.one),
        route("GET", "/api/range", console.ranges.many),
        route("GET", "/api/ranking", console.ranking.show),
        route("GET", "/api/simulations", console.simulations.listed),
        route("POST", "/api/simulations", console.simulations.ask),
        route("POST", "/api/simulations/cancel", console.simulations.cancel),
        route("GET", "/api/training", console.training.models),
        route("GET", "/api/pipeline", console.pipeline.show),
        route("GET", "/api/data", console.stored_data.show),
        route("GET", "/api/capacity", console.capacity.show),
        route("GET", "/api/capacity/forecast", console.capacity.forecast),
        route("GET", "/api/history", console.history.show),
        route("GET", "/api/tenants/top", console.top_tenants.show),
        route("GET", "/api/dlq/groups", console.letters.groups),
        route("GET", "/api/dlq/letters", console.letters.listed),
        route("GET", "/api/dlq/letter", console.letters.one),
        route("POST", "/api/dlq/decisions", console.decisions.decide),
        route("POST", "/api/dlq/plans", console.plans.make),
        route("GET", "/api/dlq/plans", console.plans.listed),
        route("GET", "/api/dlq/plans/{plan}", console.plans.show),
        route("POST", "/api/dlq/plans/{plan}/submit", console.plans.submit),
        *(
            route("POST", f"/api/dlq/plans/{{plan}}/{word}", console.plans.teller(word))
            for word in get_args(Word)
        ),
        route("GET", "/api/topics", console.logs.topics.listed),
        route("GET", "/api/topics/{topic}", console.logs.topics.one),
        route("GET", "/api/messages", console.logs.messages.listed),
        route("GET", "/api/message", console.logs.messages.one),
        route("POST", "/api/message/again", console.logs.messages.again),
        route("GET", "/api/trace", console.logs.traces.show),
        route("POST", "/api/shed/plan", console.shedding.plan),
        route("GET", "/api/shed/orders", console.shedding.listed),
        route("POST", "/api/shed/orders", console.shedding.order),
        route("POST", "/api/shed/withdraw", console.shedding.withdraw),
        route("POST", "/admin/cache/invalidate", console.caches.invalidate),
        route("POST", "/admin/policy/changed", console.policies.changed),
        route("GET", "/api/views", console.views.listed),
        route("POST", "/api/views", console.views.save),
        route("POST", "/api/views/delete", console.views.delete),
        route("GET", "/openapi.json", describe),
        route("GET", "/healthz", _health),
        Route(PATH, console.region.health, methods=["GET"]),
    ]


def _route(console: Console, method: str, path: str, endpoint: reply.Endpoint) -> Route:
    told = reply.told(endpoint, path, console.clock, console.metrics)
    return Route(path, told, methods=[method])


async def _health(request: Request) -> Response:
    return reply.json(request, {"ok": True})


@asynccontextmanager
async def _nothing_to_start(app: Starlette) -> AsyncIterator[None]:
    yield
