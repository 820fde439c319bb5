"""Tokens: what the file stores, what each token allows, and when it ends."""

from __future__ import annotations

import json
import stat

import pytest

from streams.cli import main
from streams.connect.access.authentication import Authenticator
from streams.connect.access.last_uses import LastUses
from streams.connect.access.refusals import TokensUnreadable, Unauthenticated
from streams.connect.access.tokens import Role, TokenFile
from streams.core.errors import UsageError

NOW_MS = 1_700_000_000_000


@pytest.fixture
def file(tmp_path) -> TokenFile:
    return TokenFile.of(tmp_path)


def bearer(text: str) -> str:
    return f"Bearer {text}"


def test_the_file_holds_no_secret_and_is_its_owners_alone(file):
    """A copy of the file does not allow access."""
    _, text = file.create(tenant="acme", role=Role.OPERATE, now_ms=NOW_MS)
    assert text.split("_", 2)[2] not in file.path.read_text()
    assert text[13:] not in file.path.read_text()
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert list(file.path.parent.glob("*.draft")) == []


def test_a_token_is_valid_for_its_tenant_and_role(file):
    """The file decides what a token may do; claims of the request do not count."""
    made, text = file.create(tenant="acme", role=Role.OPERATE, now_ms=NOW_MS)
    found = Authenticator(file).token_of(bearer(text), NOW_MS)
    assert found == made
    assert [found.allows(role) for role in Role] == [True, True, False]
    assert [found.speaks_for(tenant) for tenant in ("acme", "other")] == [True, False]


def test_only_the_role_admin_is_valid_for_every_tenant(file):
    """A token for all tenants is for operators of the installation."""
    with pytest.raises(UsageError, match="--tenant"):
        file.create(tenant=None, role=Role.OPERATE, now_ms=NOW_MS)
    made, _ = file.create(tenant=None, role=Role.ADMIN, now_ms=NOW_MS)
    assert made.speaks_for("anyone")


@pytest.mark.parametrize("tenant", ["", "x" * 129])
@pytest.mark.parametrize("role", Role)
def test_a_tenant_without_a_name_is_refused(file, tenant, role):
    """An unset shell variable must not make a token for all tenants."""
    with pytest.raises(UsageError, match="--tenant"):
        file.create(tenant=tenant, role=role, now_ms=NOW_MS)
    assert not file.path.exists()


def test_a_file_with_such_a_token_refuses_every_request(file):
    """The file may be edited by hand, or come from an older version."""
    _, text = file.create(tenant="acme", role=Role.READ, now_ms=NOW_MS)
    file.path.write_text(file.path.read_text().replace('"acme"', '""'))
    with pytest.raises(TokensUnreadable):
        Authenticator(file).token_of(bearer(text), NOW_MS)


@pytest.mark.parametrize("change", [str.upper, lambda t: t[:-1], lambda t: t + "x", lambda t: ""])
def test_a_damaged_token_is_refused(file, change):
    """Every changed character invalidates the token."""
    _, text = file.create(tenant="acme", role=Role.READ, now_ms=NOW_MS)
    desk = Authenticator(file)
    assert desk.token_of(bearer(text), NOW_MS).tenant == "acme"
    with pytest.raises(Unauthenticated):
        desk.token_of(bearer(change(text)), NOW_MS)


@pytest.mark.parametrize("header", [None, "", "Basic YTpi", "Bearer", "Bearer dia_00000000_x"])
def test_other_headers_are_refused(file, header):
    """A missing header, another scheme and an unknown id get the same answer."""
    file.create(tenant="acme", role=Role.READ, now_ms=NOW_MS)
    with pytest.raises(Unauthenticated):
        Authenticator(file).token_of(header, NOW_MS)


def test_the_secret_of_one_token_does_not_open_another(file):
    """An id is public and gives no access alone."""
    first, text = file.create(tenant="acme", role=Role.READ, now_ms=NOW_MS)
    second, _ = file.create(tenant="other", role=Role.ADMIN, now_ms=NOW_MS)
    with pytest.raises(Unauthenticated):
        Authenticator(file).token_of(bearer(text.replace(first.id, second.id)), NOW_MS)


