"""Masks logins in URLs, for settings, errors, output and logs."""

from __future__ import annotations

import re

_LOGIN = re.compile(r"://(?:(?!://)\S)*@")


def masked(text: str) -> str:
    """``text`` with the user and password of every URL masked; hosts stay readable."""
    return _LOGIN.sub("://***@", text) if "://" in text else text
