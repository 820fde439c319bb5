"""Which events the generator makes."""

from __future__ import annotations

from typing import Any, Final, Literal

from schemas import ModelMetric, SimulationRequest

GENERATED: Final[dict[Any, Literal["metrics", "requests"]]] = {
    ModelMetric: "metrics",
    SimulationRequest: "requests",
}
