"""Browser sessions on the server: the cookie names a session and holds no token.

Each request reads the token again, so revoking it ends its sessions. A session that began at an OpenID
provider holds a person in place of a token: nothing says that the person lost a role, so it ends after
``session_s`` of DIA_OIDC_FILE, and the person signs in again. A restart of the console ends all. The name rotates every `RENEWED_S`; the previous one is valid for `FORMER_S` more, for requests
in progress. So a leaked name is usable for minutes."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field

from streams.connect.access.tokens import AccessToken
from streams.core.clock import Clock
from streams.http.console.access.owned_entries import OwnedEntries

COOKIE = "dia_session"
HOST_ONLY = "__Host-"
"""Browsers accept the cookie over TLS only, for this host only."""
LONGEST_S = 12 * 3600.0
IDLE_S = 3600.0
RENEWED_S = 900.0
FORMER_S = 60.0
SESSIONS_MAX = 10_000
TOKEN_SESSIONS_MAX = 20
ID_TOKEN_CHARS_MAX = 4096
"""It goes back in an address, of which servers read some 8 KiB; all sessions hold 40 MB at most."""
_NAME_BYTES = 32


@dataclass(slots=True)
class Session:
    """``csrf`` is sent to the console's pages only; times are monotonic seconds. ``longest_s``: it ends so long
    after its begin, used or not. ``id_token``: it began at an OpenID provider, and ``token`` is a person
    without a secret; "": one that is too long to be kept."""

    token: AccessToken
    csrf: str
    began_s: float
    used_s: float
    named_s: float
    longest_s: float
    id_token: str | None = field(default=None, repr=False)

    @property
    def at_provider(self) -> bool:
        return self.id_token is not None

    def proves(self, shown: str) -> bool:
        """Compares in constant time."""
        return hmac.compare_digest(self.csrf.encode(), shown.encode())


@dataclass(slots=True)
class _Name:
    """``until_s`` is set for a replaced name."""

    session: Session
    until_s: float | None = None


class SessionStore:
    """Beyond `TOKEN_SESSIONS_MAX` of a token its longest idle session ends; beyond `SESSIONS_MAX`
    one of the token with the most."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._names: OwnedEntries[_Name] = OwnedEntries(
            total_max=SESSIONS_MAX, owner_max=TOKEN_SESSIONS_MAX
        )

    def begin(
        self, token: AccessToken, *, id_token: str | None = None, longest_s: float = LONGEST_S
    ) -> str:
        """Returns the cookie's value. An ``id_token`` above `ID_TOKEN_CHARS_MAX` is not kept."""
        now_s = self._clock.monotonic()
        if len(self._names) >= SESSIONS_MAX:
            self._names.keep(lambda name: not _over(name, now_s))
        session = Session(token, secrets.token_urlsafe(_NAME_BYTES), now_s, now_s, now_s, longest_s)
        if id_token is not None:
            session.id_token = id_token if len(id_token) <= ID_TOKEN_CHARS_MAX else ""
        return self._named(session)

    def find(self, name: str | None) -> Session | None:
        """Counts as a use; None for an ended session."""
        found = self._names.get(name or "")
        now_s = self._clock.monotonic()
        if found is None or name is None or _over(found, now_s):
            self._names.pop(name or "")
            return None
        found.session.used_s = now_s
        return found.session

    def renewed(self, name: str) -> str | None:
        """A new name for the session of a cookie; None before rotation is due."""
        found, now_s = self._names.get(name), self._clock.monotonic()
        if found is None or found.until_s is not None:
            return None
        if now_s < found.session.named_s + RENEWED_S:
            return None
        found.until_s = now_s + FORMER_S
        found.session.named_s = now_s
        return self._named(found.session)

    def end(self, name: str | None) -> None:
        """End the session under all its names."""
        found = self._names.get(name or "")
        if found is not None:
            ended = found.session
            self._names.keep(lambda one: one.session is not ended, ended.token.id)

    def left_s(self, session: Session) -> float:
        """Seconds until it ends, used or not."""
        return session.began_s + session.longest_s - self._clock.monotonic()

    def _named(self, session: Session) -> str:
        name = secrets.token_urlsafe(_NAME_BYTES)
        self._names.put(session.token.id, name, _Name(session))
        return name


def _over(name: _Name, now_s: float) -> bool:
    session = name.session
    if name.until_s is not None and now_s >= name.until_s:
        return True
    return now_s >= min(session.began_s + session.longest_s, session.used_s + IDLE_S)
