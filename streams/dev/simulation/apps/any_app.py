"""Simulates any app: results with faults must equal results without.

Both runs read the same logs, generated for topics that no agent writes. In one, processes die, hang
and lose connections, groups rebalance, and broker, shards, disks and the schema registry fail
(fault_injector.py), and shards are added around a midnight (shard_growth.py). It compares the agents' records, dead letters, keyed tables, rows and every
ledger's counts. The last records come `LAST_MS` later, so that windows close. Job agents do not
run: their work needs processes.

Not comparable are results that depend on the order of records from several partitions, on chance,
on a global table or on a process's clock; and windows by append time in a topic that agents write:
those are left out and named."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from streams.connect.broker.partitioner import partition_of
from streams.connect.schema_registry.connecting import connect
from streams.connect.schema_registry.memory import MemoryRegistry
from streams.connect.schema_registry.registry import SchemaRegistry
from streams.core.clock import Clock
from streams.core.errors import UsageError
from streams.core.rows.clickhouse_table import MOMENT, VERSION
from streams.core.rows.operational_tables import OPERATIONAL
from streams.core.rows.targets import Targets
from streams.core.telemetry.metrics import Metrics
from streams.core.topics.topic import Topic
from streams.core.types import TopicPartition
from streams.dev.simulation.apps.app_results import WrittenRows, in_memory, keyed_content
from streams.dev.simulation.apps.sample_values import event_of, sample
from streams.dev.simulation.checks.quiet import at_rest, held
from streams.dev.simulation.faults.fault_injector import FaultInjector
from streams.dev.simulation.faults.shard_growth import ShardGrowth
from streams.dev.simulation.history import CALM_S, SETTINGS, NotSettled
from streams.dev.simulation.loop import LoopClock, VirtualLoop, run
from streams.dev.simulation.operators.moves import Moves
from streams.dev.simulation.world import Difference, Process, World
from streams.engine.agents.job_agent import Agent, JobAgent
from streams.engine.agents.stream_agent import StreamAgent
from streams.engine.agents.window_agent import windows_of
from streams.engine.app.app import App
from streams.engine.decode import codecs
from streams.engine.decode.codecs import settled
from streams.engine.runtime.assigned import AssignedPartition
from streams.engine.runtime.partition.stream_partition import StreamPartition
from streams.engine.runtime.partition.window_partition import WindowPartition
from streams.engine.streams.sending import key_bytes, value_bytes
from streams.engine.streams.windowed_table import WindowedDeclaration
from streams.engine.windows.minutes.window_columns import NEVER_MS
from streams.operate.topics.topics import wanted_topics

START_MS = 1_760_054_380_000
"""shortly before midnight (UTC)"""
STEPS = 24
QUIET_STEPS = 4
LAST_MS = 5 * 86_400_000
AT_ONCE = 6
"""most records of one topic per step"""
STEP_S = 2.0
TAKEN_S = 15.0
"""Within it, partitions learn of a move and commit that they took it."""
MOVED_SHARE = 0.5
"""of the histories, in which the first day moves to other shards, up to three times"""
HELD_S = 600.0
"""a function that fails for this long fails for good: so its windows do in both runs"""
_BAD_SHARE = 0.05
_BAD_VALUES = (b"{", b"", b"\xff", b"\x00\x00\x00\xff\xff{")
_EVERYTHING = 1 << 30
_OF_COMMITS = (VERSION, MOMENT)
"""columns of the writing commit, which faults change"""
_PARTITIONS = 2
_SETTINGS = replace(
    SETTINGS,
    idle_close_s=1e9,  # otherwise lateness would depend on a process's downtime
    poison_min_records=10_000_000,
    dedupe_ttl_s=3600,
    m1_retention_days=30,  # a day may move after `LAST_MS`
    max_live_windows=100_000,
    max_unacked_bytes=1 << 30,
)


class AppendStep(NamedTuple):
    step: int
    tp: TopicPartition
    key: bytes | None
    value: bytes


class HistoryResult(NamedTuple):
    """Each part is a multiset of JSON or a map by partition."""

    sent: Counter[str]
    letters: Counter[str]
    tables: dict[str, Any]
    rows: Counter[str]
    ledgers: dict[str, Any]

    def without(self, names: Collection[str]) -> HistoryResult:
        rows = {row: n for row, n in self.rows.items() if row.partition(" ")[0] not in names}
        tables = {at: has for at, has in self.tables.items() if at.partition(" ")[0] not in names}
        return self._replace(rows=Counter(rows), tables=tables)


@dataclass(slots=True)
class AppWorld(World):
    """Its processes are the members of ``group``."""

    group: str = ""

    def process(self, slot: int, host: str = "host", shards: Any = None) -> Process:
        made = World.process(self, slot, host, shards)
        made.topics = [agent.source.name for agent in self.agents if agent.group == self.group]
        return made


def check_app(app: App, seed: int) -> frozenset[str]:
    """Returns the names of windows that cannot be compared. Raises `Difference`, `UsageError` where
    the effects of such windows cannot be separated, or an error of the engine."""
    agents = _simulated(app)
    registry = MemoryRegistry()
    consumed = {agent.source.name for agent in agents}
    own = {*consumed}
    while True:
        records = _records(app, seed, own, registry)
        try:
            calm = _run(app, seed, records, registry, faults=False)
            break
        except _Fed as fed:
            own -= fed.topics
    hurt = _run(app, seed, records, registry, faults=True)
    left_out = _by_append_time(agents, consumed - own)
    calm, hurt = calm.without(left_out), hurt.without(left_out)
    for part, wanted, found in zip(HistoryResult._fields, calm, hurt, strict=True):
        if wanted != found:
            raise Difference(f"{part} under faults: {_told(wanted, found)}")
    return left_out


def _by_append_time(agents: Sequence[Agent], fed: Collection[str]) -> frozenset[str]:
    """In topics that agents write. Raises `UsageError` where their closing calls a function, whose
    effects are unbounded."""
    found: set[str] = set()
    for agent in agents:
        if agent.source.name not in fed or agent.source.time_field:
            continue
        for name, on_close in _windows(agent):
            if on_close is not None:
                topic = agent.source.name
                raise UsageError(
                    f"windows {name!r} go by the append times of {topic}, which agents write at other times under "
                    f"faults, and their on_window_close makes more of them: there is no one result to compare. "
                    f"Give {topic} a time_field."
                )
            found.add(name)
    return frozenset(found)


def _windows(agent: Agent) -> Iterator[tuple[str, Any]]:
    """By name, with their closing callback."""
    for one in windows_of(agent):
        yield one.name, one.on_window_close
    for table in agent.owned if isinstance(agent, StreamAgent) else ():
        if isinstance(table, WindowedDeclaration):
            yield table.name, table.on_close


def _simulated(app: App) -> list[Agent]:
    """All but job agents. Raises `UsageError` without any."""
    agents: list[Agent] = [one for one in app.agents.values() if not isinstance(one, JobAgent)]
    if not agents:
        raise UsageError(
            f"app {app.name} has no agent to simulate: the work of job agents runs in processes, which "
            f"the simulated cluster does not have."
        )
    return agents


class _Fed(Exception):  # noqa: N818 - what was found out
    """Agents write to these topics, so no records may be generated for them."""

    def __init__(self, topics: frozenset[str]) -> None:
        super().__init__(", ".join(topics))
        self.topics = topics


def _records(
    app: App, seed: int, names: Collection[str], registry: MemoryRegistry
) -> list[AppendStep]:
    """Some are undecodable."""
    loop = VirtualLoop()
    _connect(app, registry, LoopClock(loop, START_MS))
    return run(loop, _made_up(app, seed, names))


def _connect(app: App, registry: MemoryRegistry, clock: Clock) -> None:
    codecs.forget()
    connect(app.topics.values(), SchemaRegistry(registry, clock, Metrics()))


async def _made_up(app: App, seed: int, names: Collection[str]) -> list[AppendStep]:
    rng = random.Random(f"records {seed}")
    topics = [agent.source for agent in _simulated(app) if agent.source.name in names]
    records = []
    for step in range(STEPS - QUIET_STEPS):
        for topic in topics:
            count = rng.randint(0, AT_ONCE)
            records += [await _record(topic, rng, step) for _ in range(count)]
    return records + [await _record(topic, rng, STEPS) for topic in topics for _ in range(8)]


def _step_ms(step: int) -> int:
    return START_MS + int(step * STEP_S * 1000) + (LAST_MS if step == STEPS else 0)


async def _record(topic: Topic, rng: random.Random, step: int) -> AppendStep:
    value = sample(topic, rng, _step_ms(step))
    key = key_bytes(topic, None if topic.key_field else f"k{rng.randint(0, 5)}", value)
    data = await settled(lambda: value_bytes(topic, event_of(topic, value))) or b""
    if rng.random() < _BAD_SHARE:
        data = rng.choice(_BAD_VALUES)
    tp = TopicPartition(topic.name, partition_of(key or b"", _PARTITIONS))
    return AppendStep(step, tp, key, data)


def _run(
    app: App,
    seed: int,
    records: Sequence[AppendStep],
    registry: MemoryRegistry,
    *,
    faults: bool,
) -> HistoryResult:
    loop = VirtualLoop()
    rng = random.Random(f"faults {seed}")
    agents = _simulated(app)
    victim = rng.choice(agents)
    written = {name: WrittenRows() for name in app.sinks}
    world = AppWorld(
        loop,
        _SETTINGS,
        agents,
        partitions=_PARTITIONS,
        start_ms=START_MS,
        group=victim.group,
        targets=Targets(app.clickhouse_tables, in_memory(app.sinks, written)),
    )
    injector = FaultInjector(world, rng, victim.source, victim.group)
    moves = Moves(world, random.Random(f"moves {seed}"), share=MOVED_SHARE) if faults else None
    _connect(app, registry, world.clock)
    try:
        run(loop, _history(app, world, injector, records, registry, rng if faults else None, moves))
    except NotSettled:
        _check_fed(world, records)
        raise
    _check_fed(world, records)
    return _result(app, world, written)


def _check_fed(world: World, records: Sequence[AppendStep]) -> None:
    """Raises `_Fed` where a topic has more records than were generated."""
    mine = Counter(record.tp for record in records)
    found = {tp: len(world.broker.log(tp).readable()) for tp in mine}
    fed = frozenset(tp.topic for tp, count in found.items() if count > mine[tp])
    if fed and fed != {tp.topic for tp in mine}:
        raise _Fed(fed)


async def _history(
    app: App,
    world: AppWorld,
    injector: FaultInjector,
    records: Sequence[AppendStep],
    registry: MemoryRegistry,
    rng: random.Random | None,
    moves: Moves | None,
) -> None:
    await _create_topics(app, world)
    growth = None if rng is None else ShardGrowth(world, rng, STEPS - QUIET_STEPS)
    injector.start_one()
    for step in range(STEPS):
        _append(world, records, step)
        if growth is not None:
            growth.strike(step)
        if moves is not None:
            await moves.strike()
        if rng is not None and rng.random() < 0.7:
            await injector.strike()
        if rng is not None:
            registry.away = rng.random() < 0.3
            if rng.random() < 0.5:
                _connect(app, registry, world.clock)
        # The next records come at the same time in both runs, whatever the faults took.
        left_s = STEP_S * (step + 1) - world.clock.monotonic()
        await asyncio.sleep(max(left_s, 0.0) if rng is None else max(left_s, 0.01))
    registry.away = False
    survivors = await injector.clear(kill=rng is not None and rng.random() < 0.5)
    if not survivors:
        survivors = [world.process(0, "calm")]
        survivors[0].start()
    await _settle(world, survivors)
    # As above, for the last records.
    behind_ms = _step_ms(STEPS) - world.broker_clock.now_ms()
    world.jump_clocks(behind_ms)
    _append(world, records, STEPS)
    await _settle(world, survivors)
    if moves is not None:
        await asyncio.sleep(TAKEN_S)
        await moves.heal()
    for process in survivors:
        await process.stop()


def _append(world: World, records: Sequence[AppendStep], step: int) -> None:
    # A fault may outlast a step, so append times must not come from the broker's clock.
    at_ms = _step_ms(step)
    for record in records:
        if record.step == step:
            world.broker.append(record.tp, record.key, record.value, append_ms=at_ms)


async def _create_topics(app: App, world: World) -> None:
    admin = await world.broker.admin()
    topics = wanted_topics(app.topology)
    await admin.create_topics([replace(topic, partitions=_PARTITIONS) for topic in topics])
    await admin.close()


async def _settle(world: World, processes: Sequence[Process]) -> None:
    """Until the processes have read, committed and shown everything, and windows whose function failed are
    closed or had `HELD_S` for it. Raises `NotSettled`."""
    clock = world.clock
    until_s, done_s = clock.monotonic() + 4 * CALM_S, 0.0
    while clock.monotonic() < until_s:
        await asyncio.sleep(2.0)
        for process in processes:
            if process.failure is not None:
                raise process.failure
        owned = held(processes)
        if len(owned) == _PARTITIONS * len(world.agents) and all(map(_done, owned)):
            if done_s > HELD_S or not any(map(_holds, owned)):
                return
            done_s += 2.0
    raise NotSettled(str([(p.tp, p.phase, p.lag, p.stopped_by) for p in held(processes)]))


def _done(partition: AssignedPartition) -> bool:
    """Idle, with due windows closed and the others' rows shown."""
    ready = partition.partition
    windowed = isinstance(ready, StreamPartition | WindowPartition)
    minutes = None if ready is None else ready.windows
    shown = minutes is None or minutes.oldest_unshown_ms() == NEVER_MS
    return at_rest(partition) and shown and (not windowed or partition.settled)


