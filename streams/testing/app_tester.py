"""A test kit for apps: the real engine on an in-memory broker, in time that takes no time.

    def test_totals_survive_a_crash(app_tester):
        tester = app_tester(app)
        tester.send(orders, Order(account="a", amount=2.0))
        tester.crash()
        tester.send(orders, Order(account="a", amount=3.0))
        assert tester.table("totals") == {"a": 5.0}

`AppTester` runs a worker in an event loop of its own, whose clock jumps to the next timer. So an agent
may wait for hours; it may not use sockets, files or threads of an event loop. The fixture ``app_tester``
comes with the package (a pytest entry point), and closes what it made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, Self

import msgspec

from streams.connect.schema_registry.connecting import connect
from streams.connect.schema_registry.memory import MemoryRegistry
from streams.connect.schema_registry.registry import SchemaRegistry
from streams.connect.sinks.memory_replica import Row
from streams.core.errors import UsageError
from streams.core.formats.codec import Read
from streams.core.formats.registry_codec import RegistryCodec
from streams.core.rows.targets import RowTarget, Targets
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.core.topics.current_stream import HeadersLike, Key, Target
from streams.core.types import Headers, TopicPartition
from streams.dev.simulation.apps.app_results import WrittenRows, in_memory, keyed_content
from streams.dev.simulation.loop import VirtualLoop, cancel_the_rest
from streams.dev.simulation.world import Process, World
from streams.engine.agents.stream_agent import StreamAgent
from streams.engine.app.app import App
from streams.engine.decode.codecs import settled
from streams.engine.streams.declared_table import DeclaredTable
from streams.engine.streams.page import PageRequest, PageResponse
from streams.engine.streams.sending import header_pairs, key_bytes, key_text, value_bytes
from streams.operate.topics.topics import wanted_topics

PATIENCE_S = 3600.0
"""How long a tester waits for its app to come to rest, in its own time."""
SETTINGS = Settings(commit_interval_s=0.2, fetch_timeout_s=0.1, session_timeout_s=6.0)
_EVERYTHING = 1 << 30


class Sent(NamedTuple):
    """A committed record. ``value`` is its JSON decoded where it is JSON, its event where the codec
    needs a schema registry, else its bytes."""

    key: str | bytes | None
    value: Any
    partition: int
    headers: Headers


class RefusedRecord(NamedTuple):
    """A dead letter: whose topic it was, why, and its bytes."""

    topic: str
    code: str
    message: str
    value: bytes | None


class NotAtRest(AssertionError):  # noqa: N818 - what happened
    """A partition of the app stopped, or its work does not end, or the `on_window_close` of a tenant's
    windows begins to fail; the message says which and why."""


class AppTester:
    """See the module docstring. Every method that acts returns once the app has come to rest: all that
    was sent is handled, committed and shown.

    Raises `UsageError` inside a running event loop.
    """

    def __init__(
        self, app: App, *, settings: Settings = SETTINGS, now_ms: int = 1_760_000_000_000
    ) -> None:
        """``now_ms``: what the clock says at the start, in milliseconds since the epoch."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise UsageError(
                "AppTester runs an event loop of its own: call it from a plain function, not from "
                "`async def`."
            )
        app.check()
        self.app = app
        self._loop = VirtualLoop()
        agents = tuple(app.agents.values())
        self._written = {name: WrittenRows() for name in app.sinks}
        targets = Targets(app.clickhouse_tables, in_memory(app.sinks, self._written))
        self._world = World(
            self._loop,
            settings,
            agents,
            topology=app.topology,
            start_ms=now_ms,
            targets=targets,
            background=app.background,
        )
        self.registry = MemoryRegistry()
        """the schema registry of topics whose codec needs one; ``registry.away = True`` takes it away"""
        connect(app.topics.values(), SchemaRegistry(self.registry, self._world.clock, Metrics()))
        self._started = 0
        self._told_held: set[tuple[TopicPartition, str, str]] = set()
        """partition, table and tenant of held windows that an error named"""
        self._run(self._create_topics())
        self._process = self._start()
        self.settle()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the app and its loop."""
        if self._loop.is_closed():
            return
        self._run(self._process.kill())
        cancel_the_rest(self._loop)
        self._loop.close()

    # --- what happens ------------------------------------------------------------------------

    def send(
        self,
        topic: str | Target,
        value: Any = None,
        *,
        key: Key = None,
        headers: HeadersLike = None,
    ) -> None:
        """Append a record as a client would; bytes as they are, anything else by its codec. ``key``
        default: the value's key field."""
        declared = self._topic(topic)
        raw = key_bytes(declared, key, value)
        body = self._client_value(declared, value)
        self._run(self._append(declared.name, raw, body, header_pairs(headers)))
        self.settle()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._run(asyncio.sleep(seconds))
        self.settle()

    def crash(self) -> None:
        """The worker dies as by kill -9, and another one starts on its host."""
        self._run(self._process.kill())
        self._process = self._start()
        self.settle()

    def move(self) -> None:
        """The worker dies, and another one starts on a host that never was: its state comes from the
        changelog."""
        self._run(self._process.kill())
        self._started += 1
        self._process = self._start()
        self.settle()

    def rebalance(self) -> None:
        """Every group of the app rebalances."""
        for group in {agent.group for agent in self.app.agents.values()}:
            self._world.broker.rebalance(group)
        self.settle()

    def settle(self) -> None:
        """Wait until the app is at rest. Raises `NotAtRest`."""
        self._run(self._settle())

    def page(
        self,
        path: str,
        *,
        method: str = "GET",
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> PageResponse:
        """What the page at ``path`` answers. Raises `RequestRefused` kinds."""
        from streams.engine.pages.desk import PageDesk  # noqa: PLC0415 - it needs starlette

        worker, agents = self._process.worker, tuple(self.app.agents.values())
        clock = self._world.clock
        desk = PageDesk(self.app.own_pages, agents, worker.groups, worker.background, clock)
        asked = PageRequest(method, path, query=query or {}, body=body)
        answered: PageResponse = self._run(desk.answer(asked))
        return answered

    # --- what came of it ---------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        """What the clock says."""
        return self._world.clock.now_ms()

    def table(self, table: str | DeclaredTable) -> dict[Any, Any]:
        """The committed content of a keyed table, over all partitions. Keys of a windowed table are
        pairs of a key and the begin of its window in milliseconds."""
        name = table if isinstance(table, str) else table.name
        found: dict[Any, Any] = {}
        for agent in self.app.agents.values():
            if not isinstance(agent, StreamAgent):
                continue
            for declared in agent.owned:
                if declared.name == name:
                    parts = keyed_content(self._world.broker, agent, declared)
                    for part in parts.values():
                        found.update(part.items())
                    return found
        raise KeyError(f"no agent of app {self.app.name} uses a table {name!r}")

    def outputs(self, topic: str | Target) -> list[Sent]:
        """The committed records of a topic, partition by partition."""
        declared = self._topic(topic)
        return [
            Sent(key_text(key), self._value(declared, value), tp.partition, headers)
            for tp, key, value, headers in self._records(declared.name)
        ]

    @property
    def dead_letters(self) -> list[RefusedRecord]:
        """Of all topics of the app."""
        letters = []
        for topic in self.app.topics.values():
            for _, _, value, headers in self._records(topic.dlq):
                said = {name: text.decode() for name, text in headers if name.startswith("dia.")}
                code, why = said["dia.dlq.error_code"], said["dia.dlq.error_message"]
                letters.append(RefusedRecord(topic.name, code, why, value))
        return letters

    def rows(self, target: str | RowTarget) -> list[Row]:
        """The rows that ClickHouse would show of a table, or that a sink was given, each once. The
        sinks of the app are not opened here: their rows are kept instead."""
        name = target if isinstance(target, str) else target.name
        if name in self._written:
            return self._written[name].rows
        rows: list[Row] = self._world.shards.rows(name)
        return rows

    def _client_value(self, topic: Target, value: Any) -> bytes | None:
        """As a client writes it, which has its own way to the registry."""
        codec = topic.codec
        writer = codec.writer if isinstance(codec, RegistryCodec) else None
        if (
            not isinstance(codec, RegistryCodec)
            or writer is None
            or isinstance(value, bytes | None)
        ):
            return value_bytes(topic, value)
        return codec.framed(self.registry.put(writer), value)

    def _value(self, topic: Target, value: bytes | None) -> Any:
        codec = topic.codec
        if not isinstance(codec, RegistryCodec) or value is None:
            return _json(value)
        decode = codec.decoder(codec.value_type)
        read: Read = self._run(settled(lambda: decode([value])))
        return read.events[0] if read.events else value

    # --- inside ------------------------------------------------------------------------------

    def _run(self, step: Any) -> Any:
        return self._loop.run_until_complete(step)

    async def _create_topics(self) -> None:
        admin = await self._world.broker.admin()
        await admin.create_topics(
            [replace(topic, replication_factor=1) for topic in wanted_topics(self.app.topology)]
        )
        await admin.close()

    def _start(self) -> Process:
        process = self._world.process(0, f"host-{self._started}")
        self._run(_call(process.start))
        return process

    async def _append(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers
    ) -> None:
        producer = self._world.broker.plain_producer()
        await (await producer.send(topic, key, value, headers))

    async def _settle(self) -> None:
        until_s = self._loop.time() + PATIENCE_S
        while self._loop.time() < until_s:
            await asyncio.sleep(0.25)
            if self._process.failure is not None:
                raise self._process.failure
            self._raise_if_stopped()
            if self._process.worker.settled:
                self._raise_if_held()
                return
        raise NotAtRest(f"app {self.app.name} is not at rest after {PATIENCE_S:g} s")

    def _raise_if_stopped(self) -> None:
        for group in self._process.worker.groups:
            for partition in group.partitions.values():
                if partition.phase == "stopped" and partition.stopped_by is not None:
                    error = partition.stopped_by
                    raise NotAtRest(f"{partition.tp} stopped, {error.code}: {error}") from error

    def _raise_if_held(self) -> None:
        """Once for each tenant and table."""
        for group in self._process.worker.groups:
            for held in group.partitions.values():
                known = held.partition.held if held.partition is not None else None
                for owner in known.owners() if known is not None else ():
                    named = held.tp, owner.table, owner.tenant
                    if named not in self._told_held:
                        self._told_held.add(named)
                        raise NotAtRest(
                            f"{owner.windows} windows of table {owner.table!r} are held in {held.tp}, "
                            f"{owner.code}: {owner.why}"
                        )

    def _topic(self, topic: str | Target) -> Target:
        return self.app.topology.topic(topic) if isinstance(topic, str) else topic

    def _records(
        self, topic: str
    ) -> Iterator[tuple[TopicPartition, bytes | None, bytes | None, Headers]]:
        number = 0
        while (tp := TopicPartition(topic, number)) in self._logs:
            log = self._world.broker.log(tp)
            batch = log.read_committed(log.start_offset, _EVERYTHING)
            for row in zip(batch.keys, batch.values, batch.headers, strict=True):
                yield tp, *row
            number += 1

    @property
    def _logs(self) -> frozenset[TopicPartition]:
        return frozenset(self._world.broker.partitions())


async def _call(act: Callable[[], None]) -> None:
    act()


def _json(value: bytes | None) -> Any:
    if value is None:
        return None
    try:
        return msgspec.json.decode(value)
    except ValueError:
        return value
