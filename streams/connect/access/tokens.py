"""Access tokens: a file of hashes, each with a role and a tenant.

A token is ``dia_<id>_<secret>``: an id of eight hexadecimal digits and 256 random bits. The file
holds the SHA-256 of the secret: random secrets need no slow hash, whose cost per request would
exhaust the server."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import msgspec

from streams.core.errors import UsageError
from streams.core.process.atomic_file import write_atomically
from streams.core.process.file_lock import exclusive
from streams.core.process.file_modes import private_folder, refuse_loose
from streams.core.words.naming import NAME_CHARS_MAX, named

_FORM = re.compile(r"dia_(?P<id>[0-9a-f]{8})_(?P<secret>[A-Za-z0-9_-]{43})", re.ASCII)
_SECRET_BYTES = 32
_LOCK_TIMEOUT_S = 10.0
TOKENS_MAX = 10_000


class Role(IntEnum):
    """Each role includes those before it."""

    READ = 1
    """of its tenant's results"""
    OPERATE = 2
    """also post events of its tenant"""
    ADMIN = 3

    @classmethod
    def named(cls, name: str) -> Role:
        """Raises `UsageError`."""
        try:
            return cls[name.upper()]
        except KeyError:
            known = ", ".join(role.name.lower() for role in cls)
            raise UsageError(f"no role {name!r}; there are: {known}.") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """Without its secret. ``tenant`` None is every tenant: admins only. Raises `ValueError` for an
    empty tenant, which comes from an unset variable."""

    id: str
    tenant: str | None
    role: str
    sha256: str
    created_ms: int
    expires_ms: int | None = None

    def __post_init__(self) -> None:
        if self.tenant is not None and not 1 <= len(self.tenant) <= NAME_CHARS_MAX:
            raise ValueError(f"a tenant has 1 to {NAME_CHARS_MAX} characters")

    def allows(self, role: Role) -> bool:
        return Role.named(self.role) >= role

    def speaks_for(self, tenant: str) -> bool:
        return self.tenant is None or self.tenant == tenant

    @property
    def owner(self) -> str:
        """Of bounded resources: the tenant, whatever its token."""
        return f"token {self.id}" if self.tenant is None else f"tenant {self.tenant}"


class Credential(NamedTuple):
    id: str
    secret: str

    @classmethod
    def read(cls, text: str) -> Credential | None:
        found = _FORM.fullmatch(text)
        return cls(found["id"], found["secret"]) if found else None

    def opens(self, token: AccessToken) -> bool:
        """Compares in constant time."""
        return hmac.compare_digest(_digest(self.secret), token.sha256)


class _Document(msgspec.Struct, frozen=True):
    """The file: ``version`` 1."""

    version: int
    tokens: list[AccessToken]


class TokenFile:
    """Of one installation, readable by their owner only; replaced atomically."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, home: Path, elsewhere: str = "") -> TokenFile:
        return cls(Path(elsewhere) if elsewhere else home / "access" / "tokens.json")

    def read(self) -> list[AccessToken]:
        """Expired ones included; none without a file. Raises `UsageError` when the file cannot be
        read: it must not look empty."""
        try:
            refuse_loose("DIA_TOKENS_FILE", self.path)
            document = msgspec.json.decode(self.path.read_bytes(), type=_Document)
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise UsageError(
                f"the tokens in {self.path} cannot be read: {error}. Restore the file, or remove "
                "it and create new tokens with `dia edge token create`."
            ) from error
        if document.version != 1:
            raise UsageError(f"{self.path} was written by a newer version of dia; run that one.")
        return document.tokens

    def create(
        self, *, tenant: str | None, role: Role, now_ms: int, expires_ms: int | None = None
    ) -> tuple[AccessToken, str]:
        """And its text, which is not stored."""
        if tenant is None and role is not Role.ADMIN:
            raise UsageError("only an admin token may be without --tenant.")
        if tenant is not None:
            named(tenant, "--tenant")
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        with self._changing() as tokens:
            if len(tokens) >= TOKENS_MAX:
                raise UsageError(f"{self.path} holds {TOKENS_MAX} tokens. Revoke some.")
            token = AccessToken(
                id=_unused(tokens),
                tenant=tenant,
                role=role.name.lower(),
                sha256=_digest(secret),
                created_ms=now_ms,
                expires_ms=expires_ms,
            )
            self._write([*tokens, token])
        return token, f"dia_{token.id}_{secret}"

    def revoke(self, token_id: str) -> AccessToken:
        """Raises `UsageError` for an unknown id."""
        with self._changing() as tokens:
            found = [token for token in tokens if token.id == token_id]
            if not found:
                raise UsageError(f"no token {token_id!r}. `dia edge token list` shows them.")
            self._write([token for token in tokens if token.id != token_id])
        return found[0]

    @contextmanager
    def _changing(self) -> Iterator[list[AccessToken]]:
        private_folder(self.path.parent)
        lock = self.path.with_suffix(".lock")
        with exclusive(lock, _LOCK_TIMEOUT_S, waiting=lambda: None):
            yield self.read()

    def _write(self, tokens: Iterable[AccessToken]) -> None:
        document = msgspec.json.format(msgspec.json.encode(_Document(1, [*tokens]))) + b"\n"
        write_atomically(self.path, document, durable=True)


def _unused(tokens: list[AccessToken]) -> str:
    taken = {token.id for token in tokens}
    while (candidate := secrets.token_hex(4)) in taken:
        pass
    return candidate


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
