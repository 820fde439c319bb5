"""Masks logins in URLs, for settings, errors, output and logs."""

from __future__ import annotations

import re

_LOGIN = re.compile(r"://(?:(?!://)\S)*@")


def masked(text: str) -> str:
    """The user and password of every URL; hosts stay readable."""
    return _LOGIN.sub("://***@", text) if "://" in text else text
