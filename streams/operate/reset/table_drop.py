"""Drops what a partition's state keeps of tables that its agent no longer declares
(docs/protocols/changelog.md, "Undeclared tables").

K1  plan: read the whole changelog; refuse a declared table, and a chain that cannot go on
K2  start the transactional producer (A1), which fences the partition's owner
K3  plan again; refuse when the partition committed since the operator agreed
K4  commit {link that deletes the entries, the group's offset}, once for each `COMMIT_BYTES`"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec
import structlog

from streams.connect.broker.log_range import until_readable
from streams.connect.broker.opened import opened
from streams.core.clock import Clock
from streams.core.errors import CommitInDoubt, DiaError, ProducerFenced, RefusedBySafety
from streams.core.rows.targets import Targets
from streams.core.types import Broker
from streams.engine.agents.job_agent import Agent
from streams.engine.agents.window_agent import WindowAgent
from streams.engine.engine_tables import HELD_WINDOWS
from streams.engine.runtime.assignment import transactional_id
from streams.engine.state.changelog import Link, entry_bytes
from streams.operate.reset.extra_links import ExtraLinks, check_followed, in_commits
from streams.operate.reset.reset import StoppedPartition, look

_KINDS: Final[Mapping[bytes, str]] = {b"T": "table", b"A": "windows"}
"""by the byte with which a table's prefix begins; the length of its name and the name follow"""
_HELD: Final = "held_windows"
PREFIXES: Final = (*_KINDS, HELD_WINDOWS.prefix)

log = structlog.get_logger(__name__)


class NamedTable(NamedTuple):
    """``kind``: a "table", the "windows" of `app.windows`, or its "held_windows", whose
    `on_window_close` has not succeeded yet."""

    kind: str
    name: str


class Leftover(NamedTuple):
    """``entries`` and their bytes in the changelog."""

    table: NamedTable
    entries: int
    size_bytes: int


class AgreedTableDrop(NamedTuple):
    """``keys``: in the changelog."""

    standing: StoppedPartition
    link: Link
    keys: tuple[bytes, ...]


def table_of(key: bytes) -> NamedTable:
    """The table of an app that an entry with one of `PREFIXES` belongs to."""
    kind = _KINDS.get(key[:1])
    if kind is None:
        return NamedTable(_HELD, msgspec.msgpack.decode(key[len(HELD_WINDOWS.prefix) :])[0])
    return NamedTable(kind, key[2 : 2 + key[1]].decode())


def declared_by(agent: Agent) -> frozenset[NamedTable]:
    found = {
        NamedTable(_KINDS[spec.prefix[:1]], spec.name)
        for spec in agent.tables
        if spec.prefix[:1] in _KINDS
    }
    if isinstance(agent, WindowAgent):
        found |= {
            NamedTable(_HELD, one.name) for one in agent.windows if one.on_window_close is not None
        }
    return frozenset(found)


def leftovers(agent: Agent, entries: Mapping[bytes, bytes]) -> list[Leftover]:
    """What live entries hold of tables that the agent does not declare, by table."""
    counts: Counter[NamedTable] = Counter()
    sizes: Counter[NamedTable] = Counter()
    for key in undeclared(agent, entries):
        counts[table_of(key)] += 1
        sizes[table_of(key)] += entry_bytes(key, entries[key])
    return [Leftover(table, counts[table], sizes[table]) for table in sorted(counts)]


def undeclared(agent: Agent, keys: Iterable[bytes]) -> list[bytes]:
    declared = declared_by(agent)
    return [key for key in keys if key.startswith(PREFIXES) and table_of(key) not in declared]


async def plan_table_drop(
    broker: Broker, agent: Agent, partition: int, targets: Targets, name: str
) -> AgreedTableDrop | None:
    """K1. None where the partition has nothing of it. Raises `RefusedBySafety`."""
    standing = await look(broker, agent.group, agent.source, partition, targets, PREFIXES)
    owned = [key for key in standing.survey.wanted if table_of(key).name == name]
    keys = undeclared(agent, owned)
    if keys:
        return AgreedTableDrop(standing, check_followed(standing), tuple(keys))
    if owned:
        raise RefusedBySafety(
            f"agent {agent.name} declares the table {name!r}: its state is in use. Take it out of the app, "
            f"deploy that, then drop it."
        )
    return None


async def drop_table(broker: Broker, clock: Clock, agent: Agent, agreed: AgreedTableDrop) -> int:
    """K2 to K4. Returns the number of deleted entries.

    Raises `RefusedBySafety` when the partition changed since, or a worker took it back."""
    standing = agreed.standing
    tp, name = standing.tp, table_of(agreed.keys[0]).name
    producer = broker.transactional_producer(transactional_id(agent.group, tp))
    links = ExtraLinks(producer, standing, agreed.link)
    deleted = 0
    try:
        await producer.start()  # K2
        now = await plan_table_drop(broker, agent, tp.partition, standing.targets, name)  # K3
        if now is None or (now.link.epoch, now.link.seq) != (agreed.link.epoch, agreed.link.seq):
            raise RefusedBySafety(f"{tp} committed meanwhile. Nothing was changed; look again.")
        for keys in in_commits(now.keys, len):
            await links.commit(links.following(), [(key, None) for key in keys])  # K4
            deleted += len(keys)
    except ProducerFenced as error:
        raise RefusedBySafety(
            f"a live worker took {tp} back; {deleted} entries of {name!r} were deleted before that. Stop the "
            f"workers of {agent.group}, then drop the rest."
        ) from error
    except CommitInDoubt as error:
        raise DiaError(
            f"whether all of {name!r} was dropped in {tp} is unknown: {error}. `dia tables undeclared list` "
            f"shows what is left."
        ) from error
    finally:
        await producer.close()
    log.info("table_dropped", tp=str(tp), group=agent.group, table=name, entries=deleted)
    async with opened(broker.reader()) as reader:
        await until_readable(reader, standing.survey.changelog, clock)
    return deleted
