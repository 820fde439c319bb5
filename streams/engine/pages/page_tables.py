"""Read-only tables for pages, over the partitions of this process.

Pages read the state of completed events. `PageTables.committed` waits until a commit holds all that
was read, so a crash does not take it back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, NoReturn, Protocol, Unpack, cast

from streams.connect.access.refusals import KeyNotLocal, NotCommitted
from streams.connect.broker.partitioner import partition_of
from streams.core.clock import Clock
from streams.core.errors import TableMisused
from streams.core.topics.current_stream import Key, NoTables, Running, SendOptions, Target
from streams.core.types import TopicPartition
from streams.engine.agents.stream_agent import StreamAgent
from streams.engine.runtime.assigned import AssignedPartition
from streams.engine.runtime.partition.partition import Partition
from streams.engine.state.keyed import KeyedTable
from streams.engine.state.table_values import record_key
from streams.engine.streams.windowed_table import WindowedDeclaration

COMMIT_WAIT_S: Final = 15.0
_LOOK_S: Final = 0.02


class KeyPlace(NamedTuple):
    group: str
    topic: str
    partition: int


class Owned(Protocol):
    """A group's partitions in this process, and the number of partitions of each topic."""

    @property
    def partitions(self) -> Mapping[Any, AssignedPartition]: ...

    @property
    def topics(self) -> Mapping[str, int]: ...

    @property
    def group(self) -> str: ...


class _Read(NamedTuple):
    """A partition that was read, and the commit that holds what was read."""

    held: AssignedPartition
    partition: Partition
    seq: int


class PageTables(Mapping[str, "PageTable"]):
    def __init__(
        self, agents: Sequence[StreamAgent], groups: Sequence[Owned], clock: Clock
    ) -> None:
        self._agent_of = {table.name: agent for agent in agents for table in agent.owned}
        self._windowed = {
            table.name
            for agent in agents
            for table in agent.owned
            if isinstance(table, WindowedDeclaration)
        }
        self._groups = {group.group: group for group in groups}
        self._clock = clock
        self._read: dict[TopicPartition, _Read] = {}

    def __getitem__(self, name: str) -> PageTable:
        if name not in self._agent_of:
            raise TableMisused(f"no agent of this process uses a table {name!r}")
        if name in self._windowed:
            raise TableMisused(
                f"a page does not read windows, which table {name!r} has. Let its agent keep what "
                "the page shows in a plain table."
            )
        return PageTable(name, self)

    def __iter__(self) -> Iterator[str]:
        return iter(self._agent_of)

    def __len__(self) -> int:
        return len(self._agent_of)

    def place(self, table: str, key: Key) -> KeyPlace | None:
        """The partition of ``key``; None while the number of partitions is unknown."""
        agent = self._agent_of[table]
        group = self._groups.get(agent.group)
        count = group.topics.get(agent.source.name) if group is not None else None
        raw = record_key(key)
        if not count or raw is None:
            return None
        return KeyPlace(agent.group, agent.source.name, partition_of(raw, count))

    def part(self, table: str, place: KeyPlace) -> KeyedTable | None:
        """The table in a partition of this process; None if it is not here or not open."""
        for held in self._held(table):
            if held.tp == (place.topic, place.partition):
                return self._open(table, held)
        return None

    def parts(self, table: str) -> list[KeyedTable]:
        found = [self._open(table, held) for held in self._held(table)]
        return [part for part in found if part is not None]

    def _held(self, table: str) -> list[AssignedPartition]:
        agent = self._agent_of[table]
        group = self._groups.get(agent.group)
        held = group.partitions.values() if group is not None else ()
        return [one for one in held if one.tp.topic == agent.source.name]

    def _open(self, table: str, held: AssignedPartition) -> KeyedTable | None:
        partition = held.partition
        if held.phase != "ready" or partition is None:
            return None
        found = cast(KeyedTable, partition.state.tables[table])
        encoded = max(partition.prepared_seq, partition.state.link.seq)
        seq = encoded + 1 if found.changed else encoded
        before = self._read.get(held.tp)
        if before is not None and before.partition is partition:
            seq = max(seq, before.seq)
        self._read[held.tp] = _Read(held, partition, seq)
        return found

    async def committed(self) -> None:
        """Wait until commits hold all that was read. Raises `NotCommitted` if a partition was lost
        or its commit takes too long: the answer must not be shown then."""
        until_s = self._clock.monotonic() + COMMIT_WAIT_S
        for held, partition, seq in self._read.values():
            while partition.state.link.seq < seq:
                lost = held.partition is not partition
                if lost or self._clock.monotonic() >= until_s:
                    raise NotCommitted(
                        f"the values read from {held.tp} are not committed and may be lost. Ask "
                        "again.",
                        retry_after_s=1.0,
                    )
                await self._clock.sleep(_LOOK_S)


class PageTable:
    def __init__(self, name: str, tables: PageTables) -> None:
        self._name = name
        self._tables = tables

    def __getitem__(self, key: Key) -> Any:
        return self._part(key).kept(key)

    def get(self, key: Key, default: Any = None) -> Any:
        """The stored value, else ``default``. Raises `KeyNotLocal`."""
        part = self._part(key)
        return part.kept(key) if part.keeps(key) else default

    def __contains__(self, key: Key) -> bool:
        return self._part(key).keeps(key)

    def _part(self, key: Key) -> KeyedTable:
        place = self._tables.place(self._name, key)
        part = None if place is None else self._tables.part(self._name, place)
        if part is None:
            raise KeyNotLocal(
                f"key {key!r} of table {self._name!r} is in a partition that is not open in this "
                "process. @app.table_route sends a page to the process that has it.",
                retry_after_s=1.0,
            )
        return part

    def __iter__(self) -> Iterator[Key]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def keys(self) -> list[Key]:
        """Of the partitions of this process."""
        return [key for part in self._tables.parts(self._name) for key in part.kept_keys()]

    def items(self) -> list[tuple[Key, Any]]:
        parts = self._tables.parts(self._name)
        return [(key, part.kept(key)) for part in parts for key in part.kept_keys()]

    def values(self) -> list[Any]:
        return [value for _, value in self.items()]

    def __getattr__(self, name: str) -> NoReturn:
        raise TableMisused(
            f"a page reads table {self._name!r}, and cannot {name} it: send to the topic of its agent."
        )

    def __setitem__(self, key: Key, value: Any) -> NoReturn:
        self.__getattr__("write")

    def __delitem__(self, key: Key) -> NoReturn:
        self.__getattr__("delete from")


class PageScope:
    """The scope of a page's code: its tables, and a producer for its sends."""

    partition = -1

    def __init__(self, tables: PageTables, sending: Running) -> None:
        self.tables: Mapping[str, Any] = tables
        self._sending = sending

    def end(self) -> None:
        self.tables = NoTables("its page was answered.")

    def send(
        self,
        topic: Target,
        key: Key = None,
        value: Any = None,
        **options: Unpack[SendOptions],
    ) -> Awaitable[None] | None:
        return self._sending.send(topic, key, value, **options)
