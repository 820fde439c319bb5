"""What histories are told of: windows of metrics, and jobs that finish out of order."""

from __future__ import annotations

from collections.abc import Mapping

from agents import AGGREGATE_METRICS
from streams.simulation import broken, broken_jobs, comparison
from streams.simulation.history import SETTINGS, Story
from streams.simulation.jobs import JOBS
from streams.simulation.producers import Producers
from streams.simulation.variant import Variant
from streams.topology import DIA_GROUP, MODEL_METRICS

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
    replicated_share=1 / 3,
)

STORIES: Mapping[str, Story] = {"metrics": METRICS, "jobs": JOBS}


def variants(story: str) -> Mapping[str, Variant]:
    """The broken engines that a story must tell from the right one."""
    return broken_jobs.VARIANTS if story == "jobs" else broken.VARIANTS
