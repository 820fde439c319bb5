"""Tokens: what the file stores, what each token allows, and when it ends."""

from __future__ import annotations

import json
import stat

import pytest

from streams.cli import main
from streams.connect.access.authentication import Authenticator
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


def test_a_damaged_file_refuses_every_request_and_is_not_overwritten(file):
    """An unreadable file must not count as empty: the next token would erase all others."""
    file.create(tenant="acme", role=Role.READ, now_ms=NOW_MS)
    file.path.write_text("{")
    with pytest.raises(TokensUnreadable):
        Authenticator(file).token_of("Bearer x", NOW_MS)
    with pytest.raises(UsageError, match="cannot be read"):
        file.create(tenant="acme", role=Role.READ, now_ms=NOW_MS)
    assert file.path.read_text() == "{"


def test_the_commands_create_list_and_revoke(tmp_path, capsys):
    """The printed token works until it is revoked."""
    home = ["--home", str(tmp_path), "--json"]
    assert main(["edge", "token", "create", "--tenant", "acme", "--days", "1", *home]) == 0
    shown = json.loads(capsys.readouterr().out)
    desk = Authenticator(TokenFile.of(tmp_path))
    token = desk.token_of(bearer(shown["token"]), NOW_MS)
    assert (token.id, token.tenant, token.role) == (shown["id"], "acme", "operate")
    assert main(["edge", "token", "list", *home]) == 0
    listed = capsys.readouterr().out
    assert json.loads(listed)["id"] == token.id
    assert shown["token"] not in listed
    assert main(["edge", "token", "revoke", token.id, *home]) == 0
    assert main(["edge", "token", "revoke", token.id, *home]) == 2
    assert "dia edge token list" in capsys.readouterr().err
    with pytest.raises(Unauthenticated):
        desk.token_of(bearer(shown["token"]), NOW_MS)


def test_the_file_may_lie_elsewhere(tmp_path, monkeypatch):
    """A cluster mounts the file from a Secret, which is made by the same commands."""
    elsewhere = tmp_path / "tokens.json"
    monkeypatch.setenv("DIA_TOKENS_FILE", str(elsewhere))
    home = tmp_path / "home"
    assert main(["edge", "token", "create", "--role", "admin", "--home", str(home)]) == 0
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
    assert main(["edge", "token", "create", *argv, "--home", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err
    assert TokenFile.of(tmp_path).read() == []
