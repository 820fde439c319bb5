"""Every event family: its topic, its versions, and the field that holds its event time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from msgspec import Struct

from schemas.metric import ModelMetric
from schemas.simulation import SimulationRequest, SimulationResult
from schemas.training import TrainingResult

Event: TypeAlias = type[Struct]


class Need(NamedTuple):
    """An event whose ``field`` is ``value`` must have the field ``needs``, and not as null."""

    field: str
    value: str
    needs: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One kind of event. ``versions`` maps each published version to its type; a record's
    header ``dia.schema`` names the version it was written with.

    ``needs`` and ``bytes_max`` are what the types cannot say. The published schema, the decoder,
    and so whatever takes an event in all hold to them: no agent refuses an event for its content
    alone. ``bytes_max`` None: as large as a record may be.
    """

    name: str
    topic: str
    time_field: str
    versions: Mapping[int, Event]
    needs: tuple[Need, ...] = ()
    bytes_max: int | None = None

    @property
    def latest(self) -> int:
        return max(self.versions)

    @property
    def type(self) -> Event:
        """What agents receive: the latest version."""
        return self.versions[self.latest]


FAMILIES: tuple[Family, ...] = (
    Family(name="model_metric", topic="model.metrics", time_field="ts", versions={1: ModelMetric}),
    Family(
        name="simulation_request",
        topic="decision.simulation.request",
        time_field="ts",
        versions={1: SimulationRequest},
    ),
    Family(
        name="simulation_result",
        topic="decision.simulation.result",
        time_field="finished_ts",
        versions={1: SimulationResult},
    ),
    Family(
        name="training_result",
        topic="train.results",
        time_field="ts",
        versions={1: TrainingResult},
        needs=(
            Need("event", "alias_updated", "alias"),
            Need("event", "stage_transitioned", "stage"),
        ),
        # Its row must fit one entry of the outbox.
        bytes_max=256 << 10,
    ),
)

_BY_TOPIC = {family.topic: family for family in FAMILIES}


def family_of(topic: str) -> Family:
    """The family that flows in ``topic``; KeyError naming the known topics otherwise."""
    try:
        return _BY_TOPIC[topic]
    except KeyError:
        known = ", ".join(_BY_TOPIC)
        raise KeyError(f"no event family flows in topic {topic!r}; known are: {known}") from None
