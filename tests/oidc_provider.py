"""An OpenID provider in memory that speaks the protocol, and can be told to lie in one point."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from streams.core.clock import Clock

ISSUER = "https://id.example"
CLIENT = "dia-console"
CONSOLE = "https://console.example"

Sign = Callable[["OidcProviderTwin", dict[str, Any]], str]


class OidcProviderTwin:
    """``claims`` of the person who signs in. ``lie`` changes the claims of the next ID tokens,
    ``sign`` signs them otherwise. ``asked``: paths that were requested. It checks redirect address,
    client, PKCE (S256), and that a code is used once."""

    def __init__(self, clock: Clock, issuer: str = ISSUER) -> None:
        self.clock = clock
        self.issuer = issuer
        self.claims: dict[str, Any] = {"sub": "u1", "email": "alice@acme.example"}
        self.lie: Callable[[dict[str, Any]], Any] = lambda claims: None
        self.sign: Sign = signed
        self.metadata: dict[str, Any] = {}
        self.away = False
        self.asked: list[str] = []
        self.shown: httpx.Request | None = None
        self.keys: dict[str, ec.EllipticCurvePrivateKey] = {}
        self._codes: dict[str, dict[str, str]] = {}
        self.rotate()

    def rotate(self) -> None:
        """A new key in place of the ones before."""
        self.keys = {secrets.token_hex(4): ec.generate_private_key(ec.SECP256R1())}

    def answer(self, url: str, **more: str) -> str:
        """What the browser is sent back to, after the person agreed at ``url``."""
        asked = dict(parse_qsl(urlsplit(url).query, strict_parsing=True))
        assert url.startswith(f"{self.issuer}/authorize?")
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(8)
        self._codes[code] = asked
        return (
            f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state'], **more})}"
        )

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answered)

    def _answered(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.asked.append(path)
        if self.away:
            raise httpx.ConnectError("refused", request=request)
        if path.endswith("/.well-known/openid-configuration"):
            return httpx.Response(200, json=self._metadata())
        if path == "/keys":
            return httpx.Response(200, json={"keys": [public(*key) for key in self.keys.items()]})
        assert (request.method, path) == ("POST", "/token")
        self.shown = request
        return self._token(
            {name: one[0] for name, one in parse_qs(request.content.decode()).items()}
        )

    def _metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            **self.metadata,
        }

    def _token(self, form: dict[str, str]) -> httpx.Response:
        asked = self._codes.pop(form["code"], None)
        proof = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(proof).rstrip(b"=").decode()
        if (
            asked is None
            or asked["code_challenge"] != challenge
            or asked["redirect_uri"] != form["redirect_uri"]
            or asked["client_id"] != form["client_id"]
        ):
            return httpx.Response(400, json={"error": "invalid_grant"})
        now_s = self.clock.now_ms() // 1000
        claims = {
            "iss": self.issuer,
            "aud": asked["client_id"],
            "nonce": asked["nonce"],
            "iat": now_s,
            "exp": now_s + 300,
            **self.claims,
        }
        self.lie(claims)
        return httpx.Response(200, json={"id_token": self.sign(self, claims), "access_token": "x"})


def signed(provider: OidcProviderTwin, claims: dict[str, Any], **header: Any) -> str:
    ((kid, key),) = provider.keys.items()
    return jwt.encode(claims, key, algorithm="ES256", headers={"kid": kid, **header})


def public(kid: str, key: ec.EllipticCurvePrivateKey, **more: Any) -> dict[str, Any]:
    found = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    return {**found, "kid": kid, "use": "sig", **more}
