"""The OpenID provider over HTTP: discovery, its keys, and ID tokens for codes.

OpenID Connect Discovery 1.0, RFC 7636 (PKCE, S256 only), RFC 9207 (``iss`` of an answer)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

import httpx
import msgspec

from streams.connect.oidc.configuration import OidcConfiguration, require_encrypted
from streams.connect.oidc.id_token import Claims, check_claims, key_id, signed_claims
from streams.connect.oidc.refused import Refused, SignInRefused
from streams.core.clock import Clock
from streams.core.errors import SignInProviderUnavailable

METADATA_S: Final = 3600.0
KEYS_S: Final = 3600.0
KEYS_AGAIN_S: Final = 30.0
"""between two readings of the keys for tokens of unknown ones: else anyone could make a console ask without end"""
ANSWER_BYTES_MAX: Final = 1 << 20
CONNECTIONS_MAX: Final = 8
_WELL_KNOWN: Final = "/.well-known/openid-configuration"

_Form = TypeVar("_Form")


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider says of itself; other fields are ignored."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    end_session_endpoint: str = ""
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False

    def __post_init__(self) -> None:
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            require_encrypted(getattr(self, name).partition("?")[0], name)
        if self.end_session_endpoint:
            require_encrypted(self.end_session_endpoint.partition("?")[0], "end_session_endpoint")


class Identity(NamedTuple):
    """Checked claims of a person, and the ID token that said them."""

    claims: Claims
    id_token: str


class _Keys(msgspec.Struct):
    keys: list[dict[str, Any]]


class _TokenAnswer(msgspec.Struct):
    id_token: str = ""


class OidcProvider:
    """The provider of one console. Its methods raise `SignInProviderUnavailable` when it does not
    answer, or answers what cannot be read."""

    def __init__(
        self,
        wanted: OidcConfiguration,
        clock: Clock,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """``transport`` stands in for the network in tests. Raises `UsageError` for an unreadable
        secret or authority."""
        self.wanted = wanted
        self._clock = clock
        self._secret = wanted.secret()
        self._metadata: Metadata | None = None
        self._metadata_s = 0.0
        self._keys: list[dict[str, Any]] = []
        self._keys_s: float | None = None
        self._client = httpx.AsyncClient(
            timeout=wanted.timeout_s,
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX),
            verify=wanted.tls().context(),
            follow_redirects=False,
            transport=transport,
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def metadata(self) -> Metadata:
        """Read again after `METADATA_S`."""
        now_s = self._clock.monotonic()
        if self._metadata is not None and now_s < self._metadata_s + METADATA_S:
            return self._metadata
        found = await self._read(self.wanted.issuer.rstrip("/") + _WELL_KNOWN, Metadata)
        if found.issuer != self.wanted.issuer:
            raise SignInProviderUnavailable(
                f"the provider of {self.wanted.issuer} says that it is {found.issuer}: name "
                "the issuer exactly so in DIA_OIDC_FILE, or look who answers there."
            )
        self._metadata, self._metadata_s = found, now_s
        return found

    async def sign_in_url(self, *, state: str, nonce: str, verifier: str) -> str:
        """Where the browser goes; ``verifier`` is kept from it (RFC 7636)."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        asked = {
            "response_type": "code",
            "client_id": self.wanted.client_id,
            "redirect_uri": self.wanted.callback,
            "scope": " ".join(self.wanted.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge.rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        return _with((await self.metadata()).authorization_endpoint, asked)

    async def sign_out_url(self, id_token: str) -> str | None:
        """Where the browser ends its session at the provider, and comes back from; None where the provider has
        no such address. ``id_token`` says whose session ends ("": unknown): without it, providers ask the
        person, and some do not send the browser back (OpenID Connect RP-Initiated Logout 1.0, 2)."""
        endpoint = (await self.metadata()).end_session_endpoint
        back = self.wanted.console.rstrip("/") + "/sign-in"
        asked = {"client_id": self.wanted.client_id, "post_logout_redirect_uri": back}
        if id_token:
            asked["id_token_hint"] = id_token
        return _with(endpoint, asked) if endpoint else None

    async def check_issuer(self, shown: str | None) -> None:
        """``iss`` of the answer that came with the code. Raises `SignInRefused`."""
        required = (await self.metadata()).authorization_response_iss_parameter_supported
        if shown != self.wanted.issuer and (shown is not None or required):
            raise SignInRefused(Refused.ISSUER)

    async def identity(self, *, code: str, verifier: str, nonce: str) -> Identity:
        """Of the person that the code stands for, all checked. Raises `SignInRefused`."""
        text = await self._id_token(code, verifier)
        claims = signed_claims(text, await self._keys_for(key_id(text)))
        check_claims(
            claims,
            issuer=self.wanted.issuer,
            client_id=self.wanted.client_id,
            nonce=nonce,
            now_s=self._clock.now_ms() / 1000,
        )
        return Identity(claims, text)

    async def _id_token(self, code: str, verifier: str) -> str:
        found = await self.metadata()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.wanted.callback,
            "code_verifier": verifier,
            "client_id": self.wanted.client_id,
        }
        headers = {"Accept": "application/json"}
        if self._secret and "client_secret_basic" in found.token_endpoint_auth_methods_supported:
            # RFC 6749, 2.3.1: both are form-encoded before they are joined.
            pair = f"{quote(self.wanted.client_id, safe='')}:{quote(self._secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        elif self._secret:
            form["client_secret"] = self._secret
        status, content = await self._send("POST", found.token_endpoint, headers, form)
        if status in (400, 401):
            raise SignInRefused(Refused.CODE)
        answer = self._decoded(status, content, found.token_endpoint, _TokenAnswer)
        text: str = answer.id_token
        if not text:
            raise SignInRefused(Refused.CODE)
        return text

    async def _keys_for(self, key: str | None) -> list[dict[str, Any]]:
        """Read again after `KEYS_S`, and for a key that is not among them."""
        now_s = self._clock.monotonic()
        age_s = KEYS_S if self._keys_s is None else now_s - self._keys_s
        unknown = key is not None and all(one.get("kid") != key for one in self._keys)
        if age_s >= KEYS_S or (unknown and age_s >= KEYS_AGAIN_S):
            self._keys = (await self._read((await self.metadata()).jwks_uri, _Keys)).keys
            self._keys_s = now_s
        return self._keys

    async def _read(self, url: str, kind: type[_Form]) -> _Form:
        status, content = await self._send("GET", url, {"Accept": "application/json"})
        return self._decoded(status, content, url, kind)

    def _decoded(self, status: int, content: bytes, url: str, kind: type[_Form]) -> _Form:
        if status != 200:
            raise SignInProviderUnavailable(f"{url} answered {status}.")
        try:
            return msgspec.json.decode(content, type=kind)
        except ValueError as error:
            raise SignInProviderUnavailable(
                f"{url} answered what cannot be read: {error}."
            ) from error

    async def _send(
        self, method: str, url: str, headers: dict[str, str], form: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """At most `ANSWER_BYTES_MAX`, within ``timeout_s`` of the configuration."""
        content, most_s = bytearray(), self.wanted.timeout_s
        try:
            # The client's own timeout is that of each byte.
            async with (
                asyncio.timeout(most_s),
                self._client.stream(method, url, headers=headers, data=form) as answer,
            ):
                async for piece in answer.aiter_bytes():
                    content += piece
                    if len(content) > ANSWER_BYTES_MAX:
                        raise SignInProviderUnavailable(f"{url} answered more than 1 MiB.")
                return answer.status_code, bytes(content)
        except TimeoutError as error:
            raise SignInProviderUnavailable(
                f"{url} does not answer within {most_s:g} s. Is it overloaded? timeout_s of DIA_OIDC_FILE gives it "
                "longer."
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise SignInProviderUnavailable(
                f"{url} does not answer: {type(error).__name__} {error}. Is it up, and may the "
                "console reach it?"
            ) from error


def _with(url: str, asked: dict[str, str]) -> str:
    return url + ("&" if "?" in url else "?") + urlencode(asked)
