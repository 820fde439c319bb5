"""Scenarios of runs: windows of metrics, the same while shards are added, days move or rows are rebuilt,
jobs that finish out of order, and agents that handle one event at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from agents.app import AGGREGATE_METRICS, DIA_GROUP, MODEL_METRICS
from streams.dev.simulation.broken import growth as broken_growth
from streams.dev.simulation.broken import jobs as broken_jobs
from streams.dev.simulation.broken import moves as broken_moves
from streams.dev.simulation.broken import rebuilds as broken_rebuilds
from streams.dev.simulation.broken import streams as broken_streams
from streams.dev.simulation.broken import variants as broken
from streams.dev.simulation.checks import comparison
from streams.dev.simulation.history import SETTINGS, Story
from streams.dev.simulation.inputs.jobs import JOBS
from streams.dev.simulation.inputs.producers import Producers
from streams.dev.simulation.inputs.stream_events import STREAM
from streams.dev.simulation.variant import Variant

METRICS = Story(
    source=MODEL_METRICS,
    group=DIA_GROUP,
    settings=SETTINGS,
    agents=lambda seed: (AGGREGATE_METRICS,),
    producers=Producers,
    check=comparison.check,
    replayed_share=1 / 3,
    shed_share=1 / 4,
    source_share=1 / 4,
    loss_share=1 / 12,
    quiet_share=1 / 4,
    refusing_share=1 / 6,
    replicated_share=1 / 3,
    recreated_share=1 / 3,
)

GROWTH = replace(METRICS, grown_share=1.0, recreated_share=0.0)
REBUILT = replace(
    METRICS, rebuilt_share=1.0, loss_share=0.0, grown_share=1 / 4, recreated_share=0.0
)
MOVED = replace(
    METRICS,
    moved_share=1.0,
    rebuilt_share=1 / 2,
    grown_share=1 / 4,
    quiet_share=1 / 2,
    loss_share=0.0,
    replicated_share=0.0,
    recreated_share=0.0,
)

STORIES: Mapping[str, Story] = {
    "metrics": METRICS,
    "growth": GROWTH,
    "rebuilt": REBUILT,
    "moved": MOVED,
    "jobs": JOBS,
    "stream": STREAM,
}


def variants(story: str) -> Mapping[str, Variant]:
    """The broken engines that a scenario must detect."""
    return {
        "metrics": broken.VARIANTS,
        "growth": broken_growth.VARIANTS,
        "rebuilt": broken_rebuilds.VARIANTS,
        "moved": broken_moves.VARIANTS,
        "jobs": broken_jobs.VARIANTS,
        "stream": broken_streams.VARIANTS,
    }[story]
