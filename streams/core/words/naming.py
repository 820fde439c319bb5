"""Bounds of a name (tenant, model, metric) given by a person, as in streams/core/records/fields.py."""

from __future__ import annotations

from typing import Final

from streams.core.errors import UsageError

NAME_CHARS_MAX: Final = 128


def named(text: str, option: str) -> str:
    """Raises `UsageError` naming ``option``; an empty text is often an unset variable."""
    if not text:
        raise UsageError(f"{option} is empty: is a variable of your shell not set?")
    if len(text) > NAME_CHARS_MAX:
        raise UsageError(
            f"{option} has {len(text)} characters; a name has at most {NAME_CHARS_MAX}."
        )
    return text
