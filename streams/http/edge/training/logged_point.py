"""The event of one logged point, and its topic: a sender needs no app of the pipeline to check it."""

from __future__ import annotations

from msgspec import Struct

from streams.core.records.fields import EventTimeMs, Finite, Name
from streams.core.topics.topic import Topic
from streams.core.topics.topology import Topology


class LoggedPoint(Struct, frozen=True, gc=False, kw_only=True):
    """One value of one metric; what a topic may ask for beside, the edge says."""

    event_id: Name
    tenant_id: Name
    model_id: Name
    metric: Name
    ts: EventTimeMs
    value: Finite
    run_id: Name | None = None


def observed(topic: str) -> Topology:
    return Topology(
        "", (Topic(app="", name=topic, schema=topic, versions={1: LoggedPoint}, partitions=1),)
    )
