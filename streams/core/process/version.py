"""The version of this build, from its package metadata."""

from __future__ import annotations

from functools import cache
from importlib import metadata

UNINSTALLED = "0+uninstalled"


@cache
def app_version() -> str:
    """`UNINSTALLED` where the package is not installed."""
    try:
        return metadata.version("dia-streams")
    except metadata.PackageNotFoundError:
        return UNINSTALLED
