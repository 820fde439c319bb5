"""The folder a demo has to itself, and the environment that keeps it away from anything else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from streams.core.errors import RefusedBySafety, UsageError
from streams.core.settings import PREFIX
from streams.dev.local.stack import status

MARKER = "demo-home"
"""The file by which a folder is known as a demo's: only such a folder is ever emptied."""


def empty(home: Path) -> None:
    """Raises `RefusedBySafety` when it is in use or holds anything that is not a demo's, and
    `UsageError` when it cannot be made."""
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
            f"the demo's folder {home} cannot be made anew: {error.strerror}. "
            "Name another one with --home or DIA_HOME."
        ) from error


def environment(home: Path, addresses: Mapping[str, str]) -> dict[str, str]:
    """This process's environment, with the addresses of the demo in place of any others: a
    pipeline somebody has configured must never be fed by a demo."""
    own = {PREFIX + name.upper(): value for name, value in addresses.items()}
    own |= {PREFIX + "HOME": str(home), PREFIX + "STATE_DIR": ""}
    return {**os.environ, **own}
