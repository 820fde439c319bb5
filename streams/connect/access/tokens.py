"""Access tokens: a file of hashes, each with its holder, a role and a tenant.

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
from dataclasses import dataclass, replace
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
    """Without its secret. ``tenant`` None is every tenant: admins only. ``name``: the person or
    program that holds it. Raises `ValueError` for an empty tenant, which comes from an unset
    variable."""

    id: str
    tenant: str | None
    role: str
    sha256: str
    created_ms: int
    expires_ms: int | None = None
    lifetime_ms: int | None = None
    """what it was made for, which a rotation does not shorten; None: for ever"""
    name: str = ""
    rotated_from: str = ""
    """the id of the first token of which this one is a rotation; empty: of none"""

    def __post_init__(self) -> None:
        if self.tenant is not None and not 1 <= len(self.tenant) <= NAME_CHARS_MAX:
            raise ValueError(f"a tenant has 1 to {NAME_CHARS_MAX} characters")

    def allows(self, role: Role) -> bool:
        return Role.named(self.role) >= role

    def speaks_for(self, tenant: str) -> bool:
        return self.tenant is None or self.tenant == tenant

    def has_ended(self, now_ms: int) -> bool:
        return self.expires_ms is not None and now_ms >= self.expires_ms

    @property
    def has_secret(self) -> bool:
        """False for a person who signed in at an OpenID provider."""
        return bool(self.sha256)

    @property
    def holder(self) -> str:
        """The same before and after a rotation."""
        return self.rotated_from or self.id

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
                "it and create new tokens with `dia token create`."
            ) from error
        if document.version != 1:
            raise UsageError(f"{self.path} was written by a newer version of dia; run that one.")
        return document.tokens

    def create(
        self,
        *,
        tenant: str | None,
        role: Role,
        now_ms: int,
        expires_ms: int | None = None,
        name: str = "",
    ) -> tuple[AccessToken, str]:
        """And its text, which is not stored. Raises `UsageError`."""
        if tenant is None and role is not Role.ADMIN:
            raise UsageError("only an admin token may be without --tenant.")
        if tenant is not None:
            named(tenant, "--tenant")
        if name:
            named(name, "--name")
        draft = AccessToken(
            id="",
            tenant=tenant,
            role=role.name.lower(),
            sha256="",
            created_ms=now_ms,
            expires_ms=expires_ms,
            lifetime_ms=_lifetime_ms(now_ms, expires_ms),
            name=name,
        )
        with self._changing() as tokens:
            return self._add(draft, tokens)

    def rotate(
        self, token_id: str, *, now_ms: int, overlap_s: int, expires_ms: int | None = None
    ) -> tuple[AccessToken, str]:
        """A new token of the same holder, role and tenant, and its text. The old one is valid for
        ``overlap_s`` more, never longer than before. Without ``expires_ms`` the new one is valid as
        long as the old one was made for. Raises `UsageError` for an id that is unknown, expired or
        already rotated."""
        with self._changing() as tokens:
            old = self._found(tokens, token_id)
            _check_rotation(old, tokens, now_ms)
            if expires_ms is None and old.lifetime_ms is not None:
                expires_ms = now_ms + old.lifetime_ms
            draft = replace(
                old,
                created_ms=now_ms,
                expires_ms=expires_ms,
                lifetime_ms=_lifetime_ms(now_ms, expires_ms),
                rotated_from=old.holder,
            )
            until_ms = now_ms + overlap_s * 1000
            if old.expires_ms is not None:
                until_ms = min(until_ms, old.expires_ms)
            ended = replace(old, expires_ms=until_ms)
            return self._add(draft, [ended if one is old else one for one in tokens])

    def _add(self, draft: AccessToken, tokens: list[AccessToken]) -> tuple[AccessToken, str]:
        if len(tokens) >= TOKENS_MAX:
            raise UsageError(f"{self.path} holds {TOKENS_MAX} tokens. Revoke some.")
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        token = replace(draft, id=_unused(tokens), sha256=_digest(secret))
        self._write([*tokens, token])
        return token, f"dia_{token.id}_{secret}"

    def revoke(self, token_id: str) -> AccessToken:
        """Raises `UsageError` for an unknown id."""
        with self._changing() as tokens:
            gone = self._found(tokens, token_id)
            self._write(token for token in tokens if token is not gone)
        return gone

    def _found(self, tokens: Iterable[AccessToken], token_id: str) -> AccessToken:
        for token in tokens:
            if token.id == token_id:
                return token
        raise UsageError(f"no token {token_id!r}. `dia token list` shows them.")

    @contextmanager
    def _changing(self) -> Iterator[list[AccessToken]]:
        private_folder(self.path.parent)
        lock = self.path.with_suffix(".lock")
        with exclusive(lock, _LOCK_TIMEOUT_S, waiting=lambda: None):
            yield self.read()

    def _write(self, tokens: Iterable[AccessToken]) -> None:
        document = msgspec.json.format(msgspec.json.encode(_Document(1, [*tokens]))) + b"\n"
        write_atomically(self.path, document, durable=True)


def _check_rotation(old: AccessToken, tokens: Iterable[AccessToken], now_ms: int) -> None:
    """Raises `UsageError`."""
    if old.has_ended(now_ms):
        raise UsageError(
            f"the token {old.id} is expired. Create a new one with `dia token create`."
        )
    newest = max((one for one in tokens if one.holder == old.holder), key=_age)
    if newest is not old:
        raise UsageError(
            f"the token {old.id} is already rotated. Rotate its successor: `dia token rotate {newest.id}`."
        )


def _lifetime_ms(now_ms: int, expires_ms: int | None) -> int | None:
    return None if expires_ms is None else expires_ms - now_ms


def _age(token: AccessToken) -> tuple[int, bool]:
    return token.created_ms, bool(token.rotated_from)


def _unused(tokens: list[AccessToken]) -> str:
    taken = {token.id for token in tokens}
    while (candidate := secrets.token_hex(4)) in taken:
        pass
    return candidate


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
