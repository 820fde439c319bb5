"""The HTTP surface of the edge: routes, and the order of the checks of a request.

At degradation level 3, and in a region that is not active, every post gets the same 503. Otherwise: authentication (401; 429 after
too many wrong tokens), authorization (403), resource (404), media type (415), rate (429), size
(413, 429), events (202 all accepted, 207 some, 422 none, 403 all of another tenant)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streams.connect.access.attempts import Attempts
from streams.connect.access.authentication import Authenticator
from streams.connect.access.connections import client_site
from streams.connect.access.holds import HoldCheck
from streams.connect.access.problem import problem, refusal
from streams.connect.access.quotas import Costs, Quota, Quotas
from streams.connect.access.refusals import (
    BadRequest,
    BodyTimeout,
    Forbidden,
    NotStored,
    StorageUnavailable,
    Unauthenticated,
)
from streams.connect.access.tokens import AccessToken, Role
from streams.core.clock import Clock
from streams.core.degradation.degradation import Degradation
from streams.core.degradation.level import Level
from streams.core.errors import RequestRefused, TransientError
from streams.core.records.headers import TRACEPARENT
from streams.core.telemetry.http_metrics import EdgeMetrics
from streams.core.topics.topic import Topic
from streams.core.tracing.tracer import UNTRACED, Tracer
from streams.http.edge import body, openapi, splitting
from streams.http.edge.exchange import REJECTED_MAX, Receipt, Rejected
from streams.http.edge.metrics import metric_answers, metric_formats
from streams.http.edge.metrics.metric_intake import MetricIntake
from streams.http.edge.metrics.point_events import PointEvents
from streams.http.edge.validator import TENANT_MISMATCH, ValidationResult, Validator
from streams.http.region import ONE_REGION, PATH, RegionGate

log = structlog.get_logger(__name__)

Endpoint = Callable[[Request], Awaitable[Response]]
Run = Callable[[], Any]

KEY_CHARS_MAX = 128
NOTHING_KEPT = "no event can be stored now; send it again unchanged"
NOTHING_KEPT_RETRY_S = 15.0
"""Longer than a degradation level takes to fall after its cause ends."""
POINTS_RETRY_S = 5.0


class Results(Protocol):
    """Reads the results of simulations."""

    async def results(self, tenant: str, key: str) -> list[dict[str, Any]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """The parts behind the routes."""

    authenticator: Authenticator
    intake: Validator
    points: MetricIntake
    results: Results
    quotas: Quotas
    holds: HoldCheck
    attempts: Attempts
    room: body.BodyMemory
    clock: Clock
    metrics: EdgeMetrics
    degradation: Degradation
    body_bytes_max: int
    tracer: Tracer = UNTRACED
    behind_proxy: bool = False
    region: RegionGate = ONE_REGION

    def app(self, lifespan: Callable[[Starlette], Any] | None = None) -> Starlette:
        """``lifespan`` starts and stops its dependencies."""
        app = Starlette(
            routes=[
                self._route("POST", "/v1/events/{topic}", self.post_events),
                self._route("POST", "/v1/metrics", self.post_otlp, _otlp_refusal),
                self._route("POST", "/api/v1/write", self.post_remote_write, _write_refusal),
                self._route("GET", "/v1/simulations/{key:path}", self.simulation),
                Route("/healthz", self.health, methods=["GET"]),
                Route(PATH, self.region.health, methods=["GET"]),
                Route("/openapi.json", self.description, methods=["GET"]),
            ],
            exception_handlers={HTTPException: self._http_problem},
            lifespan=lifespan or _nothing_to_start,
        )
        # Behind a proxy that ends TLS, a redirect would name http:// and lose the body.
        app.router.redirect_slashes = False
        return app

    async def post_events(self, request: Request) -> Response:
        token = self._poster(request)
        source = self.intake.source(request.path_params["topic"])
        media, version = body.media_type(request), body.schema_version(request)
        owner = _owner(token)
        await self._take_request(owner)
        if token.tenant is not None and source.name in self.intake.requests:
            await self.holds.require(token.tenant)
        async with self._content(request, owner, source) as (content, _, traceparent):
            judging = self.intake.judging()
            try:
                with judging.cutting():
                    values = await splitting.events(content, media, judging)
                await self.quotas.take(owner, _costs(source, self.intake.requests, content, values))
                taken = await self.intake.take(source, values, token, judging, traceparent, version)
            finally:
                if judging.refused_us:
                    await self.quotas.charge(owner, {Quota.REFUSED_US: judging.refused_us})
            return _receipt(taken)

    async def post_otlp(self, request: Request) -> Response:
        made = await self._post_points(request, metric_formats.otlp_format)
        return metric_answers.exported(made, metric_formats.otlp_media(request))

    async def post_remote_write(self, request: Request) -> Response:
        return metric_answers.written(await self._post_points(request, metric_formats.write_format))

    async def _post_points(
        self, request: Request, format_of: Callable[[Request], metric_formats.Format]
    ) -> PointEvents:
        token = self._poster(request)
        source = self.points.source()
        found = format_of(request)
        owner = _owner(token)
        await self._take_request(owner)
        try:
            async with self._content(request, owner, source) as (content, held, traceparent):
                return await self.points.keep(
                    content,
                    found.encoding,
                    found.read,
                    owner=owner,
                    quotas=self.quotas,
                    token=token,
                    held=held,
                    traceparent=traceparent,
                )
        except BodyTimeout as error:
            # Senders of metrics repeat no request after 408.
            raise NotStored(str(error), retry_after_s=POINTS_RETRY_S) from error
        except TransientError as error:
            log.warning("edge_dependency_unavailable", code=error.code, why=str(error))
            raise NotStored(f"{error.code}: try again", retry_after_s=POINTS_RETRY_S) from error

    def _poster(self, request: Request) -> AccessToken:
        if self.degradation.level >= Level.MINIMAL:
            # The same response for every request: no lookup, no read, no check.
            raise StorageUnavailable(NOTHING_KEPT, retry_after_s=NOTHING_KEPT_RETRY_S)
        self.region.require()
        return self._holder(request, Role.OPERATE)

    async def _take_request(self, owner: str) -> None:
        await self.quotas.take(owner, {Quota.REQUESTS: 1, Quota.REFUSED_US: 1})

    @asynccontextmanager
    async def _content(
        self, request: Request, owner: str, source: Topic
    ) -> AsyncIterator[tuple[bytes, body.BodyReservation, bytes]]:
        """The body, its memory, and the trace that its events belong to."""
        declared = body.declared_bytes(request, self.body_bytes_max)
        caller = request.headers.get(TRACEPARENT, "").encode("latin-1")
        with (
            self.room.entered(owner) as held,
            self.tracer.taking(source.name, caller) as traceparent,
        ):
            held.expect(declared or 0)
            content = await body.read(request, declared or self.body_bytes_max, held)
            yield content, held, traceparent

    async def simulation(self, request: Request) -> Response:
        token = self._holder(request, Role.READ)
        tenant = _tenant(request, token)
        key = request.path_params["key"]
        if len(key) > KEY_CHARS_MAX:
            raise BadRequest(f"a key has at most {KEY_CHARS_MAX} characters")
        await self.quotas.take(_owner(token), {Quota.REQUESTS: 1})
        found = await self.results.results(tenant, key)
        if not found:
            return problem(404, "unknown_key", "no request with this key has a result yet")
        return _json({"tenant_id": tenant, "idempotency_key": key, "results": found})

    async def health(self, request: Request) -> Response:
        """Whether the edge accepts events, which topics are direct, and its degradation level."""
        lanes = self.intake.lanes.values()
        return _json(
            {
                "ok": self.degradation.level < Level.MINIMAL,
                "direct": {lane.topic: lane.direct for lane in lanes},
                "degradation": self.degradation.standing,
            }
        )

    async def description(self, request: Request) -> Response:
        # public, so it is encoded once
        content = openapi.encoded(tuple(self.intake.topics.values()), self.body_bytes_max)
        return Response(content, media_type="application/json")

    async def _http_problem(self, request: Request, error: Exception) -> Response:
        """Unknown paths and methods, counted as all responses."""
        assert isinstance(error, HTTPException)
        code = "method_not_allowed" if error.status_code == 405 else "unknown_resource"
        response = problem(
            error.status_code, code, f"there is no {request.method} {request.url.path} here"
        )
        response.headers.update(error.headers or {})
        self.metrics.requests.labels(code).inc()
        return response

    def _holder(self, request: Request, role: Role) -> AccessToken:
        shown = request.headers.get("authorization")
        try:
            token = self.authenticator.token_of(shown, self.clock.now_ms())
        except Unauthenticated:
            self.attempts.failed(client_site(request, behind_proxy=self.behind_proxy))
            raise
        if not token.allows(role):
            raise Forbidden(f"this needs the role {role.name.lower()}; the token is {token.role}")
        return token

    def _route(
        self,
        method: str,
        path: str,
        endpoint: Endpoint,
        refused: Callable[[RequestRefused, Request], Response] = lambda error, _: refusal(error),
    ) -> Route:
        """Converts errors to answers by ``refused``; counts and times every response."""
        seconds = self.metrics.seconds.labels(path.replace(":path", ""))

        async def answered(request: Request) -> Response:
            began_s = self.clock.monotonic()
            try:
                response = await endpoint(request)
                code = str(response.status_code)
            except RequestRefused as error:
                response, code = refused(error, request), error.code
            except TransientError as error:
                log.warning("edge_dependency_unavailable", code=error.code, why=str(error))
                response = problem(503, error.code, "try again later", retry_after_s=5.0)
                code = error.code
            self.metrics.requests.labels(code).inc()
            seconds.observe(self.clock.monotonic() - began_s)
            return response

        return Route(path, answered, methods=[method])


def _otlp_refusal(error: RequestRefused, request: Request) -> Response:
    return metric_answers.otlp_refusal(error, metric_formats.otlp_media(request))


def _write_refusal(error: RequestRefused, request: Request) -> Response:
    return metric_answers.write_refusal(error)


def _tenant(request: Request, token: AccessToken) -> str:
    """That of the token; a token of every tenant has to name one."""
    asked = request.query_params.get("tenant", token.tenant)
    if asked is None:
        raise BadRequest("this token is valid for every tenant: name one with ?tenant=...")
    if not asked:
        raise BadRequest("?tenant= is empty")
    if not token.speaks_for(asked):
        raise Forbidden("this token is not valid for that tenant")
    return asked


def _owner(token: AccessToken) -> str:
    """The owner of the request's quotas and memory: the tenant, whatever its token."""
    return f"token {token.id}" if token.tenant is None else f"tenant {token.tenant}"


