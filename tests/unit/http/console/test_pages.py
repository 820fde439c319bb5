"""What a page is before any script runs: who may have it, and that nothing in it can be injected."""

from __future__ import annotations

import pytest

from streams.http.console.pages.rendering import PAGES

PATHS = [page.path for page in PAGES]


async def _signed_in(http, token: str) -> None:
    answer = await http.post("/session", data={"token": token})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/"


@pytest.mark.parametrize("path", PATHS)
async def test_a_stranger_is_led_to_the_sign_in_page_and_back(http, path):
    """A link works for whoever may sign in, and shows nothing to whoever may not."""
    answer = await http.get(f"{path}?metric=a%26b")
    assert answer.status_code == 303
    where = answer.headers["location"]
    assert where.startswith("/sign-in?next=%2F")
    form = await http.get(where)
    assert f'value="{path}?metric=a%26b"' in form.text


@pytest.mark.parametrize("path", PATHS)
async def test_a_page_is_never_kept_and_carries_its_sessions_csrf_token(http, tokens, path):
    """A page out of a browser's cache would have the token of a session that is over."""
    await _signed_in(http, tokens["read"])
    page = await http.get(path)
    assert page.headers["cache-control"] == "no-store"
    assert "script-src 'self'" in page.headers["content-security-policy"]
    csrf = (await http.get("/session")).json()["csrf"]
    assert f'<meta name="csrf-token" content="{csrf}">' in page.text
    assert tokens["read"] not in page.text


async def test_what_an_address_says_stays_text(http):
    """The way back comes from the address, so it could be anybody's markup."""
    form = await http.get("/sign-in", params={"next": '/"><script>alert(1)</script>'})
    assert "<script>alert" not in form.text
    assert "&lt;script&gt;alert(1)" in form.text


async def test_only_an_admins_page_has_the_form_for_patches(http, tokens):
    """A control that the API would refuse is a promise the page cannot keep."""
    await _signed_in(http, tokens["operate"])
    assert 'id="patch"' not in (await http.get("/dead-letters")).text
    await _signed_in(http, tokens["admin"])
    assert 'id="patch"' in (await http.get("/dead-letters")).text


@pytest.mark.parametrize("path", ["/live/overview", "/live/pipeline", "/live/plans/p"])
async def test_nothing_is_watched_without_a_token(http, path):
    """A stream is refused as any other request is: with a status, before it begins."""
    answer = await http.get(path)
    assert answer.status_code == 401
    assert answer.json()["code"] == "unauthenticated"


async def test_the_pipeline_is_not_watched_by_one_tenant(http, bearer):
    """Its counters tell of every tenant."""
    answer = await http.get("/live/pipeline", headers=bearer("operate"))
    assert answer.status_code == 403
