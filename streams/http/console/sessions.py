"""Browser sessions, kept by the server: a cookie names one, and holds no token.

A session is as good as the token that began it: whoever asks looks the token up again, so that a
revoked one ends its sessions too. A restart of the console ends all of them. A page gets a new name
for its session every `RENEWED_S`; the one before it serves for `FORMER_S` more, for requests that
were under way. So a name that leaked is of use for minutes.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass

from streams.connect.access.tokens import AccessToken
from streams.core.clock import Clock
from streams.http.console.owned_entries import OwnedEntries

COOKIE = "dia_session"
HOST_ONLY = "__Host-"
"""Before the name of a cookie: browsers take it by TLS only, for this host and no other's."""
LONGEST_S = 12 * 3600.0
IDLE_S = 3600.0
RENEWED_S = 900.0
FORMER_S = 60.0
SESSIONS_MAX = 10_000
TOKEN_SESSIONS_MAX = 20
_NAME_BYTES = 32


@dataclass(slots=True)
class Session:
    """``csrf`` is shown to pages of ours only; times are monotonic seconds."""

    token: AccessToken
    csrf: str
    began_s: float
    used_s: float
    named_s: float

    def proves(self, shown: str) -> bool:
        """Compared in constant time."""
        return hmac.compare_digest(self.csrf.encode(), shown.encode())


@dataclass(slots=True)
class _Name:
    """What a cookie says. ``until_s``: of a name that was replaced."""

    session: Session
    until_s: float | None = None


class SessionStore:
    """Bounded: a token has at most `TOKEN_SESSIONS_MAX`, beyond which its session that was idle
    longest ends; beyond `SESSIONS_MAX` it is one of the token that has most."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # A name that was replaced takes a place of its own for a minute.
        self._names: OwnedEntries[_Name] = OwnedEntries(
            total_max=SESSIONS_MAX, owner_max=TOKEN_SESSIONS_MAX
        )

    def begin(self, token: AccessToken) -> str:
        """A new session; the value of its cookie."""
        now_s = self._clock.monotonic()
        if len(self._names) >= SESSIONS_MAX:
            self._names.keep(lambda name: not _over(name, now_s))
        session = Session(token, secrets.token_urlsafe(_NAME_BYTES), now_s, now_s, now_s)
        return self._named(session)

    def find(self, name: str | None) -> Session | None:
        """The session of a cookie, which is in use again; None for one that is over."""
        found = self._names.get(name or "")
        now_s = self._clock.monotonic()
        if found is None or name is None or _over(found, now_s):
            self._names.pop(name or "")
            return None
        found.session.used_s = now_s
        return found.session

    def renewed(self, name: str) -> str | None:
        """Another name for the session of a cookie; None while it needs none."""
        found, now_s = self._names.get(name), self._clock.monotonic()
        if found is None or found.until_s is not None:
            return None
        if now_s < found.session.named_s + RENEWED_S:
            return None
        found.until_s = now_s + FORMER_S
        found.session.named_s = now_s
        return self._named(found.session)

    def end(self, name: str | None) -> None:
        """Under all its names."""
        found = self._names.get(name or "")
        if found is not None:
            ended = found.session
            self._names.keep(lambda one: one.session is not ended, ended.token.id)

    def left_s(self, session: Session) -> float:
        """Until it ends, used or not."""
        return session.began_s + LONGEST_S - self._clock.monotonic()

    def _named(self, session: Session) -> str:
        name = secrets.token_urlsafe(_NAME_BYTES)
        self._names.put(session.token.id, name, _Name(session))
        return name


def _over(name: _Name, now_s: float) -> bool:
    session = name.session
    if name.until_s is not None and now_s >= name.until_s:
        return True
    return now_s >= min(session.began_s + LONGEST_S, session.used_s + IDLE_S)
