"""What flows in the built-in pipeline: every event as a type."""

from schemas.metric import ModelMetric
from schemas.simulation import SimulationError, SimulationRequest, SimulationResult
from schemas.training import TrainingResult

__all__ = [
    "ModelMetric",
    "SimulationError",
    "SimulationRequest",
    "SimulationResult",
    "TrainingResult",
]
