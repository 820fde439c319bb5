"""Browsers: a token becomes a cookie, and what the cookie alone may not do."""

from __future__ import annotations

import pytest

from streams.access.tokens import Token, TokenFile
from streams.console.sessions import COOKIE, IDLE_S, LONGEST_S, SESSIONS_MAX, Sessions


class Hands:
    """A clock that is moved by hand, and a token."""

    now_s = 1000.0
    token = Token(id="00000000", tenant="acme", role="read", sha256="", created_ms=0)

    def monotonic(self) -> float:
        return self.now_s


async def _sign_in(http, token: str, **fields: str):
    return await http.post("/session", data={"token": token, **fields})


async def test_the_cookie_holds_no_token_and_no_script_can_read_it(http, tokens):
    """Whoever steals a cookie from a disk or a log must not get a token with it."""
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
    "onward", ["//evil.example", "https://evil.example", "/\\evil.example", "x", "/a\nb", "/\t/e"]
)
async def test_signing_in_leads_nowhere_else(http, tokens, onward):
    """An open redirection would lend our name to others."""
    answer = await _sign_in(http, tokens["read"], next=onward)
    assert answer.headers["location"] == "/"


async def test_a_wrong_token_begins_nothing(http):
    """And says no more than that."""
    answer = await _sign_in(http, "dia_00000000_" + "x" * 43)
    assert answer.headers["location"].startswith("/sign-in?refused=1")
    assert "set-cookie" not in answer.headers
    assert (await http.get("/session")).status_code == 401


async def test_a_revoked_token_ends_its_sessions(http, tokens, tmp_path):
    """Else a stolen browser would outlive the token by hours."""
    await _sign_in(http, tokens["read"])
    assert (await http.get("/session")).status_code == 200
    TokenFile.of(tmp_path).revoke(tokens["read"].split("_")[1])
    assert (await http.get("/session")).status_code == 401


async def test_an_unsafe_request_needs_the_sessions_csrf_token(http, tokens):
    """The cookie comes along wherever a browser is led; the CSRF token does not."""
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


async def test_another_site_cannot_sign_somebody_in(http, tokens):
    """Work done in somebody else's session is told to somebody else."""
    answer = await http.post(
        "/session", data={"token": tokens["read"]}, headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert answer.status_code == 403
    assert COOKIE not in http.cookies


async def test_every_answer_forbids_foreign_scripts_and_frames(http):
    """Also those of errors, which attackers choose."""
    for path in ("/session", "/nowhere", "/healthz", "/openapi.json"):
        headers = (await http.get(path)).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "cache-control" in headers


def test_sessions_end_by_age_and_by_idleness():
    """A browser that was left open is not a door for ever."""
    hands = Hands()
    sessions = Sessions(hands)
    name = sessions.begin(hands.token)
    hands.now_s += IDLE_S + 1
    assert sessions.find(name) is None
    name = sessions.begin(hands.token)
    for _ in range(round(LONGEST_S / IDLE_S) * 2 - 1):
        hands.now_s += IDLE_S / 2
        assert sessions.find(name) is not None
    hands.now_s += IDLE_S / 2
    assert sessions.find(name) is None


def test_sessions_are_bounded():
    """Whoever signs in again and again takes no more memory than this."""
    hands = Hands()
    sessions = Sessions(hands)
    first = sessions.begin(hands.token)
    for _ in range(SESSIONS_MAX):
        hands.now_s += 0.01
        last = sessions.begin(hands.token)
    assert sessions.find(first) is None
    assert sessions.find(last) is not None
