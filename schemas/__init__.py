"""What flows: every event as a type, its versions, and its published JSON Schema."""

from schemas.metric import ModelMetric
from schemas.registry import FAMILIES, Family, family_of
from schemas.simulation import SimulationError, SimulationRequest, SimulationResult
from schemas.training import TrainingResult

__all__ = [
    "FAMILIES",
    "Family",
    "ModelMetric",
    "SimulationError",
    "SimulationRequest",
    "SimulationResult",
    "TrainingResult",
    "family_of",
]
