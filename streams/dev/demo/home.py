"""The demo's own folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from streams.core.errors import RefusedBySafety, UsageError
from streams.dev.local.stack import status

MARKER = "demo-home"
"""only a folder with it is emptied"""


def empty(home: Path) -> None:
    """Raises `RefusedBySafety` when it is in use or holds other files, and `UsageError` when it
    cannot be created."""
    if status(home).running:
        raise RefusedBySafety(f"a demo is running in {home}. Wait for it, or use another --home.")
    if home.exists() and any(home.iterdir()) and not (home / MARKER).exists():
        raise RefusedBySafety(
            f"{home} holds something else; the demo empties its home first. Name an empty --home."
        )
    try:
        if home.exists():
            shutil.rmtree(home)
        home.mkdir(parents=True)
        (home / MARKER).touch()
    except OSError as error:
        raise UsageError(
            f"the demo's folder {home} cannot be recreated: {error.strerror}. "
            "Name another one with --home or DIA_HOME."
        ) from error
