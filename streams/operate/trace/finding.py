"""Finds the records, dead letters and plans of a text, in the order of docs/protocols/trace.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from streams.connect.broker.log_range import read_some
from streams.connect.broker.partitioner import partition_of
from streams.core.errors import BatchUnreadable, UnknownTopic
from streams.core.topics.topic import Topic
from streams.core.types import OffsetOutOfRange, RecordBatch, TopicPartition
from streams.operate.dlq.dead_letter import DeadLetterRecord, letters
from streams.operate.dlq.filters import belongs
from streams.operate.replay.journal.status import read_standing
from streams.operate.trace.log_scan import LogScan, SearchedRange, TimeBounds, ranges
from streams.operate.trace.means import TraceBounds, TraceMeans
from streams.operate.trace.needles import needles
from streams.operate.trace.trace_report import PlanTrace
from streams.operate.trace.traced_record import (
    BY_IDENTITY,
    BY_PLACE,
    TracedRecord,
    identity_needles,
    records_of,
)

_NUMBER = re.compile(r"-?[0-9]{1,40}")
_PLACE = re.compile(r"([A-Za-z0-9._-]+)/(\d{1,9})/(\d{1,18})(?:/e\d{1,9})?")


class LogPlace(NamedTuple):
    tp: TopicPartition
    offset: int


def place_of(text: str) -> LogPlace | None:
    """The place that ``topic/partition/offset`` names, with the epoch of a dead letter's id or
    without; None for other text."""
    found = _PLACE.fullmatch(text)
    if found is None:
        return None
    return LogPlace(TopicPartition(found[1], int(found[2])), int(found[3]))


def _number(digits: str) -> re.Pattern[bytes]:
    """Finds a whole number that is a value of a JSON document."""
    return re.compile(rb"[:\[,\s]%b(?:[,\]}\s]|$)" % digits.encode())


@dataclass(slots=True)
class Finding:
    """``records`` and ``letters`` by place. ``partitions``: those of each topic that exists."""

    means: TraceMeans
    text: str
    bounds: TraceBounds
    scan: LogScan
    partitions: dict[str, int]
    found_at: Callable[[str], None] = lambda place: None
    records: dict[LogPlace, TracedRecord] = field(default_factory=dict)
    letters: dict[LogPlace, DeadLetterRecord] = field(default_factory=dict)
    plans: list[PlanTrace] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    more: bool = False

    async def find(self) -> None:
        """Raises `BrokerUnavailable`, `UsageError` and `SchemaRegistryUnavailable`."""
        place = place_of(self.text)
        if place is not None and place.tp.topic in self.means.topology.by_name:
            await self._record_at(place)
        else:
            if place is not None and place.tp.topic in self.means.topology.by_dlq:
                await self._letter_at(place)
            sources = self.means.sources(self.bounds.topics)
            if self.bounds.owner is None:
                await self._plans(sources)
            await self._sources(sources)
        for tp in {place.tp for place in self.records}:
            await self._repeats(tp)
        await self._queues()

    # --- one record -----------------------------------------------------------------------------

    async def _record_at(self, place: LogPlace) -> None:
        topic = self.means.topology.by_name[place.tp.topic]
        batch = await self._read_at(place)
        if batch is None:
            return
        [record] = await self._decoded(topic, batch)
        self._keep(record, (BY_PLACE,))

    async def _letter_at(self, place: LogPlace) -> None:
        """A place in a DLQ: its letter, and the record that failed."""
        batch = await self._read_at(place)
        for letter in letters(batch, self.means.topology) if batch is not None else ():
            if not self._visible(letter):
                return
            self.letters[place] = letter
            tp, offset = letter.source_tp, letter.source_offset
            if tp is not None and offset is not None and tp.topic in self.means.topology.by_name:
                await self._record_at(LogPlace(tp, offset))

    async def _read_at(self, place: LogPlace) -> RecordBatch | None:
        """The record of a place; None without one, which a note explains."""
        tp, offset = place
        if tp.partition >= self.partitions.get(tp.topic, 0):
            self.notes.append(f"{tp} does not exist")
            return None
        bounds = (await self.means.reader.bounds([tp]))[tp]
        if not bounds.begin <= offset < bounds.stable_end:
            self.notes.append(
                f"{tp} holds offsets {bounds.begin} to {bounds.stable_end - 1}, not {offset}"
            )
            return None
        try:
            batch = await read_some(self.means.reader, tp, offset, bounds.stable_end, 1)
        except BatchUnreadable as error:
            self.notes.append(
                f"{tp} offset {offset} lies in a batch that cannot be opened: {error.why}"
            )
            return None
        except OffsetOutOfRange:
            self.notes.append(f"retention deleted offset {offset} of {tp} just now")
            return None
        if batch.offsets[:1] != [offset]:
            self.notes.append(
                f"{tp} offset {offset} holds no record: it is a transaction's marker, or a record of "
                f"an aborted transaction"
            )
            return None
        return batch.take([0])

    # --- plans ----------------------------------------------------------------------------------

    async def _plans(self, sources: Iterable[Topic]) -> None:
        for source in sources:
            for number in range(self.partitions.get(source.journal, 0)):
                if self.scan.late:
                    self.notes.append(f"the journals of {source.dlq} were not all read in time")
                    return
                standing = await read_standing(
                    self.means.reader, source, number, checked=False, whole=False
                )
                if standing.fault is not None:
                    self.notes.append(f"a part of the journal is lost: {standing.fault}")
                for plan in standing.plans.values():
                    if self.text in (plan.plan, plan.run):
                        self.plans.append(PlanTrace(source.name, number, plan))

    # --- source topics --------------------------------------------------------------------------

    async def _sources(self, sources: Iterable[Topic]) -> None:
        for topic in sources:
            count = self.partitions.get(topic.name, 0)
            if not count:
                self.notes.append(f"topic {topic.name} does not exist")
                continue
            key = self.bounds.key_in(topic)
            numbers = range(count) if key is None else [partition_of(key, count)]
            wanted = await ranges(
                self.means.reader,
                [TopicPartition(topic.name, number) for number in numbers],
                self.bounds.times,
            )
            await self.scan.search(wanted, needles(self.text), self._take)

    async def _take(self, batch: RecordBatch) -> None:
        topic = self.means.topology.by_name[batch.tp.topic]
        for record in await self._decoded(topic, batch):
            if found_by := record.named_by(self.text):
                self._keep(record, found_by)

    async def _repeats(self, tp: TopicPartition) -> None:
        """The other records of the same identities: which one was the first, and, for a place,
        repeats and replays behind it."""
        mine = [record for place, record in self.records.items() if place.tp == tp]
        identities = {one.identity for one in mine if one.identity is not None}
        by_place = [one for one in mine if BY_PLACE in one.found_by]
        wanted = {needle for one in identities for needle in identity_needles(one)}
        wanted |= {needle for one in by_place for needle in needles(one.place)}
        if not wanted:
            return

        async def take(batch: RecordBatch) -> None:
            for record in await self._decoded(mine[0].topic, batch):
                replays = any(record.replay_of.startswith(one.place) for one in by_place)
                if record.identity in identities or replays:
                    self._keep(record, (BY_IDENTITY,))

        # A repeat that is found may itself repeat a record before it, out of the TTL of the later ones.
        while (found := await self._unsearched(tp, wanted)).start < found.end:
            await self.scan.search([found], sorted(wanted), take)
            if self.scan.stopped or self.scan.late:
                return

    async def _unsearched(self, tp: TopicPartition, wanted: set[bytes]) -> SearchedRange:
        """From the TTL before the first find on, up to where ``wanted`` has been searched."""
        first_ms = min(one.append_ms for place, one in self.records.items() if place.tp == tp)
        since = TimeBounds(first_ms - self.means.settings.dedupe_ttl_s * 1000)
        [found] = await ranges(self.means.reader, [tp], since)
        searched = [
            one.start for one in self.scan.searched if one.tp == tp and wanted <= one.needles
        ]
        found.end = min([found.end, *searched])
        return found

    async def _decoded(self, topic: Topic, batch: RecordBatch) -> list[TracedRecord]:
        agent = self.means.agents.get(topic.name)
        return await records_of(topic, agent, batch, self.means.limits)

    def _keep(self, record: TracedRecord, found_by: tuple[str, ...]) -> None:
        place, owner, tenant = (
            LogPlace(record.tp, record.offset),
            self.bounds.owner,
            self.bounds.tenant,
        )
        if place in self.records:
            return
        if owner is not None and not record.belongs_to(owner):
            return
        if tenant is not None and record.tenant != tenant:
            return
        if len(self.records) >= self.bounds.finds_max:
            self.more = self.scan.stopped = True
            return
        self.records[place] = record.with_reason(found_by)
        self.found_at(record.place)

    # --- dead letters ---------------------------------------------------------------------------

    async def _queues(self) -> None:
        """DLQs and parking topics: of found records by their places, of others by the text."""
        self.scan.stopped = False
        places = [f"{place.tp}/{place.offset}" for place in self.records]
        wanted = dict.fromkeys(needle for text in (self.text, *places) for needle in needles(text))
        partitions = [
            TopicPartition(name, number)
            for topic in self.means.sources(self._queues_of())
            for name in (topic.dlq, topic.parked)
            for number in range(self.partitions.get(name, 0))
        ]
        try:
            await self.scan.search(
                await ranges(self.means.reader, partitions), [*wanted], self._take_letters
            )
        except UnknownTopic as error:
            self.notes.append(str(error))

    def _queues_of(self) -> Sequence[str]:
        """The topics whose dead letters matter: of a place only its own."""
        if place_of(self.text) is not None and self.records:
            return sorted({place.tp.topic for place in self.records})
        return self.bounds.topics

    async def _take_letters(self, batch: RecordBatch) -> None:
        places = {f"{place.tp}/{place.offset}" for place in self.records}
        for letter in letters(batch, self.means.topology):
            place = LogPlace(letter.dlq, letter.offset)
            of_a_record = letter.id.rpartition("/e")[0] in places or letter.id in places
            if not (of_a_record or self._named(letter)) or not self._visible(letter):
                continue
            if len(self.letters) >= self.bounds.finds_max and not of_a_record:
                self.more = True
                continue
            self.letters[place] = letter

    def _named(self, letter: DeadLetterRecord) -> bool:
        """Whether it is the letter of the text: by its id, or by what its value holds. A dead
        letter's value need not be readable, so its bytes decide."""
        if self.text in (letter.id, f"{letter.dlq}/{letter.offset}"):
            return True
        if place_of(self.text) is not None:
            return False
        value = letter.value or b""
        if _NUMBER.fullmatch(self.text) and _number(self.text).search(value):
            return True
        quoted = (b'"%b"' % form for form in needles(self.text))
        return letter.key == self.text.encode() or any(form in value for form in quoted)

    def _visible(self, letter: DeadLetterRecord) -> bool:
        owner, tenant = self.bounds.owner, self.bounds.tenant
        if owner is not None and not belongs(letter, letter.value, owner):
            return False
        return tenant is None or letter.tenant in ("", tenant)
