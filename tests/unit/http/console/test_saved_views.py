"""Saved views: of one token, bounded, within its tenant, and kept over a restart."""

from __future__ import annotations

import stat

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.app import app
from streams.connect.access.refusals import BadRequest, Forbidden, ViewsUnavailable
from streams.connect.access.tokens import AccessToken, Role, TokenFile
from streams.core.clock import SystemClock
from streams.core.errors import RefusedBySafety
from streams.core.telemetry.metrics import Metrics
from streams.http.console.access import saved_views
from streams.http.console.access.saved_views import ViewFile
from streams.http.console.serving import ConsoleProcess

EXPLORE = "/explore?tenant=acme&model=m&metric=auc&range=6h"


async def _names(http, headers) -> list[str]:
    answer = await http.get("/api/views", headers=headers)
    return [view["name"] for view in answer.json()["views"]]


async def _save(http, headers, name="mine", address=EXPLORE):
    return await http.post("/api/views", json={"name": name, "address": address}, headers=headers)


async def test_a_view_is_known_to_its_token_only(http, bearer):
    """Two tokens of one tenant are two people; its name and address are shown to neither other."""
    assert (await _save(http, bearer("read"), "auc of acme")).status_code == 200
    assert await _names(http, bearer("read")) == ["auc of acme"]
    for other in ("operate", "admin", "stranger"):
        assert await _names(http, bearer(other)) == []
        found = (await http.get("/api/views", headers=bearer("read"))).json()["views"][0]
        refused = await http.post(
            "/api/views/delete", json={"id": found["id"]}, headers=bearer(other)
        )
        assert refused.status_code == 404
    assert await _names(http, bearer("read")) == ["auc of acme"]


async def test_the_same_name_replaces_and_a_deleted_view_is_gone(http, bearer):
    """Saving again is how a view is changed."""
    await _save(http, bearer("read"))
    saved = (await _save(http, bearer("read"), address="/training?tenant=acme")).json()
    [found] = (await http.get("/api/views", headers=bearer("read"))).json()["views"]
    assert found == saved
    done = await http.post("/api/views/delete", json={"id": saved["id"]}, headers=bearer("read"))
    assert done.json() == {"deleted": saved["id"]}
    assert await _names(http, bearer("read")) == []


async def test_views_outlive_the_console(http, bearer, console_settings, broker):
    """A session ends with its console; a dashboard must not."""
    await _save(http, bearer("read"))
    again = ConsoleProcess(console_settings, app, broker, SystemClock(), Metrics())
    transport = httpx.ASGITransport(again.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
        assert await _names(client, bearer("read")) == ["mine"]


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/", "//evil.example/x", "/\\evil.example", "javascript:alert(1)", "",
        "explore", "/explore#x", "/explore?model=\u202e", "/explore?x=" + "y" * 2000, "/\t/evil",
    ],
)  # fmt: skip
async def test_only_paths_of_this_console_are_saved(http, bearer, address):
    """A view is a link that its owner trusts."""
    assert (await _save(http, bearer("admin"), address=address)).status_code == 400


@pytest.mark.parametrize("name", ["", " ", "x" * 81, "a\nb", "\x1b[2J"])
async def test_a_name_is_short_and_printable(http, bearer, name):
    """It is shown in a list."""
    assert (await _save(http, bearer("admin"), name)).status_code == 400


async def test_a_bound_token_saves_no_address_of_another_tenant(http, bearer):
    """What it cannot open it cannot keep; an admin of all tenants can."""
    address = "/explore?tenant=globex&model=m"
    assert (await _save(http, bearer("read"), address=address)).status_code == 403
    assert (await _save(http, bearer("admin"), address=address)).status_code == 200


def _files(folder) -> tuple[TokenFile, ViewFile]:
    tokens = TokenFile.of(folder)
    return tokens, ViewFile(folder / "access" / "views.json", tokens)


def _token(tokens: TokenFile, tenant: str | None = "acme") -> AccessToken:
    role = Role.READ if tenant else Role.ADMIN
    return tokens.create(tenant=tenant, role=role, now_ms=0)[0]


def test_one_owner_takes_no_room_of_another(tmp_path, monkeypatch):
    """Each bound holds, replacing is free, and a full tenant leaves others their own."""
    monkeypatch.setattr(saved_views, "TOKEN_VIEWS_MAX", 3)
    monkeypatch.setattr(saved_views, "OWNER_VIEWS_MAX", 4)
    tokens, views = _files(tmp_path)
    first, second, other = _token(tokens), _token(tokens), _token(tokens, "globex")
    for number in range(3):
        views.save(first, f"v{number}", "/explore", 0)
    views.save(first, "v0", "/training", 0)
    with pytest.raises(RefusedBySafety, match="this token has 3"):
        views.save(first, "v3", "/explore", 0)
    views.save(second, "v0", "/explore", 0)
    with pytest.raises(RefusedBySafety, match="has 4"):
        views.save(second, "v1", "/explore", 0)
    views.save(other, "v0", "/explore?tenant=globex", 0)
    assert len(views.of(first)) == 3


def test_views_of_a_revoked_token_are_dropped(tmp_path):
    """The file does not grow with every token there ever was."""
    tokens, views = _files(tmp_path)
    gone, stays = _token(tokens), _token(tokens)
    views.save(gone, "secret name", "/explore", 0)
    tokens.revoke(gone.id)
    views.save(stays, "mine", "/explore", 0)
    assert b"secret name" not in (tmp_path / "access" / "views.json").read_bytes()


def test_views_stay_with_a_rotated_token(tmp_path):
    """A rotation is the same person: it must not cost the saved views."""
    tokens, views = _files(tmp_path)
    old = _token(tokens)
    views.save(old, "mine", "/explore", 0)
    new, _ = tokens.rotate(old.id, now_ms=1, overlap_s=60)
    tokens.revoke(old.id)
    views.save(new, "more", "/explore", 0)
    assert [view.name for view in views.of(new)] == ["mine", "more"]


def test_the_file_is_private_and_a_damaged_one_is_not_overwritten(tmp_path):
    """It holds names of tenants; and no save may empty it."""
    tokens, views = _files(tmp_path)
    token = _token(tokens)
    views.save(token, "mine", "/explore", 0)
    path = tmp_path / "access" / "views.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"{")
    for attempt in (lambda: views.of(token), lambda: views.save(token, "x", "/explore", 0)):
        with pytest.raises(ViewsUnavailable):
            attempt()
    assert path.read_bytes() == b"{"


@given(address=st.text(max_size=60) | st.from_regex(r"[/\\]{0,2}[a-z?&=%0-9\\/:@#]{0,40}"))
def test_no_saved_address_leaves_the_host(address, tmp_path_factory):
    """Law: what is accepted begins with one slash, and names no tenant but the token's."""
    token = AccessToken(id="a", tenant="acme", role="read", sha256="", created_ms=0)
    try:
        saved_views._check_address(token, address)
    except (BadRequest, Forbidden):
        return
    assert address.startswith("/")
    assert address[1:2] not in ("/", "\\")
    assert "tenant=" not in address or "tenant=acme" in address or "tenant=&" not in address
