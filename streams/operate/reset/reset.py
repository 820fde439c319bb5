"""Resets a stopped partition: an operator opens a new epoch (docs/protocols/reset.md).

R1  look: read the whole changelog and the source's bounds; refuse when nothing is wrong
R2  start the transactional producer (A1), which fences the partition's owner
R3  look again; refuse when anything changed since the operator agreed
R4  commit {opening link, group offset with metadata ``epoch=N seq=M at=O``}
R5  trim the changelog up to its end before the opening link

The opening link starts at the group's offset, or behind the last link if that is further; an offset
whose own link is aborted (runtime/restore/torn_link.py) does not count. Its counters are zero, so
``next_offset - start == read + gaps`` holds in the new epoch too. Its entries are the undelivered
effects, valid in any epoch, and the ledger row that opens the epoch."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from streams.connect.broker.append_times import appended_ms
from streams.connect.broker.log_range import until_readable
from streams.connect.broker.opened import opened
from streams.core.clock import Clock
from streams.core.errors import (
    ChangelogLost,
    CommitInDoubt,
    DiaError,
    PartitionStopped,
    ProducerFenced,
    RefusedBySafety,
    TopicRecreated,
    UnknownTarget,
)
from streams.core.rows.built_in_tables import EPOCH_END
from streams.core.rows.targets import Targets
from streams.core.topics.topic import Topic
from streams.core.types import (
    Broker,
    CommittedOffset,
    LogReader,
    OffsetOutOfRange,
    OutboundRecord,
    TopicPartition,
    TransactionalProducer,
)
from streams.engine.engine_tables import OUTBOX
from streams.engine.runtime.assignment import transactional_id
from streams.engine.runtime.effects import effects
from streams.engine.runtime.offsets.commit_mark import committed_offset, epoch_of, lost_links
from streams.engine.runtime.restore.source_check import Reached, check_source
from streams.engine.runtime.restore.survey import Survey, survey
from streams.engine.runtime.restore.torn_link import is_torn
from streams.engine.state.changelog import Counters, Link, pack
from streams.engine.state.outbox import Outbox
from streams.engine.state.table import Entry
from streams.engine.windows.fingerprint import SECRET_BYTES

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppedPartition:
    """The result of R1. ``cause`` is None for a running partition."""

    group: str
    source: Topic
    tp: TopicPartition
    survey: Survey
    committed: CommittedOffset | None
    torn: bool
    """the link of ``committed`` is aborted: its records are not counted"""
    begin_offset: int
    end_offset: int
    last_append_ms: int | None
    """of the last consumed record, if known"""
    cause: PartitionStopped | None
    recreated: bool
    targets: Targets


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """``counted_before`` and ``skipped``: offsets [first, end) that are read again, or never."""

    standing: StoppedPartition
    link: Link
    counted_before: tuple[int, int] | None
    skipped: tuple[int, int] | None


async def look(
    broker: Broker,
    group: str,
    source: Topic,
    partition: int,
    targets: Targets,
    tables: tuple[bytes, ...] = (),
) -> StoppedPartition:
    """R1 and R3. The survey also wants the entries of tables with these prefixes. Raises `UnknownFormat`, `UnknownTopic` and `BrokerUnavailable`."""
    tp = TopicPartition(source.name, partition)
    async with opened(broker.admin()) as admin:
        committed = (await admin.committed(group, [tp])).get(tp)
    async with opened(broker.reader()) as reader:
        changelog = TopicPartition(source.changelog(group), partition)
        found = await survey(reader, changelog, tables=tables)
        begin, end = await reader.beginning_offset(tp), await reader.last_stable_offset(tp)
        torn = committed is not None and await is_torn(
            reader, found.changelog, committed, found.last
        )
        consumed = None if torn else committed
        stopped = _chain_fault(found, committed, torn=torn) or _target_fault(targets, found)
        recreated = committed is not None and committed.offset > end
        if found.last is not None:
            try:
                await check_source(tp, Reached.of(found.last), reader)
            except PartitionStopped as error:
                recreated |= isinstance(error, TopicRecreated)
                stopped = stopped or error
        return StoppedPartition(
            group=group,
            source=source,
            tp=tp,
            survey=found,
            committed=committed,
            torn=torn,
            begin_offset=begin,
            end_offset=end,
            last_append_ms=None
            if recreated
            else await _last_append_ms(reader, tp, found, consumed, end),
            cause=stopped,
            recreated=recreated,
            targets=targets,
        )


def _target_fault(targets: Targets, found: Survey) -> PartitionStopped | None:
    try:
        effects.check_targets(targets, (key[len(OUTBOX.prefix) :] for key in found.owed))
    except UnknownTarget as error:
        return error
    return None


def _lost_end(standing: StoppedPartition) -> str | None:
    last = standing.survey.last
    return lost_links(last, standing.committed) if last is not None and not standing.torn else None


def _chain_fault(
    found: Survey, committed: CommittedOffset | None, *, torn: bool
) -> PartitionStopped | None:
    if found.faults:
        return found.faults[0]
    lost = "is empty" if found.last is None else lost_links(found.last, committed)
    return ChangelogLost(f"{found.changelog} {lost}.") if lost and not torn else None


async def _last_append_ms(
    reader: LogReader,
    tp: TopicPartition,
    found: Survey,
    committed: CommittedOffset | None,
    end: int,
) -> int | None:
    last = found.last
    if last is not None and last.last_offset >= 0 and lost_links(last, committed) is None:
        return last.last_append_ms
    if committed is None or committed.offset == 0:
        return None
    try:
        return await appended_ms(reader, tp, committed.offset - 1, end)
    except OffsetOutOfRange:
        return None


def open_epoch(standing: StoppedPartition, *, resume_at_start: bool) -> Opening:
    """Raises `RefusedBySafety` when nothing is wrong, or when the offset to resume at is deleted
    and ``resume_at_start`` is not set."""
    tp = standing.tp
    if standing.cause is None:
        raise RefusedBySafety(
            f"nothing stops {tp} of {standing.group}: its changelog is whole and its source is "
            f"the one it was built from. A reset would only lose its windows. If a worker has "
            f"stopped it, restart that worker (`dia status` shows which)."
        )
    reached = _reached(standing)
    begin = standing.begin_offset
    at_start = resume_at_start or standing.recreated
    if reached < begin and not at_start:
        raise RefusedBySafety(
            f"{tp}: offsets {reached} to {begin - 1} were never consumed and are gone from the "
            f"log. To go on without them: `dia tables reset --resume-at-start`."
        )
    resume = begin if at_start else reached
    if (epoch := _next_epoch(standing)) >= EPOCH_END:
        raise RefusedBySafety(
            f"{tp}: epoch {epoch} does not fit into the version of a row, which holds epochs below "
            f"{EPOCH_END}. Produce to a topic of another name, and point the agent at it."
        )
    same_log = not standing.recreated
    return Opening(
        standing=standing,
        link=_opening_link(standing, resume),
        counted_before=(begin, reached) if same_log and at_start and begin < reached else None,
        skipped=(reached, begin) if same_log and reached < begin else None,
    )


def _reached(standing: StoppedPartition) -> int:
    """A committed offset below the last commit's was moved by hand: the records between are
    counted."""
    last, committed = standing.survey.last, standing.committed
    known = [committed.offset] if committed is not None and not standing.torn else []
    if last is not None and not standing.recreated and last.epoch >= epoch_of(committed):
        known.append(last.next_offset)
    return max(known, default=standing.begin_offset)


def _next_epoch(standing: StoppedPartition) -> int:
    last = standing.survey.last
    return 1 + max(epoch_of(standing.committed), last.epoch if last is not None else 0)


def _opening_link(standing: StoppedPartition, resume: int) -> Link:
    found, last = standing.survey, standing.survey.last
    known = last is not None and not standing.recreated and resume == last.next_offset
    epoch = _next_epoch(standing)
    return Link(
        seq=last.seq + 1 if last is not None else 1,
        epoch=epoch,
        part=0,
        parts=1,
        from_offset=last.next_offset if last is not None else resume,
        next_offset=resume,
        base_offset=found.end_offset,
        last_offset=last.last_offset if last is not None and known else -1,
        last_append_ms=last.last_append_ms if last is not None and known else 0,
        watermark_ms=last.watermark_ms if last is not None and known else 0,
        start_offset=resume,
        written_bytes=last.written_bytes if last is not None else 0,
        counters=Counters(),
        secret=os.urandom(SECRET_BYTES),
        reset=True,
        shard_map=last.shard_map if last is not None else "",
        later_maps=last.later_maps if last is not None else (),
        maps_since=(
            epoch if last is None or last.maps_lost or _lost_end(standing) else last.maps_since
        ),
    )


async def reset(broker: Broker, clock: Clock, agreed: Opening) -> Opening:
    """R2 to R5. Returns the epoch as committed.

    Raises `RefusedBySafety` when the partition changed since, or a worker took it back before the
    commit: then nothing has changed."""
    standing = agreed.standing
    tp, group = standing.tp, standing.group
    producer = broker.transactional_producer(transactional_id(group, tp))
    try:
        await producer.start()  # R2
        now = await look(broker, group, standing.source, tp.partition, standing.targets)  # R3
        resume_at_start = agreed.link.next_offset == now.begin_offset
        opening = open_epoch(now, resume_at_start=resume_at_start)
        if _identity(opening.link) != _identity(agreed.link):
            raise RefusedBySafety(
                f"{tp} moved while the reset was being decided. Nothing was changed; look again."
            )
        await _commit(producer, clock, opening)  # R4
    except ProducerFenced as error:
        raise RefusedBySafety(
            f"a live worker took {tp} back before the reset was committed. Nothing was changed. "
            f"Stop the worker that holds it (`dia status` shows its pid), then reset."
        ) from error
    except CommitInDoubt as error:
        raise DiaError(
            f"whether {tp} was reset is unknown: {error}. `dia tables list` shows its epoch; a "
            f"second reset is harmless."
        ) from error
    finally:
        await producer.close()
    changelog = standing.survey.changelog
    async with opened(broker.reader()) as reader:
        await until_readable(reader, changelog, clock)
    await _trim(broker, changelog, opening.link.base_offset)  # R5
    return opening


def _identity(link: Link) -> tuple[int, int, int]:
    return link.epoch, link.seq, link.next_offset


async def _commit(producer: TransactionalProducer, clock: Clock, opening: Opening) -> None:
    standing, link = opening.standing, opening.link
    await producer.begin()
    sent = [
        await producer.send(OutboundRecord(standing.survey.changelog, None, data))
        for data, _ in pack(link, _owed(opening, clock.now_ms()))
    ]
    offsets = await asyncio.gather(*sent)
    committed = committed_offset(link, offsets[0])
    await producer.send_offsets({standing.tp: committed}, standing.group)
    await producer.commit()


def _owed(opening: Opening, now_ms: int) -> Sequence[Entry]:
    standing, link = opening.standing, opening.link
    outbox = Outbox()
    columns = effects.ledger_columns(standing.group, standing.tp, link, now_ms)
    outbox.put(effects.ledger_key(link.epoch), effects.encode_columns(columns))
    opened = [(OUTBOX.prefix + key, value) for key, value in outbox.delta(link.seq)]
    return [*kept_effects(standing).items(), *opened]


def kept_effects(standing: StoppedPartition) -> dict[bytes, bytes]:
    """The undelivered effects with a known target, by their key in the changelog."""
    skip = len(OUTBOX.prefix)
    return {
        key: value
        for key, value in standing.survey.owed.items()
        if effects.is_known(standing.targets, key[skip:])
    }


async def _trim(broker: Broker, changelog: TopicPartition, before: int) -> None:
    """If this fails, a later commit trims."""
    try:
        async with opened(broker.admin()) as admin:
            await admin.delete_records({changelog: before})
    except DiaError as error:
        log.warning("trim_failed", tp=str(changelog), why=str(error))