def _holds(partition: AssignedPartition) -> bool:
    ready = partition.partition
    return ready is not None and ready.held is not None and len(ready.held) > 0


def _result(app: App, world: World, written: Mapping[str, WrittenRows]) -> HistoryResult:
    sent: Counter[str] = Counter()
    letters: Counter[str] = Counter()
    consumed = {agent.source.name for agent in app.agents.values()}
    for topic in app.topics.values():
        for number in range(_PARTITIONS):
            log = world.broker.log(TopicPartition(topic.name, number))
            batch = log.read_committed(log.start_offset, _EVERYTHING)
            if topic.name not in consumed:
                pairs = zip(batch.keys, batch.values, strict=True)
                sent.update(f"{topic.name} {key!r} {value!r}" for key, value in pairs)
            dlq = world.broker.log(TopicPartition(topic.dlq, number))
            for headers in dlq.read_committed(dlq.start_offset, _EVERYTHING).headers:
                said = {name: text.decode() for name, text in headers}
                if said["dia.dlq.stage"] != "sink":
                    # Offsets of a topic that agents write differ between the runs.
                    letters[f"{topic.name} {said['dia.dlq.error_code']}"] += 1
    tables = {
        f"{table.name} {number}": part.items()
        for agent in app.agents.values()
        if isinstance(agent, StreamAgent)
        for table in agent.owned
        for number, part in keyed_content(world.broker, agent, table).items()
    }
    names = ("read", "applied", "duplicates", "dead", "shed")
    ledgers = {
        f"{row['grp']} {row['topic']} {row['part']}": [row[name] for name in names]
        for row in world.shards.rows("ledger")
    }
    contents = {name: sorted(map(repr, parts)) for name, parts in tables.items()}
    return HistoryResult(sent, letters, contents, _rows(app, world, written), ledgers)


