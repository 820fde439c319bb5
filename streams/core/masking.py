"""Logins in addresses, hidden: one rule for settings, errors, talk and logs."""

from __future__ import annotations

import re

_LOGIN = re.compile(r"://(?:(?!://)\S)*@")


def masked(text: str) -> str:
    """``text`` with user and password of every URL hidden; its host stays readable."""
    return _LOGIN.sub("://***@", text) if "://" in text else text
