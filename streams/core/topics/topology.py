"""The topics of one app, the groups that read them, where their rows go: all below its agents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from streams.core.rows.targets import Targets
from streams.core.topics.topic import Topic, replay_group


class DeclaredSource(NamedTuple):
    """A topic that agents read as members of a group."""

    group: str
    topic: str


@dataclass(frozen=True)
class Topology:
    """``topics`` in the order of their declaration; ``read``: one entry for each agent.
    ``answers`` maps a topic of requests to the topic that its agent answers on, in the partition of
    the same number. ``targets``: its ClickHouse tables and sinks."""

    app: str
    topics: tuple[Topic, ...] = ()
    read: tuple[DeclaredSource, ...] = ()
    answers: Mapping[str, str] = field(default_factory=dict)
    targets: Targets = field(default_factory=Targets)

    @cached_property
    def by_name(self) -> Mapping[str, Topic]:
        return {topic.name: topic for topic in self.topics}

    @cached_property
    def by_dlq(self) -> Mapping[str, Topic]:
        return {topic.dlq: topic for topic in self.topics}

    @property
    def names(self) -> str:
        """Of all topics, for a message."""
        return ", ".join(self.by_name)

    def topic(self, name: str) -> Topic:
        """The declared topic of that name; KeyError naming the declared ones otherwise."""
        try:
            return self.by_name[name]
        except KeyError:
            raise KeyError(f"no source topic {name!r}; declared are: {self.names}") from None

    def groups(self, topic: Topic) -> tuple[str, ...]:
        """The groups that read ``topic``; () for one that agents only write."""
        return tuple(found.group for found in self.read if found.topic == topic.name)

    def consumed(self) -> Iterable[Topic]:
        """The topics that agents read."""
        return (topic for topic in self.topics if self.groups(topic))

    def sources(self) -> Iterable[tuple[str, Topic]]:
        """Group and topic of each agent."""
        return ((found.group, self.by_name[found.topic]) for found in self.read)

    def companions(self, topic: Topic) -> tuple[str, ...]:
        """The topics that belong to ``topic``, each with at least its partitions."""
        logs = (topic.changelog(group) for group in self.groups(topic))
        return (topic.dlq, topic.parked, topic.journal, *logs)

    @property
    def replay_group(self) -> str:
        """The group whose members carry out replays, and whose changelogs are the journals."""
        return replay_group(self.app)

    @property
    def leader_group(self) -> str:
        """The group whose one member runs the scheduled jobs."""
        return f"{self.app}-leader"

    @property
    def host_group(self) -> str:
        """The name of the Faust application that hosts the workers, which is its group's name too."""
        return f"{self.app}-host"

    @property
    def host_topic(self) -> str:
        """The empty topic with which Faust elects a leader of that group; Faust makes it itself."""
        return f"{self.host_group}-__assignor-__leader"

    @property
    def schedule_topic(self) -> str:
        """One partition: whose owner runs scheduled jobs, and what came of them
        (streams/engine/schedule)."""
        return f"{self.app}.schedule"
