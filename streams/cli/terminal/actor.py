"""The name in the records of decisions."""

from __future__ import annotations

import getpass
import os


def actor_of(given: str | None) -> str:
    """``--actor``, else the user of the operating system."""
    if given:
        return given
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no entry in the password file, as in many containers
        return f"uid-{os.getuid()}"
