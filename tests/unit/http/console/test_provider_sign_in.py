"""Sign-in of a person at an OpenID provider, through the console as a browser sees it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest

from agents.app import app
from streams.connect.access.attempts import ADDRESS_MAX
from streams.connect.oidc.provider import METADATA_S
from streams.connect.oidc.refused import AWAY, Refused
from streams.core.clock import SystemClock
from streams.core.telemetry.metrics import Metrics
from streams.http.console.access.provider_sign_in import BEGUN_S
from streams.http.console.access.provider_sign_in import COOKIE as BEGUN
from streams.http.console.access.sessions import (
    COOKIE,
    ID_TOKEN_CHARS_MAX,
    IDLE_S,
)
from streams.http.console.serving import ConsoleProcess
from tests.oidc_provider import ISSUER, OidcProviderTwin, signed

CALLBACK = "/session/oidc/callback"
GRANTS = """
[[grants]]
claim = "groups"
value = "platform"
role = "admin"
every_tenant = true

[[grants]]
claim = "groups"
value = "operators"
role = "operate"
tenant_claim = "tenants"
"""
FILE = """
issuer = "https://id.example"
client_id = "dia-console"
console = "https://console.example"
"""
HERS = {"sub": "u1", "email": "alice@acme.example", "groups": ["operators"], "tenants": "acme"}


class MovedClock(SystemClock):
    """A clock that only a test moves on, so that no limit depends on the machine's speed."""

    def __init__(self) -> None:
        self.moved_s = 0.0
        self._began_ms = super().now_ms()

    def now_ms(self) -> int:
        return self._began_ms + round(self.moved_s * 1000)

    def monotonic(self) -> float:
        return self.moved_s


@dataclass
class Signing:
    """A browser, the console and the provider."""

    process: ConsoleProcess
    twin: OidcProviderTwin
    browser: httpx.AsyncClient
    clock: MovedClock

    async def begin(self, **asked: str) -> str:
        """The provider's address that the browser is sent to."""
        answer = await self.browser.get("/session/oidc", params=asked)
        assert answer.status_code == 303
        return answer.headers["location"]

    async def sign_in(self, **asked: str) -> httpx.Response:
        return await self.browser.get(self.twin.answer(await self.begin(**asked)))

    def sign_ins(self) -> dict[tuple[str, str], float]:
        """By way and outcome."""
        [family] = self.process.console.metrics.sign_ins.collect()
        return {
            (one.labels["by"], one.labels["outcome"]): one.value
            for one in family.samples
            if one.name.endswith("_total")
        }

    async def session(self) -> dict[str, Any] | None:
        answer = await self.browser.get("/session")
        return answer.json() if answer.status_code == 200 else None


def _why(answer: httpx.Response) -> str:
    """Of a sign-in that leads back to the sign-in page."""
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/sign-in?")
    return parse_qs(urlsplit(answer.headers["location"]).query)["refused"][0]


def _asked_at_the_end(ended: httpx.Response, at: str = f"{ISSUER}/end?") -> dict[str, str]:
    """Of the provider, by the address that the page of a sign-out leads to."""
    found = re.search(r'content="0;url=([^"]+)"', ended.text)
    assert found is not None
    url = unescape(found[1])
    assert url.startswith(at)
    return {name: one for name, (one,) in parse_qs(urlsplit(url).query).items()}


@pytest.fixture
async def signing(console_settings, broker, tmp_path) -> AsyncIterator[Signing]:
    path = tmp_path / "oidc.toml"
    path.write_text(FILE + GRANTS)
    settings = replace(console_settings, oidc_file=str(path))
    clock = MovedClock()
    process = ConsoleProcess(settings, app, broker, clock, Metrics(), secure=True)
    twin = OidcProviderTwin(clock)
    twin.claims = HERS
    provider = process.console.gate.provider
    await provider._client.aclose()
    provider._client = httpx.AsyncClient(transport=twin.transport)
    transport = httpx.ASGITransport(process.app())
    async with httpx.AsyncClient(
        transport=transport, base_url="https://console.example"
    ) as browser:
        yield Signing(process, twin, browser, clock)


