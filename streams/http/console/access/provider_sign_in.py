"""Sign-in at an OpenID provider: the authorization code flow with PKCE, in a browser.

What a sign-in began with (state, nonce, verifier) lies sealed in a cookie of that browser, so requests without
a token take no memory of the console, and an answer of another browser's sign-in is refused. A console that was
restarted opens no cookie of before: the person begins again."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlencode

import msgspec
import structlog
from cryptography.fernet import Fernet, InvalidToken
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from streams.connect.access.tokens import Role
from streams.connect.oidc.grants import granted, person
from streams.connect.oidc.provider import Identity, OidcProvider
from streams.connect.oidc.refused import AWAY, Refused, SignInRefused
from streams.core.errors import RequestRefused, SignInProviderUnavailable
from streams.core.telemetry.http_metrics import ConsoleMetrics
from streams.http.console import parameters
from streams.http.console.access.authorizer import Authorizer
from streams.http.console.access.sessions import HOST_ONLY
from streams.http.console.access.sign_in import (
    SIGN_IN,
    SIGNED_IN,
    local,
    onward_page,
    with_cookie,
)

log = structlog.get_logger(__name__)

COOKIE: Final = "dia_sign_in"
BEGUN_S: Final = 600
"""from the beginning of a sign-in to its answer"""
_CODE_CHARS_MAX: Final = 4096
_SECRET_BYTES: Final = 32
_ONWARD_BYTES_MAX: Final = 2000
"""With more the sealed cookie is longer than the 4096 bytes that browsers keep (RFC 6265, 6.1)."""
_CHOICE: Final = "choice_of_tenants"

ChoosePage = Callable[[Sequence[str], str], Response]
"""A page that offers tenants, and where the person goes then."""


class _Begun(msgspec.Struct, frozen=True):
    state: str
    nonce: str
    verifier: str
    onward: str
    tenant: str | None


class ProviderSignIn:
    """GET /session/oidc and the address that the provider sends the browser back to."""

    def __init__(
        self,
        gate: Authorizer,
        provider: OidcProvider,
        metrics: ConsoleMetrics,
        choose: ChoosePage,
    ) -> None:
        self._gate = gate
        self._provider = provider
        self._sign_ins = metrics.sign_ins
        self._choose = choose
        self._seal = Fernet(Fernet.generate_key())

    async def begin(self, request: Request) -> Response:
        """``tenant``: of several that the person may choose."""
        onward = _kept(local(request.query_params.get("next", "/")))
        tenant = parameters.Parameters(request).tenant()
        state, nonce, verifier = (secrets.token_urlsafe(_SECRET_BYTES) for _ in range(3))
        begun = _Begun(state, nonce, verifier, onward, tenant)
        try:
            url = await self._provider.sign_in_url(
                state=begun.state, nonce=begun.nonce, verifier=begun.verifier
            )
        except SignInProviderUnavailable as error:
            return self._refused(AWAY, str(error), onward)
        response = RedirectResponse(url, 303)
        now_s = self._gate.clock.now_ms() // 1000
        response.set_cookie(
            self._cookie,
            self._seal.encrypt_at_time(msgspec.json.encode(begun), now_s).decode(),
            max_age=BEGUN_S,
            httponly=True,
            # The answer comes from the provider's site, with which "strict" sends no cookie.
            samesite="lax",
            secure=self._gate.secure,
        )
        return response

    async def end(self, request: Request) -> Response:
        """The provider's answer: a session, a choice of tenants, or the sign-in page again."""
        try:
            response = await self._ended(request)
        except RequestRefused as error:
            self._count(error.code)
            raise
        response.delete_cookie(self._cookie, secure=self._gate.secure)
        return response

    async def _ended(self, request: Request) -> Response:
        self._gate.require_navigation(request)
        self._gate.require_attempts(request)
        begun = self._begun(request)
        onward = begun.onward if begun is not None else "/"
        try:
            return await self._answered(request, begun)
        except SignInRefused as error:
            self._gate.failed(request)
            return self._refused(error.why, str(error), onward)
        except SignInProviderUnavailable as error:
            return self._refused(AWAY, str(error), onward)

    async def _answered(self, request: Request, begun: _Begun | None) -> Response:
        if begun is None:
            raise SignInRefused(Refused.STATE)
        claims, id_token = await self._identity(request, begun)
        wanted = self._provider.wanted
        found = granted(claims, wanted.grants)
        tenant = begun.tenant
        if tenant is None and None not in found:
            if len(found) > 1:
                self._count(_CHOICE)
                return self._choose(sorted(one for one in found if one is not None), begun.onward)
            tenant = next(iter(found), None)
        role: Role | None = found.get(tenant)
        if role is None:
            raise SignInRefused(Refused.NO_GRANT)
        holder = person(claims, wanted, tenant, role, self._gate.clock.now_ms())
        name = self._gate.begin(request, holder, id_token=id_token, longest_s=wanted.session_s)
        self._count(SIGNED_IN)
        log.info("signed_in", token=holder.id, role=holder.role, token_tenant=holder.tenant)
        return with_cookie(self._gate, name, onward_page(begun.onward))

    async def _identity(self, request: Request, begun: _Begun) -> Identity:
        answer = request.query_params
        if not hmac.compare_digest(answer.get("state", "").encode(), begun.state.encode()):
            raise SignInRefused(Refused.STATE)
        await self._provider.check_issuer(answer.get("iss"))
        if "error" in answer:
            raise SignInRefused(Refused.PROVIDER)
        code = answer.get("code", "")
        if not 1 <= len(code) <= _CODE_CHARS_MAX:
            raise SignInRefused(Refused.CODE)
        return await self._provider.identity(code=code, verifier=begun.verifier, nonce=begun.nonce)

    def _begun(self, request: Request) -> _Begun | None:
        shown = request.cookies.get(self._cookie, "")
        now_s = self._gate.clock.now_ms() // 1000
        try:
            return msgspec.json.decode(
                self._seal.decrypt_at_time(shown.encode(), BEGUN_S, now_s), type=_Begun
            )
        except InvalidToken:
            return None

    @property
    def _cookie(self) -> str:
        return HOST_ONLY + COOKIE if self._gate.secure else COOKIE

    def _count(self, outcome: str) -> None:
        self._sign_ins.labels("provider", outcome).inc()

    def _refused(self, why: str, said: str, onward: str) -> Response:
        self._count(why)
        log.warning("sign_in_refused", reason=why, why=said)
        return RedirectResponse(f"{SIGN_IN}?{urlencode({'refused': why, 'next': onward})}", 303)


def _kept(onward: str) -> str:
    """Without its query, or the start page, where it is too long for the cookie."""
    for shorter in (onward, onward.partition("?")[0]):
        if len(msgspec.json.encode(shorter)) <= _ONWARD_BYTES_MAX:
            return shorter
    return "/"
