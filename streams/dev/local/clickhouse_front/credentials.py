"""The one user of a front, and ClickHouse's three ways to authenticate a request."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from pathlib import Path

from streams.dev.local.clickhouse_front.errors import AUTHENTICATION_FAILED, StatementFailed


class Credentials:
    """``password_file`` is read once, without its last line break."""

    def __init__(self, user: str, password_file: Path) -> None:
        self._user = user.encode()
        self._password = password_file.read_bytes().rstrip(b"\r\n")

    def check(self, headers: Mapping[str, str], query: Mapping[str, str]) -> None:
        """Raises `StatementFailed` (code 516). Both comparisons always run, in constant time."""
        user, password = _given(headers, query)
        same_user = hmac.compare_digest(user.encode(), self._user)
        same_password = hmac.compare_digest(password.encode(), self._password)
        if not (same_user and same_password):
            raise StatementFailed(
                AUTHENTICATION_FAILED,
                f"{user}: Authentication failed: password is incorrect, or there is no user "
                "with such name.",
            )


def _given(headers: Mapping[str, str], query: Mapping[str, str]) -> tuple[str, str]:
    authorization = headers.get("Authorization", "")
    if authorization.startswith("Basic "):
        try:
            pair = base64.b64decode(authorization[6:], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        user, _, password = pair.partition(":")
        return user, password
    user = headers.get("X-ClickHouse-User") or query.get("user", "default")
    return user, headers.get("X-ClickHouse-Key") or query.get("password", "")
