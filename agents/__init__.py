"""Who reacts: the index of the pipeline's agents, one file each."""

from agents.aggregate_metrics import AGGREGATE_METRICS
from streams.agent import AgentSpec

ALL: tuple[AgentSpec, ...] = (AGGREGATE_METRICS,)

__all__ = ["AGGREGATE_METRICS", "ALL"]