def _costs(source: Topic, requests: Collection[str], content: bytes, values: list[bytes]) -> Costs:
    costs = {Quota.EVENTS: len(values), Quota.BYTES: len(content)}
    if source.name in requests:
        costs[Quota.SIMULATIONS] = len(values)
    return costs


def _receipt(taken: ValidationResult) -> Response:
    total = len(taken.bad)
    rejected = [Rejected(*found) for found in taken.bad[:REJECTED_MAX]]
    if taken.accepted:
        status = HTTPStatus.MULTI_STATUS if total else HTTPStatus.ACCEPTED
        receipt = Receipt(taken.accepted, taken.stored, rejected, total, taken.not_judged)
        return _json(receipt, status)
    foreign = all(found.code == TENANT_MISMATCH for found in taken.bad)
    status = HTTPStatus.FORBIDDEN if foreign else HTTPStatus.UNPROCESSABLE_ENTITY
    code = TENANT_MISMATCH if foreign else "no_event_accepted"
    detail = "no event was accepted"
    unjudged = {"not_judged": taken.not_judged} if taken.not_judged else {}
    return problem(status, code, detail, rejected=rejected, rejected_total=total, **unjudged)


def _json(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


@asynccontextmanager
async def _nothing_to_start(app: Starlette) -> AsyncIterator[None]:
    yield
