"""``DIA_OIDC_FILE``: the provider of one console, and what claims grant, as TOML."""

from __future__ import annotations

import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from streams.connect.access.listening import is_loopback
from streams.connect.access.tokens import Role
from streams.core.errors import UsageError
from streams.core.settings import secret_file
from streams.core.settings.tls import TlsFiles
from streams.core.words.naming import NAME_CHARS_MAX

VARIABLE = "DIA_OIDC_FILE"
BEGIN = "/session/oidc"
CALLBACK = f"{BEGIN}/callback"
"""paths of the console"""
GRANTS_MAX = 1000
SESSION_MIN_S, SESSION_MAX_S = 60.0, 12 * 3600.0


class ClaimGrant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``role`` in a tenant, where ``claim`` is or holds ``value``.

    The tenant is ``tenant``, or each value of ``tenant_claim``, or all with ``every_tenant``.
    ``claim`` and ``tenant_claim`` are names, or paths with dots into objects. An empty ``value``
    is any value."""

    claim: str
    role: str
    value: str = ""
    tenant: str = ""
    tenant_claim: str = ""
    every_tenant: bool = False

    def __post_init__(self) -> None:
        if not self.claim:
            raise ValueError("a grant names a claim")
        if self.role not in [role.name.lower() for role in Role]:
            raise ValueError(f"role {self.role!r} is not one of read, operate, admin")
        if bool(self.tenant) + bool(self.tenant_claim) + self.every_tenant != 1:
            raise ValueError("a grant has one of tenant, tenant_claim and every_tenant = true")
        if len(self.tenant) > NAME_CHARS_MAX:
            raise ValueError(f"a tenant has at most {NAME_CHARS_MAX} characters")
        if self.every_tenant and (self.role != "admin" or not self.value):
            raise ValueError('every_tenant needs role = "admin" and a value of the claim')


class OidcConfiguration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``console``: the console's address as browsers name it, such as https://console.example.com.
    ``name_claim``: the name of a person in pages and in the log of operations. ``session_s``: after so
    long, used or not, a session ends, and the provider is asked again what the person may do."""

    issuer: str
    client_id: str
    console: str
    grants: list[ClaimGrant]
    client_secret_file: str = ""
    ca_file: str = ""
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    name_claim: str = "email"
    timeout_s: float = 5.0
    session_s: float = 3600.0

    def __post_init__(self) -> None:
        for name in ("issuer", "console"):
            require_encrypted(getattr(self, name), name)
        if not self.client_id:
            raise ValueError("client_id is empty")
        if "openid" not in self.scopes:
            raise ValueError("scopes must hold openid, else the provider gives no ID token")
        if not 0.1 <= self.timeout_s <= 60:
            raise ValueError("timeout_s is from 0.1 to 60")
        if not SESSION_MIN_S <= self.session_s <= SESSION_MAX_S:
            raise ValueError(f"session_s is from {SESSION_MIN_S:g} to {SESSION_MAX_S:g}")
        if not 1 <= len(self.grants) <= GRANTS_MAX:
            raise ValueError(f"there are 1 to {GRANTS_MAX} grants")

    @property
    def callback(self) -> str:
        """The address that is registered at the provider."""
        return self.console.rstrip("/") + CALLBACK

    def secret(self) -> str:
        """ "" for a public client. Raises `UsageError`."""
        return secret_file.read(f"client_secret_file of {VARIABLE}", self.client_secret_file)

    def tls(self) -> TlsFiles:
        return TlsFiles(variables="DIA_OIDC", ca=self.ca_file)


def read_configuration(path: str) -> OidcConfiguration | None:
    """None without a path. Raises `UsageError` for a file that does not say all that is needed."""
    if not path:
        return None
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        return msgspec.convert(content, OidcConfiguration)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{VARIABLE}={path} cannot be used: {error}. Correct it as docs/signing_in.md shows."
        ) from error


def require_encrypted(url: str, name: str) -> None:
    """Raises `ValueError` for an address without TLS beyond loopback, or with a query."""
    parts = urlsplit(url)
    local = parts.scheme == "http" and is_loopback(parts.hostname or "")
    if not parts.hostname or not (parts.scheme == "https" or local):
        raise ValueError(f"{name} is no https:// address (http:// only of loopback)")
    if parts.query or parts.fragment or parts.username:
        raise ValueError(f"{name} has a query, a fragment or a user")