async def test_a_person_signs_in_and_has_the_role_and_tenant_of_the_claims(signing):
    """No token exists: the organisation's groups decide."""
    answer = await signing.sign_in(next="/messages?tenant=acme")
    assert answer.status_code == 200
    assert 'url=/messages?tenant=acme"' in answer.text, "by a page: the session's cookie is Strict"
    cookies = answer.headers.get_list("set-cookie")
    [session] = [one for one in cookies if one.startswith(f"__Host-{COOKIE}=")]
    assert {"HttpOnly", "SameSite=strict", "Secure"} <= {
        part.strip() for part in session.split(";")
    }
    found = await signing.session()
    assert (found["name"], found["role"], found["tenant"]) == (
        "alice@acme.example", "operate", "acme",
    )  # fmt: skip
    assert (await signing.browser.get("/messages")).status_code == 200
    assert (await signing.browser.get("/pipeline")).status_code == 403
    assert (await signing.browser.get("/api/dlq/groups?tenant=globex")).status_code == 403


async def test_the_sign_in_page_offers_the_provider_and_the_form(signing):
    """Tokens stay beside it, for programs and for the day when the provider is away."""
    page = (await signing.browser.get("/sign-in?next=/trace")).text
    assert '<a href="/session/oidc?next=%2Ftrace">' in page
    assert 'name="token"' in page


async def test_a_console_without_a_provider_offers_none(http):
    """The address is not there, and the page does not name it."""
    assert (await http.get("/session/oidc")).status_code == 404
    assert "/session/oidc" not in (await http.get("/sign-in")).text


@pytest.mark.parametrize(
    ("lie", "why"),
    [
        (lambda claims: claims.update(nonce="x"), Refused.NONCE),
        (lambda claims: claims.update(iss="https://evil.example"), Refused.ISSUER),
        (lambda claims: claims.update(aud="another"), Refused.AUDIENCE),
        (lambda claims: claims.update(exp=claims["iat"] - 3600), Refused.EXPIRED),
        (lambda claims: claims.update(iat=claims["iat"] + 3600), Refused.ISSUED_AT),
        (lambda claims: claims.pop("groups"), Refused.NO_GRANT),
        (lambda claims: claims.update(tenants=[]), Refused.NO_GRANT),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
async def test_an_answer_that_proves_nothing_begins_no_session(signing, lie, why):
    """And the sign-in page says what an operator must look at."""
    signing.twin.lie = lie
    answer = await signing.sign_in(next="/trace")
    assert _why(answer) == why
    assert f"__Host-{COOKIE}" not in signing.browser.cookies
    assert await signing.session() is None
    page = await signing.browser.get(answer.headers["location"])
    assert page.status_code == 401
    assert 'role="alert"' in page.text
    assert "That token is not valid" not in page.text


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda url: url.replace("state=", "state=x"), Refused.STATE),
        (lambda url: url.partition("&state")[0], Refused.STATE),
        (lambda url: url + "&iss=https://evil.example", Refused.ISSUER),
        (lambda url: url + "&error=access_denied", Refused.PROVIDER),
        (lambda url: url.replace("code=", "code=x"), Refused.CODE),
        (lambda url: url.replace("code=", "kode="), Refused.CODE),
    ],
)
async def test_a_changed_answer_begins_no_session(signing, change, why):
    """The answer comes through the browser, where a page may change it."""
    url = signing.twin.answer(await signing.begin())
    assert _why(await signing.browser.get(change(url))) == why
    assert await signing.session() is None


async def test_an_answer_opens_nothing_in_another_browser(signing):
    """An attacker would sign a victim in under the attacker's name (login CSRF)."""
    url = signing.twin.answer(await signing.begin())
    signing.browser.cookies.clear()
    assert _why(await signing.browser.get(url)) == Refused.STATE
    assert "/token" not in signing.twin.asked, "the code is shown to nobody"


