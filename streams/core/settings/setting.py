"""One declared setting: a field with its bounds and its purpose."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def setting(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
) -> Any:
    meta = {"doc": doc, "low": low, "high": high}
    return field(default=default, metadata=meta)
