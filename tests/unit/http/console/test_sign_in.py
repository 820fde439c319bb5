"""Browsers: a token is exchanged for a cookie, and requests that need more than the cookie."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from agents.app import app
from streams.connect.access.attempts import ADDRESS_MAX, TOKEN_MAX
from streams.connect.access.tokens import AccessToken, TokenFile
from streams.core.clock import SystemClock
from streams.core.telemetry.metrics import Metrics
from streams.http.console.access.sessions import (
    COOKIE,
    FORMER_S,
    IDLE_S,
    LONGEST_S,
    RENEWED_S,
    SESSIONS_MAX,
    TOKEN_SESSIONS_MAX,
    SessionStore,
)
from streams.http.console.serving import SIGN_INS_MAX, ConsoleProcess


class ManualClock:
    """A clock that the test moves, and a token."""

    now_s = 1000.0
    token = AccessToken(id="00000000", tenant="acme", role="read", sha256="", created_ms=0)

    def monotonic(self) -> float:
        return self.now_s


async def _sign_in(http, token: str, **fields: str):
    return await http.post("/session", data={"token": token, **fields})


async def test_the_cookie_holds_no_token_and_no_script_can_read_it(http, tokens):
    """A cookie stolen from a disk or a log must not reveal the token."""
    answer = await _sign_in(http, tokens["read"], next="/explore?tenant=acme")
    assert (answer.status_code, answer.headers["location"]) == (303, "/explore?tenant=acme")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert tokens["read"].split("_", 2)[2] not in cookie
    shown = (await http.get("/session")).json()
    assert (shown["role"], shown["tenant"]) == ("read", "acme")
    assert "secret" not in str(shown)


@pytest.mark.parametrize(
    "onward",
    ["//evil.example", "https://evil.example", "/\\evil.example", "x", "/a\nb", "/\t/e", "//["],
)
async def test_signing_in_redirects_to_the_same_site_only(http, tokens, onward):
    """An open redirect would support phishing."""
    answer = await _sign_in(http, tokens["read"], next=onward)
    assert answer.headers["location"] == "/"


async def test_a_wrong_token_begins_no_session(http):
    """The answer gives no further detail."""
    answer = await _sign_in(http, "dia_00000000_" + "x" * 43)
    assert answer.headers["location"].startswith("/sign-in?refused=1")
    assert "set-cookie" not in answer.headers
    assert (await http.get("/session")).status_code == 401


async def test_a_revoked_token_ends_its_sessions(http, tokens, tmp_path):
    """Otherwise a stolen session would outlive the token by hours."""
    await _sign_in(http, tokens["read"])
    assert (await http.get("/session")).status_code == 200
    TokenFile.of(tmp_path).revoke(tokens["read"].split("_")[1])
    assert (await http.get("/session")).status_code == 401


async def test_an_unsafe_request_needs_the_sessions_csrf_token(http, tokens):
    """A browser sends the cookie with every cross-site request, but not the CSRF token."""
    await _sign_in(http, tokens["read"])
    csrf = (await http.get("/session")).json()["csrf"]
    for shown in ({}, {"csrf": "x"}, {"csrf": csrf[:-1]}):
        assert (await http.post("/session/end", data=shown)).json()["code"] == "csrf"
    elsewhere = {"Origin": "https://evil.example"}
    refused = await http.post("/session/end", data={"csrf": csrf}, headers=elsewhere)
    assert refused.status_code == 403
    assert (await http.get("/session")).status_code == 200
    ended = await http.post("/session/end", data={"csrf": csrf})
    assert ended.headers["location"] == "/sign-in"
    assert (await http.get("/session")).status_code == 401


async def test_another_site_cannot_sign_a_user_in(http, tokens):
    """Otherwise a user would work in the attacker's session."""
    answer = await http.post(
        "/session", data={"token": tokens["read"]}, headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert answer.status_code == 403
    assert COOKIE not in http.cookies


async def test_every_answer_forbids_foreign_scripts_and_frames(http):
    """Also error answers, which attackers can choose."""
    for path in ("/session", "/nowhere", "/healthz", "/openapi.json"):
        headers = (await http.get(path)).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "cache-control" in headers


def test_sessions_end_by_age_and_by_inactivity():
    """A browser that was left open must not stay signed in."""
    hands = ManualClock()
    sessions = SessionStore(hands)
    name = sessions.begin(hands.token)
    hands.now_s += IDLE_S + 1
    assert sessions.find(name) is None
    name = sessions.begin(hands.token)
    for _ in range(round(LONGEST_S / IDLE_S) * 2 - 1):
        hands.now_s += IDLE_S / 2
        assert sessions.find(name) is not None
    hands.now_s += IDLE_S / 2
    assert sessions.find(name) is None


def test_a_token_has_few_sessions_and_ends_its_own():
    """A token that signs in repeatedly must not end the sessions of others."""
    hands = ManualClock()
    sessions = SessionStore(hands)
    victim = sessions.begin(replace(hands.token, id="11111111", tenant="globex"))
    first = sessions.begin(hands.token)
    for _ in range(SESSIONS_MAX):
        last = sessions.begin(hands.token)
    assert sessions.find(first) is None
    assert sessions.find(last) is not None
    assert sessions.find(victim) is not None
    assert len(sessions._names) == TOKEN_SESSIONS_MAX + 1


def test_sessions_of_many_tokens_are_bounded():
    """Beyond the total bound, the token with the most sessions loses one."""
    hands = ManualClock()
    sessions = SessionStore(hands)
    victim = sessions.begin(replace(hands.token, id="victim"))
    for number in range(SESSIONS_MAX // TOKEN_SESSIONS_MAX + 10):
        for _ in range(TOKEN_SESSIONS_MAX):
            sessions.begin(replace(hands.token, id=f"t{number}"))
    assert len(sessions._names) == SESSIONS_MAX
    assert sessions.find(victim) is not None


def test_a_renamed_session_ends_under_all_of_its_names():
    """A leaked session name is valid for minutes; running requests with the former name are
    answered.
    """
    hands = ManualClock()
    sessions = SessionStore(hands)
    name = sessions.begin(hands.token)
    session = sessions.find(name)
    assert sessions.renewed(name) is None
    hands.now_s += RENEWED_S
    after = sessions.renewed(name)
    assert after is not None
    assert sessions.renewed(name) is None
    assert sessions.find(name) is sessions.find(after) is session
    hands.now_s += FORMER_S
    assert sessions.find(name) is None
    assert sessions.find(after) is session
    hands.now_s += RENEWED_S
    last = sessions.renewed(after)
    sessions.end(after)
    assert sessions.find(last) is None


async def test_signing_in_again_ends_the_session_before(http, tokens):
    """A browser has one session: an older one would stay open unnoticed."""
    await _sign_in(http, tokens["read"])
    before = http.cookies[COOKIE]
    await _sign_in(http, tokens["read"])
    assert http.cookies[COOKIE] != before
    http.cookies.clear()
    answer = await http.get("/session", headers={"Cookie": f"{COOKIE}={before}"})
    assert answer.status_code == 401


async def test_a_page_renews_the_name_of_an_old_session(process, http, tokens):
    """With the same flags, and without a new sign-in."""
    await _sign_in(http, tokens["read"])
    assert "set-cookie" not in (await http.get("/")).headers
    session = process.console.gate.sessions.find(http.cookies[COOKIE])
    session.named_s -= RENEWED_S
    before = http.cookies[COOKIE]
    cookie = (await http.get("/")).headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert http.cookies[COOKIE] != before
    assert (await http.get("/session")).json()["csrf"] == session.csrf


async def test_wrong_sign_ins_are_limited_by_token_and_address(http, tokens):
    """Each guess uses an attempt; guesses do not lock another user's token."""
    guess = {"token": f"dia_{tokens['read'].split('_')[1]}_" + "x" * 43}
    answers = [await http.post("/session", json=guess) for _ in range(TOKEN_MAX + 1)]
    assert [one.status_code for one in answers] == [401] * TOKEN_MAX + [429]
    assert answers[-1].json()["code"] == "too_many_attempts"
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert (await _sign_in(http, tokens["read"])).status_code == 429
    assert (await _sign_in(http, tokens["operate"])).status_code == 303
    for number in range(ADDRESS_MAX):
        await http.post("/session", json={"token": f"dia_{number:08x}_" + "x" * 43})
    assert (await _sign_in(http, tokens["operate"])).status_code == 429
    # A token that comes with each request is still checked.
    headers = {"Authorization": f"Bearer {tokens['operate']}"}
    http.cookies.clear()
    assert (await http.get("/session", headers=headers)).status_code == 200


async def test_another_address_is_not_locked_out(process, tokens):
    """A token id is not secret: another user must not be able to lock out its holder by it."""
    guess = {"token": f"dia_{tokens['read'].split('_')[1]}_" + "x" * 43}
    for address, token, status in (
        *(("192.0.2.1", guess["token"], status) for status in [401] * TOKEN_MAX + [429]),
        ("192.0.2.2", tokens["read"], 204),
    ):
        transport = httpx.ASGITransport(process.app(), client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
            assert (await client.post("/session", json={"token": token})).status_code == status


async def test_a_token_begins_few_sessions_a_minute(http, tokens):
    """Each session takes memory and look-up time."""
    for _ in range(SIGN_INS_MAX):
        assert (await _sign_in(http, tokens["read"])).status_code == 303
    refused = await _sign_in(http, tokens["read"])
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert (await _sign_in(http, tokens["stranger"])).status_code == 303


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "//[x"])
async def test_an_invalid_origin_is_a_client_error(http, tokens, origin):
    """An invalid origin is a client error, without a traceback."""
    answer = await http.post("/session", json={"token": tokens["read"]}, headers={"Origin": origin})
    assert (answer.status_code, answer.json()["code"]) == (400, "unreadable")


async def test_under_tls_the_cookie_is_bound_to_host_and_tls(console_settings, tokens, broker):
    """Neither another host of the domain nor plain HTTP can set or see it."""
    made = ConsoleProcess(console_settings, app, broker, SystemClock(), Metrics(), secure=True)
    transport = httpx.ASGITransport(made.app())
    async with httpx.AsyncClient(transport=transport, base_url="https://console") as client:
        answer = await _sign_in(client, tokens["read"])
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith(f"__Host-{COOKIE}=")
        assert {"Secure", "Path=/", "HttpOnly"} <= {part.strip() for part in cookie.split(";")}
        assert "Domain" not in cookie
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        csrf = (await client.get("/session")).json()["csrf"]
        ended = await client.post("/session/end", data={"csrf": csrf})
        assert "Secure" in ended.headers["set-cookie"]
        assert (await client.get("/session")).status_code == 401


async def test_without_tls_no_hsts_header_is_sent(http):
    """Otherwise browsers would refuse a console on loopback for a year."""
    assert "strict-transport-security" not in (await http.get("/healthz")).headers
