"""`App`: the declaration of one pipeline; it runs nothing.

    app = App("acme")
    orders = app.topic("orders", value_type=Order, key_field="account", partitions=4)

    @app.batch_agent(orders, tables=(SEEN_EVENTS,))
    def count(batch: EventBatch[Order], scope: Scope) -> None: ...

``dia worker --app MODULE:ATTRIBUTE`` runs it; commands that name topics, agents or tables take the
same option. Groups, changelogs and transactional ids begin with the app's name, so apps on one
cluster share only topics that both declare.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from streams.core.errors import UsageError
from streams.core.formats.codec import Codec
from streams.core.formats.named import SchemaFormat, codec_of
from streams.core.formats.registry_codec import RegistryCodec
from streams.core.records.headers import UNNAMED_VERSION
from streams.core.rows.built_in_tables import WINDOW_TABLES
from streams.core.rows.clickhouse_table import ClickHouseTable, Column
from streams.core.rows.operational_tables import OPERATIONAL
from streams.core.rows.row_sink import DeclaredSink, OpenSink
from streams.core.rows.targets import Targets
from streams.core.topics.topic import (
    DAY_MS,
    SOURCE_MESSAGE_BYTES,
    Need,
    Topic,
    Upcaster,
    ValueType,
    fields_of,
    given_topic,
    replay_group,
)
from streams.core.topics.topology import DeclaredSource, Topology
from streams.core.words.faust_arguments import partitions_of_app, retention_ms_of_topic
from streams.engine.agents.agent import AgentSpec, EventBatch, Scope
from streams.engine.agents.job_agent import (
    Agent,
    Answer,
    Ask,
    JobAgent,
    Outcome,
    Performer,
    Place,
    Resources,
)
from streams.engine.agents.series_agent import SeriesAgent
from streams.engine.agents.stream_agent import StreamAgent
from streams.engine.app.app_command import CommandDeclarations
from streams.engine.app.app_pages import PageDeclarations
from streams.engine.app.app_scenarios import ScenarioDeclarations
from streams.engine.app.app_streams import StreamDeclarations
from streams.engine.app.app_windows import WindowDeclarations
from streams.engine.decode.event_times import can_be_time
from streams.engine.state.table import TableSpec

NAME_MAX = 64
_APP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_TOPIC_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")
"""Kafka's rule, with room for the companions' suffixes within its 249 characters"""
_COMPANION_SUFFIXES = (".dlq", ".dlq.parked", ".changelog")

Process = Callable[[EventBatch[Any], Scope], None]


def _check_types(topic: Topic) -> None:
    """Raises `UsageError` if the codec cannot read each version's type."""
    if UNNAMED_VERSION not in topic.versions:
        raise UsageError(
            f"topic {topic.name}: records without a schema version have version {UNNAMED_VERSION}, "
            "so versions needs it."
        )
    try:
        for version in topic.versions:
            topic.codec.decoder(topic.reading(version).type)
    except (TypeError, KeyError) as error:
        raise UsageError(
            f"topic {topic.name}: the codec {topic.codec.name} cannot read its type: {error}"
        ) from None