def _rows(app: App, world: World, written: Mapping[str, WrittenRows]) -> Counter[str]:
    """Without the columns of the commit."""
    shown = {name: world.shards.rows(name) for name in app.clickhouse_tables.keys() - OPERATIONAL}
    given = {name: sink.rows for name, sink in written.items()}
    return Counter(
        f"{name} {sorted((column, value) for column, value in row.items() if column not in _OF_COMMITS)}"
        for name, rows in (*shown.items(), *given.items())
        for row in rows
    ) + _minutes(world.shards.rows("m1"))


def _minutes(rows: Sequence[Mapping[str, Any]]) -> Counter[str]:
    """A row for each window that reopens. When a late record came decides which of its incarnations
    has it, and sums of floats differ by their order; so counts and extremes are compared."""
    windows: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        names = " ".join(str(row[name]) for name in ("tenant", "model", "metric", "w", "part"))
        windows.setdefault(names, []).append(row)
    shown: Counter[str] = Counter()
    for names, some in windows.items():
        sketch: Counter[int] = Counter()
        for row in some:
            sketch.update(dict(zip(row["sk_k"], row["sk_n"], strict=True)))
        ends = min(row["lo"] for row in some), max(row["hi"] for row in some)
        shown[f"m1 {names}: {sum(row['n'] for row in some)} {ends} {sorted(sketch.items())}"] += 1
    return shown


def _told(wanted: Any, found: Any) -> str:
    if isinstance(wanted, Counter):
        lost, extra = wanted - found, found - wanted
        return f"lost {_some(lost)}, unexpected {_some(extra)}"
    differing = [
        f"{name}: {json.dumps(found.get(name))[:300]}, without {json.dumps(wanted.get(name))[:300]}"
        for name in sorted({*wanted, *found})
        if wanted.get(name) != found.get(name)
    ]
    return "; ".join(differing[:3])


def _some(counts: Counter[str]) -> str:
    shown = ", ".join(f"{count} x {what[:120]}" for what, count in sorted(counts.items())[:5])
    return shown or "nothing"