async def test_an_answer_is_good_once(signing):
    """An address in a log or a history must open no session."""
    url = signing.twin.answer(await signing.begin())
    assert (await signing.browser.get(url)).status_code == 200
    cookies = dict(signing.browser.cookies)
    assert f"__Host-{BEGUN}" not in cookies, "what the sign-in began with is gone"
    assert _why(await signing.browser.get(url)) == Refused.STATE


async def test_a_kept_cookie_does_not_replay_a_code(signing):
    """The provider refuses a code the second time, whatever the browser has kept."""
    url = signing.twin.answer(await signing.begin())
    kept = {"Cookie": f"__Host-{BEGUN}={signing.browser.cookies[f'__Host-{BEGUN}']}"}
    assert (await signing.browser.get(url)).status_code == 200
    signing.browser.cookies.clear()
    assert _why(await signing.browser.get(url, headers=kept)) == Refused.CODE


async def test_a_sign_in_that_took_too_long_is_refused(signing):
    """What began it is worth nothing later."""
    url = signing.twin.answer(await signing.begin())
    signing.clock.moved_s += BEGUN_S + 1
    assert _why(await signing.browser.get(url)) == Refused.STATE


async def test_a_token_by_an_unknown_key_begins_no_session(signing):
    """Only keys that the provider publishes sign."""
    signing.twin.sign = lambda twin, claims: signed(twin, claims, kid="unknown")
    assert _why(await signing.sign_in()) == Refused.KEY


@pytest.mark.parametrize(
    "elsewhere",
    ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)"],
)
async def test_no_sign_in_leads_to_another_host(signing, elsewhere):
    """A link of the console must not lend its name to another site."""
    answer = await signing.sign_in(next=elsewhere)
    assert 'content="0;url=/"' in answer.text
    assert "evil" not in answer.text


async def test_a_provider_that_is_away_is_said_and_tokens_go_on(signing, tokens):
    """The provider's outage must not lock out those who repair it."""
    signing.twin.away = True
    answer = await signing.browser.get("/session/oidc")
    assert _why(answer) == AWAY
    assert "does not answer now" in (await signing.browser.get(answer.headers["location"])).text
    signed_in = await signing.browser.post("/session", json={"token": tokens["read"]})
    assert signed_in.status_code == 204


async def test_a_person_with_several_tenants_chooses_one(signing):
    """A session is of one tenant, so that no page mixes two."""
    signing.twin.claims = {**HERS, "tenants": ["acme", "globex"]}
    answer = await signing.sign_in(next="/trace")
    assert await signing.session() is None
    assert '<a href="/session/oidc?tenant=globex&amp;next=%2Ftrace">globex</a>' in answer.text
    await signing.sign_in(tenant="globex")
    assert (await signing.session())["tenant"] == "globex"
    assert _why(await signing.sign_in(tenant="initech")) == Refused.NO_GRANT


async def test_a_group_makes_an_admin_of_every_tenant(signing):
    """Platform engineers are named by a group, not by tenants."""
    signing.twin.claims = {"sub": "u9", "groups": ["platform"]}
    await signing.sign_in()
    found = await signing.session()
    assert (found["role"], found["tenant"]) == ("admin", None)
    assert (await signing.browser.get("/pipeline")).status_code == 200


async def test_a_persons_session_ends_by_age_by_idleness_and_by_signing_out(signing):
    """A person who lost a role must not keep it for the 12 hours of a token's session."""
    await signing.sign_in()
    signing.clock.moved_s += IDLE_S + 1
    assert await signing.session() is None
    await signing.sign_in()
    ends_ms = (await signing.session())["ends_ms"]
    assert ends_ms == signing.clock.now_ms() + 3_600_000
    for _ in range(2):
        assert await signing.session() is not None
        signing.clock.moved_s += IDLE_S / 2
    assert await signing.session() is None
    await signing.sign_in()
    csrf = (await signing.session())["csrf"]
    assert (await signing.browser.post("/session/end")).status_code == 403
    ended = await signing.browser.post("/session/end", data={"csrf": csrf})
    assert ended.headers["location"] == "/sign-in"
    assert await signing.session() is None


