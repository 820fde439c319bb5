"""Who reacts: the index of the pipeline's agents, one file each."""

from agents.aggregate_metrics import AGGREGATE_METRICS
from agents.record_training import RECORD_TRAINING
from agents.simulate_decision import SIMULATE_DECISION
from streams.job_agent import Agent

ALL: tuple[Agent, ...] = (AGGREGATE_METRICS, RECORD_TRAINING, SIMULATE_DECISION)

__all__ = ["AGGREGATE_METRICS", "ALL", "RECORD_TRAINING", "SIMULATE_DECISION"]
