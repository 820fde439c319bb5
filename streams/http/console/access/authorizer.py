"""Authenticates and authorizes a request by the token header or a browser session.

Browsers send cookies with cross-site requests. So an unsafe request of a session must carry its
CSRF token, which only the console's pages can read, and an Origin, if present, of this site."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from starlette.requests import Request

from streams.connect.access.attempts import Attempts
from streams.connect.access.authentication import Authenticator
from streams.connect.access.connections import client_site
from streams.connect.access.refusals import BadRequest, CrossSite, Forbidden, Unauthenticated
from streams.connect.access.request_rate import RequestRate
from streams.connect.access.tokens import AccessToken, Credential, Role
from streams.core.clock import Clock
from streams.http.console.access.sessions import (
    COOKIE,
    HOST_ONLY,
    LONGEST_S,
    Session,
    SessionStore,
)

if TYPE_CHECKING:
    from streams.connect.oidc.provider import OidcProvider

CSRF_HEADER = "x-csrf-token"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Principal(NamedTuple):
    """``session`` for a browser with a cookie."""

    token: AccessToken
    session: Session | None = None

    @property
    def owner(self) -> str:
        """The owner of the caller's bounded resources."""
        return self.token.owner

    @property
    def actor(self) -> str:
        """The name in the records of decisions."""
        at_provider = self.session is not None and self.session.at_provider
        return self.token.id if at_provider else f"token-{self.token.id}"

    def tenant(self, asked: str | None) -> str:
        """A bound token's own tenant; a token of every tenant has to name one. Raises `BadRequest`,
        `Forbidden`."""
        found = self.token.tenant if asked is None else asked
        if not found:
            raise BadRequest("this token is valid for every tenant: name one with tenant=...")
        if not self.token.speaks_for(found):
            raise Forbidden("this token is not valid for that tenant")
        return found

    def require_everyone(self) -> None:
        """Raises `Forbidden` for a token that is bound to a tenant."""
        if self.token.tenant is not None:
            raise Forbidden("this needs an admin token that is bound to no tenant")


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorizer:
    """``rate`` limits requests, ``sign_ins`` new sessions of a token. ``provider``: where people
    sign in without a token. ``secure``: browsers use TLS. ``behind_proxy``: a proxy names the
    client."""

    authenticator: Authenticator
    attempts: Attempts
    sessions: SessionStore
    clock: Clock
    rate: RequestRate
    sign_ins: RequestRate
    provider: OidcProvider | None = None
    secure: bool = False
    behind_proxy: bool = False

    @property
    def cookie(self) -> str:
        return HOST_ONLY + COOKIE if self.secure else COOKIE

    def holder(self, request: Request, role: Role) -> Principal:
        """Raises `Unauthenticated`, `Forbidden`, `CrossSite`, `RateLimited`."""
        holder = self._known(request)
        if not holder.token.allows(role):
            raise Forbidden(
                f"this needs the role {role.name.lower()}; the token is {holder.token.role}"
            )
        self.rate.take(holder.token.id)
        return holder

    def visitor(self, request: Request) -> Principal | None:
        """None when not signed in."""
        try:
            return self.holder(request, Role.READ)
        except Unauthenticated:
            return None

    def sign_in(self, request: Request, text: str) -> str:
        """Begin a session and end the browser's earlier one; returns the cookie's value. Raises
        `Unauthenticated`, `CrossSite`, `RateLimited`."""
        self.require_ours(request)
        shown = Credential.read(text)
        site, token_id = self._site(request), shown.id if shown is not None else ""
        self.attempts.require(site, token_id)
        try:
            token = self.authenticator.token_of(f"Bearer {text}", self.clock.now_ms())
        except Unauthenticated:
            self.attempts.failed(site, token_id)
            raise
        return self.begin(request, token)

    def begin(
        self,
        request: Request,
        token: AccessToken,
        *,
        id_token: str | None = None,
        longest_s: float = LONGEST_S,
    ) -> str:
        """As `sign_in`, of a holder whose proof is already checked."""
        self.sign_ins.take(token.id)
        self.sign_out(request)
        return self.sessions.begin(token, id_token=id_token, longest_s=longest_s)

    def require_attempts(self, request: Request) -> None:
        """Raises `TooManyAttempts` when this address has none left."""
        self.attempts.require(self._site(request), "")

    def failed(self, request: Request) -> None:
        """Raises `TooManyAttempts` at the first failure beyond the bound."""
        self.attempts.failed(self._site(request))

    def sign_out(self, request: Request) -> None:
        self.sessions.end(request.cookies.get(self.cookie))

    def renewed(self, request: Request) -> str | None:
        """A new value of the cookie, when rotation is due."""
        name = request.cookies.get(self.cookie)
        return None if name is None else self.sessions.renewed(name)

    def require_ours(self, request: Request) -> None:
        """Raises `CrossSite` for another site's page, and `BadRequest` for an invalid origin."""
        site = request.headers.get("sec-fetch-site", "same-origin")
        origin = request.headers.get("origin")
        try:
            elsewhere = origin is not None and urlsplit(origin).netloc != request.headers.get(
                "host"
            )
        except ValueError:
            raise BadRequest("the header Origin is invalid") from None
        if site not in ("same-origin", "none") or elsewhere:
            raise CrossSite("this request comes from another site's page")

    def require_navigation(self, request: Request) -> None:
        """For an address that another site leads a browser to. Raises `CrossSite` for a request that a page embeds,
        such as an image, which proves nothing about the person in front of it."""
        if request.headers.get("sec-fetch-dest", "document") != "document":
            raise CrossSite("this address is opened by a browser, not embedded in a page")

    def prove(self, request: Request, session: Session, shown: str | None) -> None:
        """Raises `CrossSite` unless a page of the console sent the request."""
        self.require_ours(request)
        if not session.proves(shown or ""):
            raise CrossSite(f"this needs the header {CSRF_HEADER}; GET /session returns its value")

    def _known(self, request: Request) -> Principal:
        shown, now_ms = request.headers.get("authorization"), self.clock.now_ms()
        name = request.cookies.get(self.cookie)
        session = self.sessions.find(name) if shown is None else None
        if session is None:
            return Principal(self._token_of(request, shown, now_ms))
        if not session.at_provider and not self.authenticator.holds(session.token, now_ms):
            self.sign_out(request)
            raise Unauthenticated("the token of this session is no longer valid")
        if request.method not in _SAFE:
            self.prove(request, session, request.headers.get(CSRF_HEADER))
        return Principal(session.token, session)

    def _token_of(self, request: Request, shown: str | None, now_ms: int) -> AccessToken:
        try:
            return self.authenticator.token_of(shown, now_ms)
        except Unauthenticated:
            # A page without a session has no token; the response leads to the sign-in form.
            if shown is not None:
                self.attempts.failed(self._site(request))
            raise

    def _site(self, request: Request) -> str:
        return client_site(request, behind_proxy=self.behind_proxy)