async def test_signing_out_ends_the_session_at_the_provider_too(signing):
    """On a shared machine the next person must not get in by one click."""
    signing.twin.metadata["end_session_endpoint"] = f"{ISSUER}/end"
    await signing.sign_in()
    csrf = (await signing.session())["csrf"]
    ended = await signing.browser.post("/session/end", data={"csrf": csrf})
    assert ended.status_code == 200
    asked = _asked_at_the_end(ended)
    assert asked["client_id"] == "dia-console"
    assert asked["post_logout_redirect_uri"] == "https://console.example/sign-in"
    shown = jwt.decode(asked["id_token_hint"], options={"verify_signature": False})
    assert (shown["iss"], shown["sub"]) == (ISSUER, "u1"), (
        "without it the provider asks who signs out"
    )
    assert await signing.session() is None


async def test_a_long_id_token_is_not_kept_for_signing_out(signing):
    """Sessions would hold as much as a provider writes, and no server would read the address."""
    signing.twin.metadata["end_session_endpoint"] = f"{ISSUER}/end"
    signing.twin.claims = {**HERS, "photo": "x" * ID_TOKEN_CHARS_MAX}
    await signing.sign_in()
    csrf = (await signing.session())["csrf"]
    ended = await signing.browser.post("/session/end", data={"csrf": csrf})
    assert set(_asked_at_the_end(ended)) == {"client_id", "post_logout_redirect_uri"}


async def test_sign_ins_are_counted_by_way_and_outcome(signing, tokens):
    """A provider that refuses all users after a change of its keys shows on a board."""
    await signing.sign_in()
    signing.twin.claims = {**HERS, "tenants": ["acme", "globex"]}
    await signing.sign_in()
    signing.twin.claims = {"sub": "u2"}
    await signing.sign_in()
    for _ in range(ADDRESS_MAX):
        await signing.browser.get(f"{CALLBACK}?code=x&state=y")
    signing.twin.away = True
    signing.clock.moved_s += METADATA_S
    await signing.browser.get("/session/oidc")
    await signing.browser.post("/session", json={"token": tokens["read"]})
    await signing.browser.post("/session", data={"token": "dia_wrong"})
    assert signing.sign_ins() == {
        ("provider", "signed_in"): 1,
        ("provider", "choice_of_tenants"): 1,
        ("provider", "no_grant"): 1,
        ("provider", "wrong_state"): ADDRESS_MAX - 1,
        ("provider", "too_many_attempts"): 1,
        ("provider", "provider_away"): 1,
        ("token", "signed_in"): 1,
        ("token", "unauthenticated"): 1,
    }


async def test_a_change_by_a_persons_session_needs_its_csrf_token(signing):
    """A session of a provider is a cookie like any other."""
    await signing.sign_in()
    refused = await signing.browser.post("/api/views", json={"name": "v", "address": "/trace"})
    assert (refused.status_code, refused.json()["code"]) == (403, "csrf")
    csrf = {"X-CSRF-Token": (await signing.session())["csrf"]}
    saved = await signing.browser.post(
        "/api/views", json={"name": "v", "address": "/trace"}, headers=csrf
    )
    assert saved.status_code in (200, 201)
    assert [one["name"] for one in (await signing.browser.get("/api/views")).json()["views"]] == [
        "v"
    ]


async def test_answers_without_a_sign_in_are_limited(signing):
    """Each would cost the provider and the log."""
    for _ in range(ADDRESS_MAX):
        assert _why(await signing.browser.get(f"{CALLBACK}?code=x&state=y")) == Refused.STATE
    limited = await signing.browser.get(f"{CALLBACK}?code=x&state=y")
    assert (limited.status_code, limited.json()["code"]) == (429, "too_many_attempts")


