"""The topics of one app, the groups that read them, and the targets of their rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from streams.core.rows.built_in_tables import WINDOW_TABLES
from streams.core.rows.operational_tables import OPERATIONAL
from streams.core.rows.targets import Targets
from streams.core.topics.topic import Topic, replay_group
from streams.core.words.near_names import did_you_mean


class DeclaredSource(NamedTuple):
    group: str
    topic: str


@dataclass(frozen=True)
class Topology:
    """``topics`` in order of declaration; ``read``: an entry per agent. ``answers`` maps a topic of
    requests to the topic of its answers, in the same partition. ``targets``: ClickHouse tables and
    sinks. ``minutes``: its windows have the tables m1, h1 and d1."""

    app: str
    topics: tuple[Topic, ...] = ()
    read: tuple[DeclaredSource, ...] = ()
    answers: Mapping[str, str] = field(default_factory=dict)
    targets: Targets = field(default_factory=Targets)
    minutes: bool = False

    @property
    def own_tables(self) -> frozenset[str]:
        """ClickHouse tables that no other app may have in the same database."""
        windows = WINDOW_TABLES if self.minutes else ()
        return frozenset(self.targets.tables.keys() - OPERATIONAL.keys()).union(windows)

    @cached_property
    def by_name(self) -> Mapping[str, Topic]:
        return {topic.name: topic for topic in self.topics}

    @cached_property
    def by_dlq(self) -> Mapping[str, Topic]:
        return {topic.dlq: topic for topic in self.topics}

    @property
    def names(self) -> str:
        return ", ".join(self.by_name)

    def topic(self, name: str) -> Topic:
        """`KeyError` lists the declared topics."""
        try:
            return self.by_name[name]
        except KeyError:
            near = did_you_mean(name, self.by_name)
            raise KeyError(f"no source topic {name!r}; declared are: {self.names}.{near}") from None

    def groups(self, topic: Topic) -> tuple[str, ...]:
        """() for a topic that agents only write."""
        return tuple(found.group for found in self.read if found.topic == topic.name)

    def consumed(self) -> Iterable[Topic]:
        return (topic for topic in self.topics if self.groups(topic))

    def sources(self) -> Iterable[tuple[str, Topic]]:
        return ((found.group, self.by_name[found.topic]) for found in self.read)

    def companions(self, topic: Topic) -> tuple[str, ...]:
        """Each has at least the partitions of ``topic``."""
        logs = (topic.changelog(group) for group in self.groups(topic))
        return (topic.dlq, topic.parked, topic.journal, *logs)

    @property
    def replay_group(self) -> str:
        """It carries out replays; its changelogs are the journals."""
        return replay_group(self.app)

    @property
    def leader_group(self) -> str:
        """Its one member runs the scheduled jobs."""
        return f"{self.app}-leader"

    @property
    def schedule_topic(self) -> str:
        """One partition; its owner runs scheduled jobs and records results there
        (streams/engine/schedule)."""
        return f"{self.app}.schedule"
