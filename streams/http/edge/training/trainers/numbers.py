"""Values of trainers: floats, numpy's and arrays of one element, beside texts and figures."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from streams.http.edge.training.training_log import TrainingLog


def log_all(log: TrainingLog, values: Mapping[str, Any] | None, *, prefix: str = "") -> None:
    """Those of ``values`` that are numbers."""
    for name, value in (values or {}).items():
        if not isinstance(value, str):
            with suppress(TypeError, ValueError):
                log.log(f"{prefix}{name}", float(value))