@pytest.mark.parametrize("dest", ["image", "iframe", "empty", "script"])
async def test_another_sites_page_uses_up_no_sign_ins_of_its_visitors(signing, tokens, dest):
    """A page with a hundred images would lock out all users behind the address of its visitor."""
    embedded = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": dest}
    for _ in range(ADDRESS_MAX + 1):
        answer = await signing.browser.get(f"{CALLBACK}?code=x&state=y", headers=embedded)
        assert (answer.status_code, answer.json()["code"]) == (403, "csrf")
    signed_in = await signing.browser.post("/session", json={"token": tokens["read"]})
    assert signed_in.status_code == 204
    url = signing.twin.answer(await signing.begin())
    shown = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}
    assert (await signing.browser.get(url, headers=shown)).status_code == 200


async def test_a_long_address_of_a_page_keeps_nobody_out(signing):
    """Browsers drop a cookie of more than 4096 bytes, and the answer would belong to no sign-in."""
    names = "&".join(f"model={'x' * 128}{number}" for number in range(40))
    answer = await signing.browser.get("/session/oidc", params={"next": f"/explore?{names}"})
    [begun] = answer.headers.get_list("set-cookie")
    assert len(begun.partition(";")[0]) <= 4096
    found = await signing.browser.get(signing.twin.answer(answer.headers["location"]))
    assert 'content="0;url=/explore"' in found.text


async def test_an_address_with_a_bad_character_in_the_metadata_is_said_as_an_outage(signing):
    """The operator reads what is wrong with the provider, not "internal"."""
    signing.twin.metadata["token_endpoint"] = "https://id.example/\x01token"
    assert _why(await signing.sign_in()) == AWAY


class _Wsgi(httpx.AsyncBaseTransport):
    """A WSGI application as the network of an asynchronous client."""

    def __init__(self, served: Callable[..., Any]) -> None:
        self._transport = httpx.WSGITransport(app=served)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        plain = httpx.Request(
            request.method, request.url, headers=request.headers, content=await request.aread()
        )
        found = self._transport.handle_request(plain)
        return httpx.Response(found.status_code, headers=found.headers, content=found.read())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_person_signs_in_at_a_provider_of_other_authors(signing):
    """The package oidc-provider-mock, on Authlib: both sides read the same specification."""
    import oidc_provider_mock

    theirs = oidc_provider_mock.app(require_nonce=True)
    provider = signing.process.console.gate.provider
    provider._client = httpx.AsyncClient(transport=_Wsgi(theirs))
    provider._secret = "it takes any, and wants one"
    async with httpx.AsyncClient(transport=_Wsgi(theirs), base_url=ISSUER) as at_theirs:
        said = {name: HERS[name] for name in ("email", "groups", "tenants")}
        assert (await at_theirs.put("/users/u1", json=said)).status_code == 204
        agreed = await at_theirs.post(await signing.begin(next="/trace"), data={"sub": "u1"})
        assert agreed.status_code == 302
        answer = await signing.browser.get(agreed.headers["location"])
    assert 'url=/trace"' in answer.text, answer.headers.get("location")
    found = await signing.session()
    assert (found["name"], found["role"], found["tenant"]) == (
        "alice@acme.example", "operate", "acme",
    )  # fmt: skip
    csrf = found["csrf"]
    ended = await signing.browser.post("/session/end", data={"csrf": csrf})
    async with httpx.AsyncClient(transport=_Wsgi(theirs), base_url=ISSUER) as at_theirs:
        left = _asked_at_the_end(ended, f"{ISSUER}/oauth2/end_session?")
        page = await at_theirs.get("/oauth2/end_session", params=left)
    assert left["id_token_hint"] in page.text, "they read whose session ends"
    assert left["post_logout_redirect_uri"] in page.text
