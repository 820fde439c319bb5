"""What a trace reads with, and how far it may go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streams.core.clock import Clock
from streams.core.errors import UsageError
from streams.core.rows.clickhouse_table import ClickHouseTable
from streams.core.rows.operational_tables import OPERATIONAL
from streams.core.settings import Settings
from streams.core.topics.topic import Topic
from streams.core.topics.topology import Topology
from streams.core.types import Admin, LogReader
from streams.engine.agents.job_agent import Agent
from streams.engine.agents.window_agent import windows_of
from streams.engine.app.app import App
from streams.engine.decode.codecs import Limits
from streams.operate.trace.log_scan import EVER, TimeBounds
from streams.operate.trace.shown_rows import ShownRows

FINDS_MAX = 20
DEADLINE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceBounds:
    """``topics``: source topics to search; none: every one. ``key``: the record key, where known.
    ``tenant``: of the event; it is the key of topics whose key is the tenant. ``owner``: only what
    this tenant may see. ``finds_max``: records of the text; ``deadline_s``: of the whole trace."""

    topics: tuple[str, ...] = ()
    times: TimeBounds = EVER
    key: bytes | None = None
    tenant: str | None = None
    owner: str | None = None
    finds_max: int = FINDS_MAX
    deadline_s: float = DEADLINE_S

    def key_in(self, topic: Topic) -> bytes | None:
        """The key of the records that are looked for in ``topic``; None: any."""
        if self.key is not None:
            return self.key
        named = self.tenant if self.owner is None else self.owner
        return named.encode() if named is not None and topic.key_is_tenant else None


@dataclass(frozen=True, slots=True)
class TraceMeans:
    """Clients that their owner opens and closes. ``shown`` None: no rows are looked up."""

    topology: Topology
    agents: Mapping[str, Agent]
    """by source topic"""
    settings: Settings
    clock: Clock
    reader: LogReader
    admin: Admin
    shown: ShownRows | None

    @classmethod
    def of(
        cls,
        app: App,
        settings: Settings,
        clock: Clock,
        reader: LogReader,
        admin: Admin,
        shown: ShownRows | None,
    ) -> TraceMeans:
        agents = {agent.source.name: agent for agent in app.agents.values()}
        return cls(app.topology, agents, settings, clock, reader, admin, shown)

    @property
    def limits(self) -> Limits:
        return Limits(self.settings.future_max_s, self.settings.late_max_s)

    @property
    def fact_tables(self) -> list[ClickHouseTable]:
        """Declared tables without those of windows and of the engine."""
        other = {one.name for agent in self.agents.values() for one in windows_of(agent)}
        other |= OPERATIONAL.keys()
        return [table for name, table in self.topology.targets.tables.items() if name not in other]

    def sources(self, names: Sequence[str]) -> list[Topic]:
        """The source topics of these names, or all. Raises `UsageError` for an undeclared one."""
        for name in names:
            if name not in self.topology.by_name:
                raise UsageError(
                    f"topic {name} is not declared. Source topics are {self.topology.names}."
                )
        return [topic for topic in self.topology.topics if not names or topic.name in names]