class App(
    StreamDeclarations,
    WindowDeclarations,
    CommandDeclarations,
    PageDeclarations,
    ScenarioDeclarations,
):
    """Methods that register raise `UsageError` for a name that is taken or not allowed, and
    register nothing then."""

    def __init__(
        self,
        name: str,
        *,
        schemas: Path | str | None = None,
        pages: Collection[str] = (),
        **faust: Any,
    ) -> None:
        """``name``: letters, digits, - and _. ``schemas``: the folder of published JSON Schemas
        (`dia schemas check`); None: not published. ``pages``: console pages of the built-in
        pipeline, for an app that writes its tables: "decisions", "training". ``faust``:
        settings of Faust's App, which dia ignores, except ``topic_partitions``, the default number
        of partitions."""
        if len(name) > NAME_MAX or not _APP_NAME.fullmatch(name):
            raise UsageError(
                f"an app cannot be called {name!r}: use at most {NAME_MAX} letters, digits, - and "
                "_, the first a letter or digit. Groups and changelogs are named after it."
            )
        self.name = name
        self.pages = frozenset(pages)
        self.schemas = None if schemas is None else Path(schemas)
        self._partitions = partitions_of_app(name, faust)
        self._topics: dict[str, Topic] = {}
        self._agents: dict[str, Agent] = {}
        self._clickhouse_tables = dict(OPERATIONAL)
        self._sinks: dict[str, DeclaredSink] = {}
        self._scenarios = {}

    def __repr__(self) -> str:
        return f"<App {self.name}: {len(self._topics)} topics, {len(self._agents)} agents>"

    # --- what is registered ------------------------------------------------------------------

    @property
    def topics(self) -> Mapping[str, Topic]:
        return MappingProxyType(self._topics)

    @property
    def agents(self) -> Mapping[str, Agent]:
        return MappingProxyType(self._agents)

    @property
    def clickhouse_tables(self) -> Mapping[str, ClickHouseTable]:
        """Tables of rows besides windows: operational and declared ones."""
        return MappingProxyType(self._clickhouse_tables)

    @property
    def sinks(self) -> Mapping[str, DeclaredSink]:
        return MappingProxyType(self._sinks)

    @property
    def targets(self) -> Targets:
        return Targets(self.clickhouse_tables, self.sinks)

    @property
    def topology(self) -> Topology:
        agents = self._agents.values()
        return Topology(
            self.name,
            tuple(self._topics.values()),
            tuple(DeclaredSource(agent.group, agent.source.name) for agent in agents),
            {
                agent.source.name: agent.results.name
                for agent in agents
                if isinstance(agent, JobAgent)
            },
            self.targets,
            minutes=any(isinstance(agent, SeriesAgent) for agent in agents),
        )

    @property
    def group(self) -> str:
        """The default group of agents."""
        return f"{self.name}-group"

    def chosen(self, names: str) -> list[Agent]:
        """The agents of a comma-separated list; "all": every one. Raises `UsageError`."""
        every = list(self._agents)
        wanted = every if names == "all" else [n.strip() for n in names.split(",") if n.strip()]
        unknown = [name for name in wanted if name not in self._agents]
        if unknown or not wanted:
            raise UsageError(
                f"no agent {', '.join(unknown) or 'given'}. Declared are: {', '.join(every)}."
            )
        return [self._agents[name] for name in wanted]

    # --- registration ------------------------------------------------------------------------

    def topic(
        self,
        name: str,
        *,
        value_type: ValueType | None = None,
        key_field: str = "",
        time_field: str = "",
        codec: str | Codec | SchemaFormat = "json",
        versions: Mapping[int, ValueType] | None = None,
        upcasters: Mapping[int, Upcaster] | None = None,
        partitions: int | None = None,
        schema: str = "",
        needs: tuple[Need, ...] = (),
        bytes_max: int | None = None,
        retention_ms: int = 7 * DAY_MS,
        message_bytes: int = SOURCE_MESSAGE_BYTES,
        compacting: bool | None = False,
        **faust: Any,
    ) -> Topic:
        """Declare a topic; see `Topic` for the arguments.

        ``value_type`` is short for ``versions={1: value_type}``; without either, any value of the
        codec. ``schema``: default ``name``. ``codec``: json, msgpack, raw, avro, protobuf,
        json_schema, one of `Avro`, `Protobuf`, `JsonSchema`, or a `Codec`. ``faust``: arguments of
        Faust's topic that need no counterpart, its ``retention`` in seconds, and its
        ``value_serializer`` in place of ``codec``.
        """
        self._check_topic_name(name)
        if value_type is not None and versions is not None:
            raise UsageError(f"topic {name}: give either value_type or versions.")
        versions = dict(versions or {1: Any if value_type is None else value_type})
        _check_fields(name, versions, [field for field in (key_field, time_field) if field])
        newest = versions[max(versions)]
        if time_field and not can_be_time(newest, time_field):
            raise UsageError(
                f"topic {name}: time_field={time_field!r} of {newest!r} is no number. An event "
                "time is an int of milliseconds since the Unix epoch: change the field's type, or "
                "leave time_field out."
            )
        declared = Topic(
            app=self.name,
            name=name,
            schema=schema or name,
            versions=versions,
            partitions=self._partitions if partitions is None else partitions,
            key_field=key_field,
            time_field=time_field,
            codec=codec_of(faust.get("value_serializer") or codec, name, newest),
            needs=needs,
            bytes_max=bytes_max,
            upcasters=dict(upcasters or {}),
            retention_ms=retention_ms_of_topic(name, faust, retention_ms),
            message_bytes=message_bytes,
            compacting=bool(compacting),
        )
        _check_types(declared)
        self._topics[name] = declared
        return declared

    def clickhouse_table(
        self,
        name: str,
        *,
        columns: Mapping[str, str | type | Column],
        order_by: tuple[str, ...],
        shard_by: tuple[str, ...],
        partition_by: str = "",
        ttl_days: int | None = None,
        in_epoch: bool = False,
        description: str = "",
    ) -> ClickHouseTable:
        """Declare a table for rows of agents; see `ClickHouseTable` for the arguments."""
        declared = ClickHouseTable(
            name=name,
            columns=dict(columns),
            order_by=order_by,
            shard_by=shard_by,
            partition_by=partition_by,
            ttl_days=ttl_days,
            in_epoch=in_epoch,
            description=description,
        )
        self.add_clickhouse_table(declared)
        return declared

    def add_clickhouse_table(self, declared: ClickHouseTable) -> None:
        self.check_target_name(declared.name)
        self._clickhouse_tables[declared.name] = declared

    def sink(
        self,
        name: str,
        *,
        columns: Mapping[str, str | type],
        open: OpenSink,  # noqa: A002 - reads best in a declaration
    ) -> DeclaredSink:
        """Declare a target of rows besides ClickHouse; see `DeclaredSink` for the arguments."""
        declared = DeclaredSink(name=name, columns=dict(columns), open=open)
        self.check_target_name(name)
        self._sinks[name] = declared
        return declared

    def batch_agent(
        self,
        topic: Topic,
        *,
        tables: tuple[TableSpec[Any], ...] = (),
        name: str | None = None,
        group: str | None = None,
        columns: bool = False,
        ids: str = "",
    ) -> Callable[[Process], AgentSpec]:
        """Declare the decorated function as an agent that folds batches of ``topic``.

        ``name``: default the function's. ``group``: default `App.group`. ``columns``: it reads
        `EventBatch.fields` rather than ``events``. ``ids``: the field whose repeats the function
        drops by `SEEN_EVENTS`, for `dia trace`. A topic has one agent.
        """
        given_topic("@app.batch_agent", topic)

        def register(process: Process) -> AgentSpec:
            spec = AgentSpec(
                name=name or process.__name__,
                source=topic,
                group=group or self.group,
                tables=tables,
                process=process,
                columns=columns,
                ids=ids,
            )
            self.add_agent(spec)
            return spec

        return register

    def job_agent(
        self,
        topic: Topic,
        *,
        name: str,
        results: Topic,
        ask: Callable[[Any], Ask],
        answer: Callable[[Any, Outcome, Place], Answer],
        performer: Callable[[Resources], Performer],
        group: str | None = None,
    ) -> JobAgent[Any]:
        """Declare an agent whose requests are jobs (streams/engine/agents/job_agent.py)."""
        given_topic("app.job_agent", topic)
        given_topic("app.job_agent(results=)", results)
        agent = JobAgent(
            name=name,
            source=topic,
            group=group or self.group,
            results=results,
            ask=ask,
            answer=answer,
            performer=performer,
        )
        self.add_agent(agent)
        return agent

    def add_agent(self, agent: Agent) -> None:
        self.check_agent(agent)
        self._agents[agent.name] = agent

    def check(self) -> None:
        """Check the whole app; `load_app` and `streams.testing` call it.

        Raises `UsageError` for a table that two agents use (each would have its own state), for two
        tables of one name, and for a scenario that processes of the pool would not find;
        `UnsupportedByDia` for a body that asks an agent for an answer.
        """
        self.check_scenarios()
        users: dict[str, str] = {}
        for agent in self._agents.values():
            if not isinstance(agent, StreamAgent):
                continue
            agent.check()
            for table in agent.owned:
                other = users.get(table.name, "")
                users[table.name] = agent.name
                if other == agent.name:
                    raise UsageError(
                        f"agent {agent.name} uses two tables named {table.name!r}, which would be one. "
                        "Give each a name of its own; with windows, use only what .tumbling(), "
                        ".hopping() or .sliding() returned."
                    )
                if other:
                    raise UsageError(
                        f"table {table.name!r} is used by the agents {other} and {agent.name}, but "
                        f"a table belongs to one agent. Send what {agent.name} writes to the topic "
                        f"of {other}."
                    )

    # --- checks ------------------------------------------------------------------------------

    def _check_topic_name(self, name: str) -> None:
        if name in self._topics:
            raise UsageError(f"app {self.name} declares two topics named {name}.")
        if not _TOPIC_NAME.fullmatch(name) or name.endswith(_COMPANION_SUFFIXES):
            raise UsageError(
                f"a topic cannot be called {name!r}: use at most 200 letters, digits, ., - and _, "
                f"and none of the endings {', '.join(_COMPANION_SUFFIXES)}."
            )

    def check_target_name(self, name: str) -> None:
        """Raises `UsageError` if a table or sink has the name."""
        taken = [*WINDOW_TABLES, *self._clickhouse_tables, *self._sinks]
        if name in taken:
            raise UsageError(
                f"app {self.name} has a ClickHouse table or sink named {name} already. Names in use "
                f"are {', '.join(taken)}."
            )

    def check_agent(self, agent: Agent) -> None:
        """Raises `UsageError` for an agent that conflicts with the app."""
        if agent.name in self._agents:
            raise UsageError(f"app {self.name} declares two agents named {agent.name}.")
        topics = [agent.source, *([agent.results] if isinstance(agent, JobAgent) else [])]
        for topic in topics:
            if self._topics.get(topic.name) is not topic:
                raise UsageError(
                    f"agent {agent.name} is on topic {topic.name}, which app {self.name} does not "
                    f"declare. Declare it with app.topic({topic.name!r}, ...)."
                )
        if agent.source.compacting:
            raise UsageError(
                f"agent {agent.name} reads {agent.source.name}, which is compacted: Kafka may "
                "remove records before they are counted. Leave compacting out, or send to a "
                "second topic that is compacted."
            )
        if isinstance(agent, JobAgent) and isinstance(agent.results.codec, RegistryCodec):
            raise UsageError(
                f"agent {agent.name} answers to topic {agent.results.name}, whose codec needs a schema "
                f"registry: an answer cannot wait for one. Give the topic another codec."
            )
        self._check_group(agent)
        if isinstance(agent, StreamAgent):
            return  # `check` looks at its tables: it may name tables that are declared later
        tables = [spec.name for spec in agent.tables]
        if twice := {table for table in tables if tables.count(table) > 1}:
            raise UsageError(f"agent {agent.name} names the table {min(twice)} twice.")

    def _check_group(self, agent: Agent) -> None:
        if not agent.group.startswith(f"{self.name}-") or not _APP_NAME.fullmatch(agent.group):
            raise UsageError(
                f"agent {agent.name}: groups of app {self.name} begin with {self.name!r} and -, so "
                f"that no other app uses them; {agent.group!r} does not."
            )
        if agent.group in (replay_group(self.name), self.topology.leader_group):
            raise UsageError(f"agent {agent.name}: the group {agent.group} is the engine's own.")
        for other in self._agents.values():
            if other.source.name == agent.source.name:
                raise UsageError(
                    f"agents {other.name} and {agent.name} both read {agent.source.name}, which "
                    "has one topic for dead letters. Do the work of both in one agent, or let one "
                    "write a topic that the other reads."
                )


def _check_fields(topic: str, versions: Mapping[int, ValueType], names: Sequence[str]) -> None:
    newest = versions[max(versions)]
    fields = fields_of(newest)
    if missing := [name for name in names if name not in fields]:
        raise UsageError(
            f"topic {topic}: {newest!r} has no field {missing[0]!r}. Name one of "
            f"{', '.join(fields) or 'a Record'}, or leave it out."
        )