def test_a_token_ends_at_its_time(file):
    """The token is invalid from the first instant after its end."""
    _, text = file.create(tenant="acme", role=Role.READ, now_ms=NOW_MS, expires_ms=NOW_MS + 1000)
    desk = Authenticator(file)
    assert desk.token_of(bearer(text), NOW_MS + 999)
    with pytest.raises(Unauthenticated):
        desk.token_of(bearer(text), NOW_MS + 1000)


def test_a_revoked_token_ends_in_a_process_that_already_knows_it(file):
    """Revocation takes effect without a restart."""
    kept, kept_text = file.create(tenant="acme", role=Role.READ, now_ms=NOW_MS)
    gone, gone_text = file.create(tenant="acme", role=Role.READ, now_ms=NOW_MS)
    desk = Authenticator(file)
    assert desk.token_of(bearer(gone_text), NOW_MS) == gone
    TokenFile(file.path).revoke(gone.id)
    with pytest.raises(Unauthenticated):
        desk.token_of(bearer(gone_text), NOW_MS)
    assert desk.token_of(bearer(kept_text), NOW_MS) == kept


def test_a_rotated_token_is_valid_for_the_overlap_and_its_successor_after_it(file):
    """A person changes a token in all programs before the old one ends."""
    old, old_text = file.create(
        tenant="acme", role=Role.READ, now_ms=NOW_MS, expires_ms=NOW_MS + 90_000_000, name="alice"
    )
    desk = Authenticator(file)
    assert desk.token_of(bearer(old_text), NOW_MS) == old
    new, new_text = file.rotate(old.id, now_ms=NOW_MS + 1000, overlap_s=60)
    assert (new.name, new.role, new.tenant) == ("alice", "read", "acme")
    assert new.id != old.id
    assert new.holder == old.holder
    assert desk.token_of(bearer(new_text), NOW_MS + 1000) == new
    assert desk.token_of(bearer(old_text), NOW_MS + 60_999).id == old.id
    assert desk.holds(old, NOW_MS + 60_999), "a browser stays signed in"
    assert not desk.holds(old, NOW_MS + 61_000)
    with pytest.raises(Unauthenticated):
        desk.token_of(bearer(old_text), NOW_MS + 61_000)
    assert new.expires_ms == NOW_MS + 1000 + 90_000_000, "valid as long as the old one was made for"
    assert desk.token_of(bearer(new_text), new.expires_ms - 1) == new


def test_a_rotation_lengthens_no_token(file):
    """The overlap of a token that ends soon must not keep it."""
    old, _ = file.create(tenant="acme", role=Role.READ, now_ms=NOW_MS, expires_ms=NOW_MS + 1000)
    file.rotate(old.id, now_ms=NOW_MS, overlap_s=60)
    assert [one.expires_ms for one in file.read() if one.id == old.id] == [NOW_MS + 1000]


@pytest.mark.parametrize("lifetime_ms", [None, 90_000_000])
def test_a_rotation_that_was_lost_shortens_no_later_one(file, lifetime_ms):
    """A text is shown once. Who lost it revokes it and rotates the old token again, in its overlap."""
    ends_ms = None if lifetime_ms is None else NOW_MS + lifetime_ms
    old, _ = file.create(tenant="acme", role=Role.READ, now_ms=NOW_MS, expires_ms=ends_ms)
    lost, _ = file.rotate(old.id, now_ms=NOW_MS, overlap_s=60)
    file.revoke(lost.id)
    new, _ = file.rotate(old.id, now_ms=NOW_MS + 1000, overlap_s=60)
    assert new.expires_ms == (None if lifetime_ms is None else NOW_MS + 1000 + lifetime_ms)
    assert new.holder == old.holder


