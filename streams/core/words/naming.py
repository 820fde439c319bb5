"""The bounds of a name (a tenant, a model, a metric), for whatever takes one from a person.

Records are judged by schemas/fields.py, which has the same bounds.
"""

from __future__ import annotations

from typing import Final

from streams.core.errors import UsageError

NAME_CHARS_MAX: Final = 128


def named(text: str, option: str) -> str:
    """``text``, if it can be a name. Raises `UsageError`, which names the option: an empty text is
    most often a variable that was not set."""
    if not text:
        raise UsageError(f'{option} "" is no name: is a variable of your shell not set?')
    if len(text) > NAME_CHARS_MAX:
        raise UsageError(
            f"{option} has {len(text)} characters; a name has at most {NAME_CHARS_MAX}."
        )
    return text
