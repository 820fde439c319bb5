"""Every topic, group and retention, declared once as data. Nothing here talks to a broker."""

from __future__ import annotations

from dataclasses import dataclass

DAY_MS = 86_400_000
UNLIMITED = -1
"""A retention that deletes nothing, in Kafka's own word."""
MAX_RECORD_BYTES = 1 << 20
RECORD_OVERHEAD_BYTES = 16 << 10
"""Key, headers and framing around a value of `MAX_RECORD_BYTES`."""
SOURCE_MESSAGE_BYTES = MAX_RECORD_BYTES + RECORD_OVERHEAD_BYTES
DLQ_HEADROOM_BYTES = 64 << 10
"""A dead letter is its record plus the dia.dlq.* headers."""
DLQ_MESSAGE_BYTES = SOURCE_MESSAGE_BYTES + DLQ_HEADROOM_BYTES
PARKED_HEADROOM_BYTES = 4 << 10
"""A parked letter is the dead letter, and why it was parked."""
DLQ_RETENTION_BYTES = 10 << 30
CHANGELOG_PART_BYTES = 900 << 10
"""A changelog record stays under the broker's default limit of 1 MiB, compressed or not."""
CHANGELOG_MESSAGE_BYTES = 1 << 20
"""Limit of a changelog topic: a broker whose own default is lower must not refuse a commit."""

DIA_GROUP = "dia-group"
SIMULATOR_GROUP = "dia-simulator-group"
REPLAY_GROUP = "dia-replay"
"""Whose changelogs record what became of dead letters."""
LEADER_GROUP = "dia-leader"
SCHEDULE_TOPIC = "dia.schedule"
"""One partition, whose holder runs scheduled jobs, and what came of them (streams/schedule)."""
SCHEDULE_RETENTION_MS = 30 * DAY_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceTopic:
    """A topic that agents consume. ``key_field`` names the field its key repeats.

    ``results``: the topic its agent answers on, in the partition of the same number; "": none.
    ``message_bytes``: the largest record batch that the topic takes.
    """

    name: str
    partitions: int
    key_field: str
    group: str | None
    retention_ms: int = 7 * DAY_MS
    message_bytes: int = SOURCE_MESSAGE_BYTES
    results: str = ""

    @property
    def dlq(self) -> str:
        return f"{self.name}.dlq"

    @property
    def parked(self) -> str:
        """The parking lot: dead letters that no replay takes up again by itself."""
        return f"{self.dlq}.parked"

    @property
    def journal(self) -> str:
        """What was decided of the dead letters, by whom and when; never trimmed."""
        return self.changelog(REPLAY_GROUP)

    @property
    def companions(self) -> tuple[str, ...]:
        """The topics that belong to it, each with at least its partitions."""
        logs = () if self.group is None else (self.changelog(self.group),)
        return (self.dlq, self.parked, self.journal, *logs)

    def changelog(self, group: str) -> str:
        return f"dia.{group}.{self.name}.changelog"


MODEL_METRICS = SourceTopic(
    name="model.metrics", partitions=4, key_field="tenant_id", group=DIA_GROUP
)
SIMULATION_REQUEST = SourceTopic(
    name="decision.simulation.request",
    partitions=3,
    key_field="tenant_id",
    group=SIMULATOR_GROUP,
    results="decision.simulation.result",
)
SIMULATION_RESULT = SourceTopic(
    name=SIMULATION_REQUEST.results, partitions=3, key_field="tenant_id", group=None
)
TRAIN_RESULTS = SourceTopic(
    name="train.results", partitions=3, key_field="model_id", group=DIA_GROUP
)

SOURCES: tuple[SourceTopic, ...] = (
    MODEL_METRICS,
    SIMULATION_REQUEST,
    SIMULATION_RESULT,
    TRAIN_RESULTS,
)


_BY_NAME = {topic.name: topic for topic in SOURCES}


def source(name: str) -> SourceTopic:
    """The declared source topic of that name; KeyError naming the declared ones otherwise."""
    try:
        return _BY_NAME[name]
    except KeyError:
        raise KeyError(f"no source topic {name!r}; declared are: {', '.join(_BY_NAME)}") from None
