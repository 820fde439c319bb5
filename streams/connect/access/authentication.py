"""Maps the Authorization header to an access token."""

from __future__ import annotations

from dataclasses import replace

import structlog

from streams.connect.access.last_uses import LastUses
from streams.connect.access.refusals import TokensUnreadable, Unauthenticated
from streams.connect.access.tokens import AccessToken, Credential, TokenFile
from streams.core.clock import Clock
from streams.core.errors import UsageError

log = structlog.get_logger(__name__)

_SCHEME = "bearer"
_DUMMY_TOKEN = AccessToken(id="", tenant="none", role="read", sha256="0" * 64, created_ms=0)


class Authenticator:
    """A revoked token ends at the next request. ``uses`` records each use."""

    def __init__(self, file: TokenFile, uses: LastUses | None = None) -> None:
        self._file = file
        self._uses = uses
        self._stamp: tuple[int, int, int] | None = None
        self._tokens: dict[str, AccessToken] = {}

    def token_of(self, authorization: str | None, now_ms: int) -> AccessToken:
        """Raises `Unauthenticated` without a reason, and `TokensUnreadable`."""
        self._refresh()
        scheme, _, text = (authorization or "").partition(" ")
        shown = Credential.read(text.strip()) if scheme.lower() == _SCHEME else None
        if shown is not None:
            # Constant time: an unknown id takes as long as a wrong secret.
            token = self._tokens.get(shown.id, _DUMMY_TOKEN)
            if shown.opens(token) and not token.has_ended(now_ms):
                self._note(token, now_ms)
                return token
        raise Unauthenticated(
            "a valid token is required: Authorization: Bearer dia_... `dia token create` makes one."
        )

    def holds(self, token: AccessToken, now_ms: int) -> bool:
        """Raises `TokensUnreadable`."""
        self._refresh()
        found = self._tokens.get(token.id)
        # A rotation changes when a token ends, and nothing else of it.
        if found is None or replace(token, expires_ms=found.expires_ms) != found:
            return False
        if found.has_ended(now_ms):
            return False
        self._note(found, now_ms)
        return True

    async def note_uses(self, clock: Clock) -> None:
        """Write the last uses until cancelled."""
        if self._uses is not None:
            await self._uses.run(clock)

    def _note(self, token: AccessToken, now_ms: int) -> None:
        if self._uses is not None:
            self._uses.note(token.id, now_ms)

    def _refresh(self) -> None:
        try:
            found = self._file.path.stat()
        except FileNotFoundError:
            self._stamp, self._tokens = None, {}
            return
        stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
        if stamp != self._stamp:
            try:
                found_tokens = self._file.read()
            except UsageError as error:
                log.error("tokens_unreadable", why=str(error))  # noqa: TRY400 - said, not traced
                raise TokensUnreadable("tokens cannot be checked now") from error
            self._tokens = {token.id: token for token in found_tokens}
            self._stamp = stamp
