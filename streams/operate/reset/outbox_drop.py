"""Drops outbox rows of a table or sink that no current version declares (docs/protocols/outbox.md).

O1  plan: read the whole changelog; refuse unless an unknown target stops the partition
O2  start the transactional producer (A1), which fences the partition's owner
O3  plan again; refuse when the partition committed since the operator agreed
O4  commit {link without the effects, with the dead letters' rows; dead letters to the DLQ; the
    group's offset}, once for each `COMMIT_BYTES` of effects

Each row becomes a dead letter of stage ``sink``: `dia replay` restores it once its target is
declared again. The link follows the last one in the same epoch: a worker restores it like any
other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from streams.connect.broker.log_range import until_readable
from streams.connect.broker.opened import opened
from streams.core.clock import Clock
from streams.core.errors import (
    CommitInDoubt,
    DiaError,
    ProducerFenced,
    RefusedBySafety,
    UsageError,
)
from streams.core.records.bad_records import RowDropped
from streams.core.rows.clickhouse_table import MOVED
from streams.core.rows.dated_map import DAY_S
from streams.core.rows.targets import Targets
from streams.core.topics.topic import Topic
from streams.core.types import Broker, TransactionalProducer
from streams.engine.engine_tables import OUTBOX
from streams.engine.runtime.assignment import transactional_id
from streams.engine.runtime.effects import effects
from streams.engine.runtime.effects.dead_letters import DeadLetter
from streams.engine.runtime.effects.effects import EffectTarget
from streams.engine.runtime.effects.refused_row import Owing, RefusedFact, fact_letter
from streams.engine.state.changelog import Link, entry_bytes
from streams.engine.state.outbox import Outbox, body_of, version_in
from streams.engine.state.placements import first_days, moved_of
from streams.engine.state.table import Entry
from streams.engine.streams.window_aggregates import CLOSED, END, PART, START
from streams.operate.reset.extra_links import ExtraLinks, check_followed, in_commits
from streams.operate.reset.reset import StoppedPartition, look


class TargetBacklog(NamedTuple):
    """``oldest_seq``: the number of the commit that added the first row."""

    target: EffectTarget
    declared: bool
    effects: int
    rows: int
    size_bytes: int
    oldest_seq: int


class AgreedDrop(NamedTuple):
    """``effects``: by key in the changelog."""

    standing: StoppedPartition
    link: Link
    target: EffectTarget
    effects: Mapping[bytes, bytes]

    @property
    def rows(self) -> int:
        return sum(len(_rows(key, value)) for key, value in self.effects.items())


def owed_to(targets: Targets, owed: Mapping[bytes, bytes]) -> list[TargetBacklog]:
    """The live outbox entries of a changelog, by target."""
    by_target: defaultdict[tuple[EffectTarget, bool], dict[bytes, bytes]] = defaultdict(dict)
    for key, value in owed.items():
        effect = _effect(key)
        known = effects.is_known(targets, effect)
        by_target[effects.target_of(effect), known][key] = value
    return [
        TargetBacklog(
            target,
            known,
            len(some),
            sum(len(_rows(key, value)) for key, value in some.items()),
            sum(entry_bytes(key, value) for key, value in some.items()),
            min(map(version_in, some.values())),
        )
        for (target, known), some in sorted(by_target.items())
    ]


async def plan_drop(
    broker: Broker, group: str, source: Topic, partition: int, targets: Targets, name: str
) -> AgreedDrop:
    """O1. Raises `RefusedBySafety` unless an unknown target stops the partition, and `UsageError`
    when no row of ``name`` may be dropped."""
    standing = await look(broker, group, source, partition, targets)
    last = check_followed(standing)
    owed = standing.survey.owed
    unknown = {
        key: value for key, value in owed.items() if not effects.is_known(targets, _effect(key))
    }
    chosen = {
        key: value for key, value in unknown.items() if effects.target_of(_effect(key)).name == name
    }
    if not chosen:
        raise UsageError(_nothing_of(name, targets, owed, unknown))
    target = effects.target_of(_effect(next(iter(chosen))))
    if target.kind == "unknown":
        raise RefusedBySafety(
            f"only the version that wrote it can read an effect of kind {name!r}: run that version. "
            f"`dia tables reset` gives it up, with all that a reset costs."
        )
    return AgreedDrop(standing, last, target, chosen)


def _nothing_of(
    name: str, targets: Targets, owed: Mapping[bytes, bytes], unknown: Mapping[bytes, bytes]
) -> str:
    if any(effects.target_of(_effect(key)).name == name for key in owed):
        return (
            f"{name} is declared, so what is owed to it is handed over once it takes it: nothing of that "
            f"can be dropped."
        )
    names = sorted({one.target.name for one in owed_to(targets, unknown)})
    return (
        f"nothing is owed to an undeclared table or sink called {name!r}. Undeclared and owed something "
        f"are: {', '.join(names) or 'none'}."
    )


async def drop(broker: Broker, clock: Clock, agreed: AgreedDrop, actor: str, reason: str) -> int:
    """O2 to O4. Returns the number of rows that became dead letters.

    Raises `RefusedBySafety` when the partition changed since, or a worker took it back."""
    standing, name = agreed.standing, agreed.target.name
    tp, group = standing.tp, standing.group
    producer = broker.transactional_producer(transactional_id(group, tp))
    dropping = _Dropping(producer, clock, agreed, f"given up by {actor}: {reason}")
    try:
        await producer.start()  # O2
        source, targets = standing.source, standing.targets
        now = await plan_drop(broker, group, source, tp.partition, targets, name)  # O3
        if (now.link.epoch, now.link.seq) != (agreed.link.epoch, agreed.link.seq):
            raise RefusedBySafety(f"{tp} committed meanwhile. Nothing was changed; look again.")
        for some in in_commits(agreed.effects.items(), lambda effect: len(effect[1])):
            await dropping.commit(dict(some))  # O4
    except ProducerFenced as error:
        raise RefusedBySafety(
            f"a live worker took {tp} back; {dropping.rows} rows were dropped before that. Stop the "
            f"worker that holds it (`dia status` shows its pid), then drop the rest."
        ) from error
    except CommitInDoubt as error:
        raise DiaError(
            f"whether all of it was dropped is unknown: {error}. `dia tables outbox list` shows what is "
            f"left."
        ) from error
    finally:
        await producer.close()
    async with opened(broker.reader()) as reader:
        await until_readable(reader, standing.survey.changelog, clock)
    return dropping.rows


class _Dropping:
    def __init__(
        self, producer: TransactionalProducer, clock: Clock, agreed: AgreedDrop, reason: str
    ) -> None:
        self.rows = 0
        self._links = ExtraLinks(producer, agreed.standing, agreed.link)
        self._clock = clock
        self._standing = agreed.standing
        self._last_offset = agreed.link.last_offset
        self._later_maps = agreed.link.later_maps
        self._first_days = first_days(agreed.link.later_maps)
        self._reason = reason

    async def commit(self, some: Mapping[bytes, bytes]) -> None:
        link = self._links.following()
        letters = [*self._letters(some)]
        outbox = Outbox()
        for key, value in effects.dead_letters(link.seq, [letter.row for letter in letters]):
            outbox.put(key, value)
        entries: list[Entry] = [(key, None) for key in some]
        entries += [(OUTBOX.prefix + key, value) for key, value in outbox.delta(link.seq)]
        await self._links.commit(link, entries, [letter.record for letter in letters])
        self.rows += len(letters)

    def _letters(self, some: Mapping[bytes, bytes]) -> Iterator[DeadLetter]:
        standing = self._standing
        changelog = standing.survey.changelog
        where = standing.tp, changelog, standing.survey.end_offset, self._last_offset
        owing = Owing(*where, "dia tables outbox drop", standing.group, self._first_days)
        now_ms = self._clock.now_ms()
        for key, value in some.items():
            table = effects.target_of(_effect(key)).name
            for number, row in enumerate(_rows(key, value)):
                if {START, END, PART, CLOSED} <= row.keys():  # of `app.windows`
                    day = int(str(row[START])) // (1000 * DAY_S)
                    row[MOVED] = moved_of(self._later_maps, day)
                # Two equal rows of a sink are two rows.
                place = f"{_effect(key).hex()}/{number}"
                fact = RefusedFact(table, row, self._reason, place)
                yield fact_letter(owing, fact, now_ms, RowDropped.code)


def _effect(key: bytes) -> bytes:
    return key[len(OUTBOX.prefix) :]


def _rows(key: bytes, value: bytes) -> Sequence[dict[str, object]]:
    return effects.rows_in(_effect(key), body_of(value))