def test_an_expired_or_rotated_token_is_not_rotated(file):
    """An old token would otherwise make new ones for ever."""
    old, _ = file.create(tenant="acme", role=Role.READ, now_ms=NOW_MS, expires_ms=NOW_MS + 1000)
    with pytest.raises(UsageError, match="expired"):
        file.rotate(old.id, now_ms=NOW_MS + 1000, overlap_s=60)
    new, _ = file.rotate(old.id, now_ms=NOW_MS, overlap_s=60)
    with pytest.raises(UsageError, match=f"dia token rotate {new.id}"):
        file.rotate(old.id, now_ms=NOW_MS, overlap_s=60)
    newest, _ = file.rotate(new.id, now_ms=NOW_MS, overlap_s=60)
    assert newest.holder == old.id
    assert len(file.read()) == 3


def test_a_damaged_file_refuses_every_request_and_is_not_overwritten(file):
    """An unreadable file must not count as empty: the next token would erase all others."""
    file.create(tenant="acme", role=Role.READ, now_ms=NOW_MS)
    file.path.write_text("{")
    with pytest.raises(TokensUnreadable):
        Authenticator(file).token_of("Bearer x", NOW_MS)
    with pytest.raises(UsageError, match="cannot be read"):
        file.create(tenant="acme", role=Role.READ, now_ms=NOW_MS)
    assert file.path.read_text() == "{"


def test_the_commands_create_list_rotate_and_revoke(tmp_path, capsys):
    """The printed token works until it is revoked, and its rotation after it."""
    home = ["--home", str(tmp_path), "--json"]
    create = ["token", "create", "--name", "alice", "--tenant", "acme", "--days", "1", *home]
    assert main(create) == 0
    shown = json.loads(capsys.readouterr().out)
    file = TokenFile.of(tmp_path)
    desk = Authenticator(file, LastUses.of(tmp_path, file))
    token = desk.token_of(bearer(shown["token"]), NOW_MS)
    assert (token.id, token.tenant, token.role) == (shown["id"], "acme", "operate")
    assert main(["token", "rotate", token.id, "--overlap", "7d", *home]) == 0
    rotated = json.loads(capsys.readouterr().out)
    assert desk.token_of(bearer(rotated["token"]), NOW_MS).name == "alice"
    assert desk.token_of(bearer(shown["token"]), NOW_MS).id == token.id
    desk._uses.write()
    assert main(["token", "list", *home]) == 0
    listed = capsys.readouterr().out
    rows = [json.loads(line) for line in listed.splitlines()]
    assert [(row["id"], row["name"]) for row in rows] == [
        (token.id, "alice"),
        (rotated["id"], "alice"),
    ]
    assert {row["last_used"] for row in rows} == {"2023-11-14T22:13:20Z"}
    assert shown["token"] not in listed
    assert main(["token", "revoke", token.id, *home]) == 0
    assert main(["token", "revoke", token.id, *home]) == 2
    assert "dia token list" in capsys.readouterr().err
    with pytest.raises(Unauthenticated):
        desk.token_of(bearer(shown["token"]), NOW_MS)
    assert desk.token_of(bearer(rotated["token"]), NOW_MS).id == rotated["id"]


def test_the_file_may_lie_elsewhere(tmp_path, monkeypatch):
    """A cluster mounts the file from a Secret, which is made by the same commands."""
    elsewhere = tmp_path / "tokens.json"
    monkeypatch.setenv("DIA_TOKENS_FILE", str(elsewhere))
    home = tmp_path / "home"
    assert main(["token", "create", "--role", "admin", "--home", str(home)]) == 0
    (made,) = TokenFile.of(home, str(elsewhere)).read()
    assert json.loads(elsewhere.read_text())["tokens"][0]["id"] == made.id
    assert TokenFile.of(home).read() == []


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--role", "king", "--tenant", "t"], "read, operate, admin"),
        (["--role", "read"], "--tenant"),
    ],
)
def test_a_usage_error_makes_no_token(tmp_path, capsys, argv, said):
    """A mistyped role must not make a token with another role."""
    assert main(["token", "create", *argv, "--home", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err
    assert TokenFile.of(tmp_path).read() == []
