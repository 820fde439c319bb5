"""Browser sessions, kept by the server: a cookie names one, and holds no token.

A session is as good as the token that began it: whoever asks looks the token up again, so that a
revoked one ends its sessions too. A restart of the console ends all of them.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass

from streams.access.tokens import Token
from streams.clock import Clock

COOKIE = "dia_session"
LONGEST_S = 12 * 3600.0
IDLE_S = 3600.0
SESSIONS_MAX = 10_000
_NAME_BYTES = 32


@dataclass(slots=True)
class Session:
    """``csrf`` is shown to pages of ours only; times are monotonic seconds."""

    token: Token
    csrf: str
    began_s: float
    used_s: float

    def proves(self, shown: str) -> bool:
        """Compared in constant time."""
        return hmac.compare_digest(self.csrf.encode(), shown.encode())


class Sessions:
    """Bounded: beyond `SESSIONS_MAX` the one that was idle longest ends."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sessions: dict[str, Session] = {}

    def begin(self, token: Token) -> str:
        """A new session; the value of its cookie."""
        now_s = self._clock.monotonic()
        if len(self._sessions) >= SESSIONS_MAX:
            self._sessions = {n: s for n, s in self._sessions.items() if not _over(s, now_s)}
        if len(self._sessions) >= SESSIONS_MAX:
            idlest = min(self._sessions, key=lambda name: self._sessions[name].used_s)
            del self._sessions[idlest]
        name = secrets.token_urlsafe(_NAME_BYTES)
        self._sessions[name] = Session(token, secrets.token_urlsafe(_NAME_BYTES), now_s, now_s)
        return name

    def find(self, name: str | None) -> Session | None:
        """The session of a cookie, which is in use again; None for one that is over."""
        session = self._sessions.get(name or "")
        now_s = self._clock.monotonic()
        if session is None or _over(session, now_s):
            self.end(name)
            return None
        session.used_s = now_s
        return session

    def end(self, name: str | None) -> None:
        self._sessions.pop(name or "", None)

    def left_s(self, session: Session) -> float:
        """Until it ends, used or not."""
        return session.began_s + LONGEST_S - self._clock.monotonic()


def _over(session: Session, now_s: float) -> bool:
    return now_s >= min(session.began_s + LONGEST_S, session.used_s + IDLE_S)
