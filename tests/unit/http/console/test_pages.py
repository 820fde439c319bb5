"""HTML pages before any script runs: access, and protection against injection."""

from __future__ import annotations

import pytest

from agents.app import app
from streams.http.console.pages.rendering import PAGES, pages_of

PATHS = [page.path for page in pages_of(app.pages)]
OWN = [page.path for page in pages_of(app.pages) if not page.everyone]


@pytest.mark.parametrize("field", ["path", "name", "key"])
def test_no_two_pages_share_an_address_a_name_or_a_key(field):
    """The browser follows the first link of a key, so the second page would not open."""
    values = [getattr(page, field) for page in PAGES]
    assert sorted(set(values)) == sorted(values)


async def _signed_in(http, token: str) -> None:
    answer = await http.post("/session", data={"token": token})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/"


@pytest.mark.parametrize("path", PATHS)
async def test_an_unknown_user_is_redirected_to_the_sign_in_page_and_back(http, path):
    """A link works for a user who may sign in, and shows nothing to others."""
    answer = await http.get(f"{path}?metric=a%26b")
    assert answer.status_code == 303
    where = answer.headers["location"]
    assert where.startswith("/sign-in?next=%2F")
    form = await http.get(where)
    assert f'value="{path}?metric=a%26b"' in form.text


@pytest.mark.parametrize("path", OWN)
async def test_a_page_is_not_cached_and_has_its_sessions_csrf_token(http, tokens, path):
    """A cached page would contain the token of a session that has ended."""
    await _signed_in(http, tokens["read"])
    page = await http.get(path)
    assert page.headers["cache-control"] == "no-store"
    assert "script-src 'self'" in page.headers["content-security-policy"]
    csrf = (await http.get("/session")).json()["csrf"]
    assert f'<meta name="csrf-token" content="{csrf}">' in page.text
    assert tokens["read"] not in page.text


async def test_a_page_of_one_session_holds_nothing_of_another(http, tokens):
    """Pages are kept by role and tenant: a kept token or name would be another session's."""
    seen = []
    for name, tenant in (("read", "acme"), ("stranger", "globex"), ("read", "acme")):
        await _signed_in(http, tokens[name])
        page = (await http.get("/")).text
        csrf = (await http.get("/session")).json()["csrf"]
        assert page.count(csrf) == 2
        assert f'data-tenant="{tenant}"' in page
        seen.append((page, csrf))
    for number, (page, _) in enumerate(seen):
        assert not any(csrf in page for other, (_, csrf) in enumerate(seen) if other != number)


async def test_text_of_the_url_is_escaped(http):
    """The return path comes from the URL, so it may contain an attacker's markup."""
    form = await http.get("/sign-in", params={"next": '/"><script>alert(1)</script>'})
    assert "<script>alert" not in form.text
    assert "&lt;script&gt;alert(1)" in form.text


async def test_only_an_admin_sees_the_form_for_patches(http, tokens):
    """The page must not offer an action that the API refuses."""
    await _signed_in(http, tokens["operate"])
    assert 'id="patch"' not in (await http.get("/dead-letters")).text
    await _signed_in(http, tokens["admin"])
    assert 'id="patch"' in (await http.get("/dead-letters")).text


@pytest.mark.parametrize(
    "path", ["/live/overview", "/live/pipeline", "/live/plans/p", "/live/messages"]
)
async def test_a_stream_needs_a_token(http, path):
    """A stream is refused by a status before it begins, like any request."""
    answer = await http.get(path)
    assert answer.status_code == 401
    assert answer.json()["code"] == "unauthenticated"


async def test_a_bound_token_cannot_watch_the_pipeline(http, bearer):
    """The pipeline's counters cover all tenants."""
    answer = await http.get("/live/pipeline", headers=bearer("operate"))
    assert answer.status_code == 403


async def test_a_page_over_every_tenant_is_neither_offered_nor_shown_to_one(http, tokens):
    """A link to a page of errors only would be a promise."""
    await _signed_in(http, tokens["operate"])
    assert 'href="/pipeline"' not in (await http.get("/")).text
    page = await http.get("/pipeline")
    assert (page.status_code, "bound to no tenant" in page.text) == (403, True)
    assert "/pages/pipeline.js" not in page.text
    await _signed_in(http, tokens["admin"])
    assert 'href="/pipeline"' in (await http.get("/")).text
    assert "/pages/pipeline.js" in (await http.get("/pipeline")).text


async def test_an_unknown_address_is_a_page_for_browsers_and_a_problem_for_programs(http):
    """A mistyped link showed JSON."""
    page = await http.get("/nowhere<b>", headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "There is no page /nowhere&lt;b&gt;" in page.text
    assert (await http.get("/nowhere")).json()["code"] == "unknown_resource"
    posted = await http.post("/nowhere", headers={"Accept": "text/html"})
    assert posted.headers["content-type"] == "application/problem+json"
