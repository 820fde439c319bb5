"""Unexpected exceptions, as errors that stop one partition. The worker's log has their traceback."""

from __future__ import annotations

from streams.core.errors import AgentFailed, EngineFailed
from streams.core.types import RecordBatch, TopicPartition


def of_engine(tp: TopicPartition, error: Exception) -> EngineFailed:
    return EngineFailed(f"{tp}: unexpected {error!r}. See the worker's log.")


def of_agent(name: str, batch: RecordBatch, error: Exception) -> AgentFailed:
    """Of the function of a batch agent."""
    at = f"{batch.tp} at offsets {batch.start} to {batch.end - 1}"
    return AgentFailed(f"agent {name} raised {error!r} on {at}. Fix it and restart the worker.")
