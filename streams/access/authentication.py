"""From the Authorization header to the token it stands for."""

from __future__ import annotations

from streams.access.refusals import Unauthenticated
from streams.access.tokens import Credential, Token, TokenFile

_SCHEME = "bearer"
_NOBODY = Token(id="", tenant="", role="read", sha256="0" * 64, created_ms=0)


class Authenticator:
    """Knows the tokens of a `TokenFile` as it stands: a revoked one ends at the next request."""

    def __init__(self, file: TokenFile) -> None:
        self._file = file
        self._stamp: tuple[int, int, int] | None = None
        self._tokens: dict[str, Token] = {}

    def token_of(self, authorization: str | None, now_ms: int) -> Token:
        """The holder's token. Raises `Unauthenticated`, without saying what was wrong, and
        `UsageError` when the file cannot be read."""
        self._refresh()
        scheme, _, text = (authorization or "").partition(" ")
        shown = Credential.read(text.strip()) if scheme.lower() == _SCHEME else None
        if shown is not None:
            # An unknown id takes as long as a wrong secret.
            token = self._tokens.get(shown.id, _NOBODY)
            if shown.opens(token) and (token.expires_ms is None or now_ms < token.expires_ms):
                return token
        raise Unauthenticated(
            "a valid token is required: Authorization: Bearer dia_... "
            "`dia edge token create` makes one."
        )

    def _refresh(self) -> None:
        try:
            found = self._file.path.stat()
        except FileNotFoundError:
            self._stamp, self._tokens = None, {}
            return
        stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
        if stamp != self._stamp:
            self._tokens = {token.id: token for token in self._file.read()}
            self._stamp = stamp
