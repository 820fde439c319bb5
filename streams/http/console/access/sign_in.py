"""Sign-in and sign-out: a token becomes a session whose cookie neither scripts nor other sites can
use."""

from __future__ import annotations

from html import escape
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from streams.connect.access.refusals import BadRequest, Unauthenticated
from streams.connect.access.tokens import Role
from streams.core.errors import RequestRefused, SignInProviderUnavailable
from streams.core.telemetry.http_metrics import ConsoleMetrics
from streams.http.console import parameters, reply
from streams.http.console.access.authorizer import CSRF_HEADER, Authorizer
from streams.http.console.access.sessions import LONGEST_S, Session

log = structlog.get_logger(__name__)

SIGN_IN = "/sign-in"
SIGNED_IN = "signed_in"
"""an outcome, as the codes of refusals are"""
_FIELDS_MAX = 10


class _SignIn(msgspec.Struct):
    token: str


class SignInHandler:
    """/session."""

    def __init__(self, gate: Authorizer, metrics: ConsoleMetrics) -> None:
        self._gate = gate
        self._sign_ins = metrics.sign_ins

    async def begin(self, request: Request) -> Response:
        """POST /session, from a form or from a script."""
        if request.headers.get("content-type", "").startswith("application/json"):
            asked = await parameters.body(request, _SignIn)
            return self._with_cookie(self._signed_in(request, asked.token), Response(None, 204))
        form = await _form(request)
        onward = local(form.get("next", "/"))
        try:
            name = self._signed_in(request, form.get("token", "").strip())
        except Unauthenticated:
            where = f"{SIGN_IN}?{urlencode({'refused': 1, 'next': onward})}"
            return RedirectResponse(where, 303)
        return self._with_cookie(name, RedirectResponse(onward, 303))

    async def show(self, request: Request) -> Response:
        """GET /session."""
        holder = self._gate.holder(request, Role.READ)
        token, session = holder.token, holder.session
        found: dict[str, Any] = {
            "token_id": token.id,
            "name": token.name,
            "role": token.role,
            "tenant": token.tenant,
        }
        if session is not None:
            left_s = self._gate.sessions.left_s(session)
            ends_ms = self._gate.clock.now_ms() + round(left_s * 1000)
            found |= {"csrf": session.csrf, "ends_ms": ends_ms}
        response = reply.json(request, found)
        response.headers["Cache-Control"] = "no-store"
        return response

    async def end(self, request: Request) -> Response:
        """POST /session/end. Without a session it does nothing."""
        session = self._gate.sessions.find(request.cookies.get(self._gate.cookie))
        response: Response = RedirectResponse(SIGN_IN, 303)
        if session is not None:
            shown = request.headers.get(CSRF_HEADER) or (await _form(request)).get("csrf")
            self._gate.prove(request, session, shown)
            self._gate.sign_out(request)
            if session.at_provider and (url := await self._sign_out_url(session)) is not None:
                response = onward_page(url)
        response.delete_cookie(self._gate.cookie, secure=self._gate.secure)
        return response

    def _signed_in(self, request: Request, token: str) -> str:
        try:
            name = self._gate.sign_in(request, token)
        except RequestRefused as error:
            self._sign_ins.labels("token", error.code).inc()
            raise
        self._sign_ins.labels("token", SIGNED_IN).inc()
        return name

    async def _sign_out_url(self, session: Session) -> str | None:
        """None where the provider has none, or does not answer: the session here is over already."""
        provider = self._gate.provider
        try:
            return await provider.sign_out_url(session.id_token or "") if provider else None
        except SignInProviderUnavailable as error:
            log.warning("provider_sign_out_skipped", why=str(error))
            return None

    def _with_cookie(self, name: str, response: Response) -> Response:
        return with_cookie(self._gate, name, response)


def onward_page(url: str) -> Response:
    """A page that goes to ``url`` at once. After a redirect from another site, browsers would not
    send a cookie that is SameSite=Strict; and a form may not be redirected to another site."""
    link = escape(url)
    return HTMLResponse(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>dia</title>'
        f'<meta http-equiv="refresh" content="0;url={link}"><p><a href="{link}">Continue</a></p>'
    )


def with_cookie(gate: Authorizer, name: str, response: Response) -> Response:
    response.set_cookie(
        gate.cookie,
        name,
        max_age=round(LONGEST_S),
        httponly=True,
        samesite="strict",
        secure=gate.secure,
    )
    return response


async def _form(request: Request) -> dict[str, str]:
    """The last value of each field. Raises `BadRequest`, `BodyTooLarge`."""
    try:
        text = (await parameters.raw_body(request)).decode()
        return {
            name: values[-1] for name, values in parse_qs(text, max_num_fields=_FIELDS_MAX).items()
        }
    except ValueError as error:
        raise BadRequest("the form cannot be read") from error


def local(path: str) -> str:
    """``path`` if it stays on this host; else the start page. Browsers read a backslash as a slash,
    and ``//host`` as another host."""
    try:
        parts = urlsplit(path)
    except ValueError:
        return "/"
    if parts.scheme or parts.netloc or not path.startswith("/") or path.startswith("//"):
        return "/"
    return path if path.isprintable() and "\\" not in path else "/"
