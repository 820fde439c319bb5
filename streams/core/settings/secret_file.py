"""Reads secrets from files at the moment of use; no setting holds a secret."""

from __future__ import annotations

from pathlib import Path

from streams.core.errors import UsageError
from streams.core.process.file_modes import refuse_loose


def read(variable: str, path: str) -> str:
    """Without surrounding white space; "" when ``path`` is "". ``variable`` is the setting that
    names the file. Raises `UsageError` when it is unreadable, or readable by other users."""
    if not path:
        return ""
    try:
        refuse_loose(variable, Path(path))
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(
            f"{variable}={path} cannot be read: {reason}. Name a readable file."
        ) from error
