"""A test kit for apps: `AppTester` and the pytest fixture ``app_tester``.

A name is imported at its first use, because pytest loads this package in every run."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streams.testing.app_tester import SETTINGS, AppTester, NotAtRest, RefusedRecord, Sent

__all__ = ["SETTINGS", "AppTester", "NotAtRest", "RefusedRecord", "Sent"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("streams.testing.app_tester"), name)
