"""The default folder of local state."""

from __future__ import annotations

import os
from pathlib import Path

from streams.core.errors import UsageError


def default_home() -> Path:
    """Of the local stack and worker state unless DIA_HOME is set. Raises `UsageError` for a user
    without a home."""
    if base := os.environ.get("XDG_STATE_HOME"):
        return Path(base) / "dia"
    try:
        return Path.home() / ".local" / "state" / "dia"
    except RuntimeError:
        raise UsageError(
            "no folder is known to keep state in: HOME is not set, and this user has no entry in "
            "the password file. Give --home, or set DIA_HOME."
        ) from None
