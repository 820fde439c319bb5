"""The version of this build, as its package metadata gives it."""

from __future__ import annotations

from functools import cache
from importlib import metadata

UNINSTALLED = "0+uninstalled"


@cache
def app_version() -> str:
    """`UNINSTALLED` where the code runs from a folder that was never installed."""
    try:
        return metadata.version("dia-streams")
    except metadata.PackageNotFoundError:
        return UNINSTALLED
