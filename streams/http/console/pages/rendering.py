"""The pages and their addresses. A visitor without a session is redirected to the sign-in page and
back."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import jinja2
from cachetools import LRUCache
from markupsafe import escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from streams.connect.access.tokens import AccessToken, Role
from streams.connect.oidc.configuration import BEGIN, CALLBACK
from streams.core.process.version import app_version
from streams.http.console import reply
from streams.http.console.access.sign_in import with_cookie
from streams.http.console.app import Console
from streams.http.console.pages.bundle import Bundle
from streams.http.console.pages.live import Live
from streams.http.console.pages.sign_in_texts import REFUSALS, WRONG_ENTRY


@dataclass(frozen=True, slots=True)
class ConsolePage:
    """``name`` is that of its template and module; ``key`` is the shortcut after ``g``. ``chosen``:
    only where the app requests it (`App.pages`) or declares what it shows, because it needs tables of that app. ``everyone``:
    its figures cover every tenant, so only admins of every tenant see it."""

    path: str
    name: str
    title: str
    key: str
    chosen: bool = False
    everyone: bool = False

    def open_to(self, token: AccessToken) -> bool:
        return not self.everyone or (token.tenant is None and token.allows(Role.ADMIN))


PAGES = (
    ConsolePage("/", "overview", "Overview", "o"),
    ConsolePage("/explore", "explore", "Explore", "e", chosen=True),
    ConsolePage("/messages", "messages", "Messages", "m"),
    ConsolePage("/trace", "trace", "Trace", "f"),
    ConsolePage("/dead-letters", "letters", "Dead letters", "l"),
    ConsolePage("/decisions", "decisions", "Decisions", "d", chosen=True),
    ConsolePage("/training", "training", "Training", "t", chosen=True),
    ConsolePage("/pipeline", "pipeline", "Pipeline", "p", everyone=True),
    ConsolePage("/data", "data", "Data", "s", everyone=True),
    ConsolePage("/capacity", "capacity", "Capacity", "c", everyone=True),
    # Only of a console that a demo runs: no app chooses it.
    ConsolePage("/demo", "demo", "Demo", "x", chosen=True, everyone=True),
)


def pages_of(chosen: Collection[str]) -> tuple[ConsolePage, ...]:
    """In the order of the navigation."""
    return tuple(page for page in PAGES if not page.chosen or page.name in chosen)


TEMPLATES = Path(__file__).parent / "templates"


def routes(console: Console) -> list[BaseRoute]:
    bundle, live = _bundle(), Live(console)
    show = _Shown(console, bundle)

    def route(path: str, endpoint: reply.Endpoint) -> Route:
        return Route(path, reply.told(endpoint, path, console.clock, console.metrics))

    return [
        *(route(page.path, show.page(page)) for page in pages_of(console.pages)),
        route("/sign-in", show.sign_in),
        *(route(path, endpoint) for path, endpoint in _at_provider(console, show).items()),
        route("/static/{digest}/{name:path}", bundle.answer),
        route("/live/overview", live.overview),
        route("/live/pipeline", live.pipeline),
        route("/live/plans/{plan}", live.plan),
        route("/live/messages", live.messages),
    ]


def _at_provider(console: Console, show: _Shown) -> dict[str, reply.Endpoint]:
    """Routes of the sign-in at a provider; none without one."""
    provider = console.gate.provider
    if provider is None:
        return {}
    from streams.http.console.access.provider_sign_in import ProviderSignIn

    sign_in = ProviderSignIn(console.gate, provider, console.metrics, show.tenants)
    return {BEGIN: sign_in.begin, CALLBACK: sign_in.end}


@cache
def _bundle() -> Bundle:
    """Static files do not change in a running console."""
    return Bundle()


def unknown_page(request: Request) -> Response | None:
    """The page of an unknown address; None for programs."""
    if request.method != "GET" or "text/html" not in request.headers.get("accept", ""):
        return None
    template = _templates(_bundle()).get_template("unknown.html")
    return HTMLResponse(template.render(path=request.scope["path"][:200]), 404)


def _templates(bundle: Bundle) -> jinja2.Environment:
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        # Templates do not change in a running console.
        auto_reload=False,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals.update(static=bundle.path)
    return found


RENDERED_MAX: Final = 256
"""pages, by role and tenant"""


class _Shown:
    def __init__(self, console: Console, bundle: Bundle) -> None:
        self._console = console
        self._rendered: LRUCache[tuple[str, str, str | None], list[bytes]] = LRUCache(RENDERED_MAX)
        self._pages = pages_of(console.pages)
        self._templates = _templates(bundle)
        self._templates.globals.update(
            version=app_version(),
            topics=console.topics,
        )

    def page(self, page: ConsolePage) -> reply.Endpoint:
        async def shown(request: Request) -> Response:
            holder = self._console.gate.visitor(request)
            if holder is None:
                asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
                return RedirectResponse(f"/sign-in?{urlencode({'next': asked})}", 303)
            open_ = page.open_to(holder.token)
            csrf = holder.session.csrf if holder.session else ""
            body = escape(csrf).encode().join(self._parts(page, holder.token))
            response = HTMLResponse(body, 200 if open_ else 403)
            name = self._console.gate.renewed(request) if holder.session else None
            return response if name is None else with_cookie(self._console.gate, name, response)

        return shown

    def _parts(self, page: ConsolePage, token: AccessToken) -> list[bytes]:
        """The page as role and tenant see it, cut where a session's CSRF token stands: it is all that differs
        between two sessions."""
        about = page.name, token.role, token.tenant
        parts = self._rendered.get(about)
        if parts is None:
            place = secrets.token_hex(16)
            name = page.name if page.open_to(token) else "refused"
            html = self._templates.get_template(f"{name}.html").render(
                page=page,
                pages=[one for one in self._pages if one.open_to(token)],
                token={"role": token.role, "tenant": token.tenant},
                csrf=place,
            )
            parts = self._rendered[about] = html.encode().split(place.encode())
        return parts

    async def sign_in(self, request: Request) -> Response:
        """The form that `POST /session` takes."""
        query = request.query_params
        template = self._templates.get_template("sign-in.html")
        refused = query.get("refused")
        onward = query.get("next", "/")
        at_provider = self._console.gate.provider is not None
        html = template.render(
            next=onward,
            refused=None if refused is None else REFUSALS.get(refused, WRONG_ENTRY),
            provider=f"{BEGIN}?{urlencode({'next': onward})}" if at_provider else None,
        )
        return HTMLResponse(html, 200 if refused is None else 401)

    def tenants(self, tenants: Sequence[str], onward: str) -> Response:
        """The choice of a person with grants in several tenants."""
        links = [(one, f"{BEGIN}?{urlencode({'tenant': one, 'next': onward})}") for one in tenants]
        return HTMLResponse(self._templates.get_template("tenants.html").render(links=links))
