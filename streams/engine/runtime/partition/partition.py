"""One assigned partition in memory: tables, progress and the next commit.

`fold` is C1. `prepare` encodes C2 in one turn of the event loop, so the changes and the due rows
are of one state; folding may continue during the commit. `committed` of the state is C4. If the
commit fails, the partition is dropped and restored from the log (docs/protocols/commit.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from operator import index
from typing import Any, TypeVar, Unpack, cast

from streams.core.clock import Clock
from streams.core.errors import DiaError, Pending, PoisonStorm
from streams.core.records.framed_batch import timestamp_array
from streams.core.rows.dated_map import DatedMap
from streams.core.rows.operational_tables import SHED_RANGES
from streams.core.rows.targets import RowTarget, RowValues
from streams.core.settings import Settings
from streams.core.topics.current_stream import Key, SendOptions, Target
from streams.core.types import CommittedOffset, OutboundRecord, RecordBatch, TopicPartition
from streams.engine.agents.agent import AgentSpec, Change, EventBatch
from streams.engine.agents.job_agent import Agent, JobAgent
from streams.engine.decode.codecs import Decoded, Limits, decode
from streams.engine.decode.scanning import Scanner
from streams.engine.engine_tables import OUTBOX
from streams.engine.runtime.effects import effects
from streams.engine.runtime.effects.dead_letters import DeadLetter, Failure, Origin, dead_letter
from streams.engine.runtime.effects.owed import Owed
from streams.engine.runtime.effects.refused_facts import RefusedFacts
from streams.engine.runtime.effects.refused_row import RefusedFact, refused_fact, refused_window
from streams.engine.runtime.offsets.close_order import CloseOrder
from streams.engine.runtime.offsets.shed_order import ShedOrder
from streams.engine.runtime.partition.backlog import Backlog
from streams.engine.runtime.partition.held_closes import HeldCloses
from streams.engine.runtime.partition.key_placement import KeyPlacement, without_misplaced
from streams.engine.runtime.partition.load_history import LoadHistory, LoadStanding
from streams.engine.runtime.partition.progress import Progress
from streams.engine.runtime.poison.poison_watch import PoisonWatch
from streams.engine.runtime.restore.source_check import Reached
from streams.engine.runtime.restore.state import PartitionState
from streams.engine.state.changelog import Link, pack
from streams.engine.state.log_time import Expiry
from streams.engine.state.outbox import Outbox, OwedEffect
from streams.engine.state.table import Entry, Table, TableSpec
from streams.engine.streams.sending import made_here, outgoing
from streams.engine.streams.topic_sizes import TopicSizes
from streams.engine.windows.fingerprint import Fingerprints
from streams.engine.windows.minutes.emission import Emission, EmittingTable

T = TypeVar("T", bound=Table)


@dataclass(frozen=True, slots=True)
class Prepared:
    link: Link
    parts: list[tuple[bytes, list[Entry]]]
    records: list[OutboundRecord]
    emissions: list[Emission]
    effects: list[OwedEffect]
    folded: int
    """offsets since the previous commit"""
    pointers: int
    """dead letters that were too large for the DLQ topic"""
    compact: int
    """dead letters without payload, as their tenant is in quarantine"""
    quarantines: CommittedOffset | None
    """the partition's quarantined tenants, if they changed"""
    refused_closes: Counter[str]
    """closed windows whose `on_window_close` was refused, by error code"""
    told: list[Callable[[], None]]
    """callbacks after the commit"""


@dataclass(slots=True)
class Partition:
    """Also the `Scope` of its agent."""

    agent: Agent
    state: PartitionState
    clock: Clock
    pass_until: int = 0
    """the poison breaker ignores offsets below it"""
    shard_map: Callable[[], str] = str
    """`Link.shard_map` of a chain that has none yet"""
    sizes: TopicSizes = field(default_factory=TopicSizes)
    progress: Progress = field(init=False)
    backlog: Backlog = field(default_factory=Backlog)
    failure: DiaError | None = None
    """the error that stops or reopens the partition; checked between batches"""
    waits_for: str = ""
    """what the agent waits for; "" if nothing"""
    prepared_seq: int = 0
    """number of the last encoded commit; it is committed once ``state.link`` has it"""
    offset_moved: bool = False
    """the group's committed offset differs from the last link's: the next commit sets it"""
    late_dropped: int = 0
    """records dropped because their window was closed"""
    held: HeldCloses | None = None
    """windows whose `on_window_close` failed"""
    placement: KeyPlacement = field(init=False)
    fingerprints: Fingerprints = field(init=False)
    poison: PoisonWatch = field(init=False)
    history: LoadHistory = field(init=False)
    windows: EmittingTable | None = field(init=False)
    """the agent's table that emits rows without the outbox, if it has one"""
    _expiry: Expiry = field(init=False)
    _scanner: Scanner | None = field(init=False)
    _batch: RecordBatch | None = None
    _records: list[OutboundRecord] = field(default_factory=list)
    _owed: Owed = field(default_factory=Owed)
    _refused: RefusedFacts = field(default_factory=RefusedFacts)
    _pointers: int = 0
    _compact: int = 0
    _refused_closes: Counter[str] = field(default_factory=Counter)
    _last_commit_bytes: int = 0
    _emitted_at: float = float("-inf")

    def __post_init__(self) -> None:
        self.progress = Progress.after(self.state.link)
        self.fingerprints = Fingerprints(self.state.link.secret)
        settings = self.settings
        columns = isinstance(self.agent, AgentSpec) and self.agent.columns
        self._scanner = Scanner.of(self.agent.source) if columns else None
        self._expiry = Expiry.of(settings.dedupe_ttl_s * 1000)
        emitting = (one for one in self.state.tables.values() if isinstance(one, EmittingTable))
        self.windows = next(emitting, None)
        self.placement = KeyPlacement(self.tp, self.agent.source.partitions)
        self.poison = PoisonWatch(self.tp, self.agent.source, settings, self.clock, self.pass_until)
        run, now_ms = self.state.link.load, self.clock.now_ms()
        self.history = LoadHistory.of(self.agent, self.tp, run, settings, now_ms)

    # --- Scope -------------------------------------------------------------------------------

    @property
    def tp(self) -> TopicPartition:
        return self.state.tp

    @property
    def settings(self) -> Settings:
        return self.state.context.settings

    def table(self, spec: TableSpec[T]) -> T:
        return cast(T, self.state.tables[spec.name])

    def dead_letter(self, row: int, code: str, message: str, tenant: str = "") -> None:
        assert self._batch is not None, "dead letters belong to the batch being folded"
        self._refuse(row, code, message, "process", tenant)

    def send(
        self, topic: Target, key: Key = None, value: Any = None, **options: Unpack[SendOptions]
    ) -> None:
        count, own = self.sizes.of(topic), self.tp.partition
        options["headers"] = made_here(options.get("headers"), self.settings.region)
        try:
            self.emit(outgoing(topic, key, value, partitions=count, without_key=own, **options))
        except Pending as pending:
            self.failure = pending  # also if the agent's code catches it
            raise

    def emit(self, record: OutboundRecord) -> None:
        """Add it to the next transaction."""
        self._records.append(record)

    def fact(self, target: str | RowTarget, row: RowValues, *, name: str | None = None) -> None:
        found, fitted = self.state.context.targets.fitted(target, row, name)
        self._owed.fact(found, fitted, name)

    def change(self, change: Change) -> None:
        self._owed.change(change)

    def count(self, *, applied: int = 0, duplicates: int = 0) -> None:
        if applied < 0 or duplicates < 0:
            raise ValueError(f"scope.count takes no negative number: {applied}, {duplicates}")
        self.progress.applied += index(applied)
        self.progress.duplicates += index(duplicates)

    # --- C1 ----------------------------------------------------------------------------------

    def fold(self, batch: RecordBatch) -> None:
        """C1: decode and fold; bad records become dead letters. ``batch.start`` is the fold offset.

        Raises `PartitionStopped` beyond a documented bound; any other exception is a bug of the
        agent. After either, the partition must be dropped.
        """
        assert batch.start == self.progress.fold_offset, "a batch may neither repeat nor skip"
        self._batch = batch
        self.sizes.learn()
        if len(batch):
            decoded = self._decode(batch)
            for bad in decoded.bad:
                tenant = self._tenant(bad.position)
                self._refuse(bad.position, bad.code, bad.message, "decode", tenant)
            log = self.progress.log_times(timestamp_array(batch), self._expiry)
            if decoded.events:
                self._advance()
                assert isinstance(self.agent, AgentSpec)
                rest = decoded.event_ms, decoded.append_ms, log, decoded.fields
                events = EventBatch(batch, decoded.events, decoded.positions, *rest)
                counted = self.progress.counted
                self.agent.process(events, self)
                if self.failure is not None:
                    raise self.failure
                self.progress.check_counted(counted, len(events), self.agent.name, batch)
            self.progress.observe(decoded.event_ms, decoded.append_ms)
            try:
                self.poison.folded(batch, decoded.events)
            except PoisonStorm as storm:
                committed = Counter(self.state.link.counters.dead_by_code)
                storm.codes = self.progress.dead_by_code - committed
                raise
        self.history.intake.fold(batch)
        self.progress.passed(batch)
        self._batch = None

    def _decode(self, batch: RecordBatch) -> Decoded:
        limits = Limits(self.settings.future_max_s, self.settings.late_max_s)
        if self._scanner is not None:
            decoded = self._scanner.decode(batch, limits)
        else:
            decoded = decode(self.agent.source, batch, limits)
        misplaced = self.placement.look(batch)
        if misplaced and self.settings.misplaced_keys == "refuse":
            return without_misplaced(decoded, batch, misplaced, self.tp.partition)
        return decoded

    def shed(self, order: ShedOrder) -> None:
        """X4, if the order is in force. A job agent answers all requests but unreadable ones."""
        epoch, first = self.state.link.epoch, self.progress.fold_offset
        if not order.covers(first, epoch):
            return
        jobs = isinstance(self.agent, JobAgent)
        ignored = jobs if order.first is None else first != self.position
        if not ignored:
            self.progress.skipped(order)
            row = effects.shed_range(self.agent.group, self.tp, epoch, first, order)
            self._owed.fact(SHED_RANGES, row, None)

    def lacks_maps(self, maps: Sequence[DatedMap]) -> bool:
        return len(self.state.later_maps) < len(maps) - 1

    def take_maps(self, maps: Sequence[DatedMap]) -> None:
        """D6 of a running partition."""
        self.state.take_maps(maps, self.progress.folded, owes=self._owed.owes)

    @property
    def _moves_taken(self) -> bool:
        """Whether a move was taken that no commit names: its mover waits for one."""
        state = self.state
        return any(one.last_day >= 0 for one in state.later_maps[len(state.link.later_maps) :])

    def _refuse(self, row: int, code: str, message: str, stage: str, tenant: str) -> None:
        assert self._batch is not None
        code, message = self.progress.told_apart(code, message)
        origin = Origin.of(self._batch, row, self.state.context.epoch)
        self.poison.note(origin.key, origin.value, code)
        self._bury(origin, code, message, stage, tenant)
        self._count_dead(row, code)

    def _bury(
        self, origin: Origin, code: str, message: str, stage: str, tenant: str, attempts: int = 1
    ) -> None:
        """Add the dead letter of a record that failed ``attempts`` times to the next commit."""
        failure = Failure(
            code=code,
            message=message,
            stage=stage,
            agent=self.agent.name,
            group=self.agent.group,
            attempts=attempts,
            first_failed_ms=self.clock.now_ms(),
        )
        compact = self.poison.compact(origin.key, origin.value, code)
        letter = dead_letter(origin, failure, tenant, compact=compact)
        self._keep(letter)
        self._compact += compact
        self._pointers += letter.pointer and not compact

    def _count_dead(self, row: int, code: str) -> None:
        self.progress.refused(row, code)

    def _tenant(self, row: int) -> str:
        """The tenant that the key names; "" if the key is another field."""
        assert self._batch is not None
        key = self._batch.keys[row]
        if not self.agent.source.key_is_tenant or key is None or len(key) > 512:
            return ""
        return key.decode(errors="replace")

    # --- what is due -------------------------------------------------------------------------

    @property
    def outbox(self) -> Outbox:
        return self.table(OUTBOX)

    def idle_until(self, watermark_ms: int) -> None:
        self.progress.watermark_ms = max(self.progress.watermark_ms, watermark_ms)

    def _advance(self) -> None:
        if self.windows is not None:
            now = self.clock
            self.windows.advance(self.progress.watermark_ms, now.monotonic(), now.now_ms())

    @property
    def waits_since_ms(self) -> int:
        """When the oldest record was appended that is read and not done; 0: there is none."""
        return 0

    def behind_s(self, now_ms: int) -> float | None:
        """Seconds from then, else from the watermark, to ``now_ms``; None before the first record."""
        since_ms = self.waits_since_ms or self.progress.watermark_ms
        return (now_ms - since_ms) / 1000 if since_ms else None

    @property
    def position(self) -> int:
        return self.progress.fold_offset

    @property
    def reached(self) -> Reached:
        """The end of what was read, for A4."""
        progress = self.progress
        return Reached(self.position, progress.last_offset, progress.last_append_ms)

    @property
    def fill(self) -> float:
        """Fill ratio of the fullest bounded buffer; 1.0 is the bound."""
        settings, windows = self.settings, self.windows
        live = 0.0
        if windows is not None:
            live = max(len(windows) / settings.max_live_windows, windows.names_fill)
        # Records folded behind a late commit: only that commit frees their memory.
        ahead = self.folded / (4 * settings.commit_max_records)
        return max(live, self.outbox.bytes_used / settings.max_unacked_bytes, ahead)

    def still_folds(self, until_ms: int) -> bool:
        """Whether a backlog may still bring events before ``until_ms``."""
        grace_ms = self.settings.grace_s * 1000
        return self.backlog.reading and self.progress.watermark_ms < until_ms + grace_ms

    @property
    def folded(self) -> int:
        return self.progress.fold_offset - self.state.link.next_offset

    def settles(self, offset: int) -> bool:
        """Whether the prepared commit, or an earlier one, covers ``offset``. Call it right after
        `prepare`."""
        return offset < self.progress.fold_offset

    def has_changes(self) -> bool:
        self._advance()
        return bool(
            self.folded
            or self.offset_moved
            or self._moves_taken
            or self._records
            or self._owed
            or self._refused
            or self.outbox.changed
            or self.history.intake.is_due(self.clock.now_ms())
            or ((windows := self.windows) is not None and (windows.changed or windows.refused_rows))
        )

    def effect_done(self, key: bytes, seq: int, refused: Sequence[RefusedFact] = ()) -> None:
        """C6: the target acknowledged version ``seq`` of one effect, except the ``refused``
        rows."""
        if refused:
            self._refused.add(key, seq, refused)
        else:
            self.outbox.acknowledged(key, seq)

    def take_close_order(self, order: CloseOrder) -> None:
        """H5."""

    @property
    def settled(self) -> bool:
        """Whether everything folded is committed and every effect acknowledged."""
        idle = self.windows is None or self.windows.idle
        return idle and not (self.folded or self._records or len(self.outbox))

    # --- C2 (encoding), C4 -------------------------------------------------------------------

    def prepare(self, room: Sequence[int], spared: Container[int] = ()) -> Prepared:
        """Encode the next commit. ``room[shard]`` bounds the rows for each shard; a ``spared``
        shard gets no rows of live windows."""
        self._advance()
        state, progress = self.state, self.progress
        seq = state.link.seq + 1
        for key in state.live.overdue(self._last_commit_bytes):
            state.rewrite(key)
        entries = self._table_entries(seq)
        self._owe(seq, self._link(seq))
        entries += state.entries_of(OUTBOX, seq)
        link = self._link(seq, base_offset=state.base_offset(entries))
        records, self._records = self._records, []
        pointers, compact, self._pointers, self._compact = self._pointers, self._compact, 0, 0
        refused_closes, self._refused_closes = self._refused_closes, Counter()
        prepared = Prepared(
            link=link,
            parts=list(pack(link, entries, state.context.settings.changelog_part_bytes)),
            records=records,
            emissions=self.take_emissions(room, spared),
            effects=self.outbox.take_fresh(),
            folded=progress.fold_offset - state.link.next_offset,
            pointers=pointers,
            compact=compact,
            quarantines=self.poison.take_word(progress.fold_offset),
            refused_closes=refused_closes,
            told=self._take_told(),
        )
        self.offset_moved, self.prepared_seq = False, seq
        self._last_commit_bytes = sum(len(data) for data, _ in prepared.parts)
        return prepared

    def _take_told(self) -> list[Callable[[], None]]:
        return []

    def abandon(self) -> None:
        """Stop the work for this partition: its memory is dropped."""

    def _table_entries(self, seq: int) -> list[Entry]:
        entries = self.state.take_carried()
        for spec in self.agent.tables:
            entries += self.state.entries_of(spec, seq)
        return entries

    def _owe(self, seq: int, link: Link) -> None:
        windows = self.windows
        if windows is not None:
            self._bury_rows(windows)
            for key in effects.roll_up_keys(windows.evicted):
                self.outbox.put(key, b"")
            windows.evicted = set()
        before, now_ms = self.state.link, self.clock.now_ms()
        if (link.next_offset, link.counters) != (before.next_offset, before.counters):
            ledger = effects.ledger_columns(self.agent.group, self.tp, link, now_ms)
            self.outbox.put(effects.ledger_key(link.epoch), effects.encode_columns(ledger))
        self._bury_facts()
        standing = LoadStanding(self.backlog.lag, self.behind_s(now_ms) or 0.0, self.fill)
        self.history.owe(self._owed, link.next_offset, now_ms, standing)
        self._owed.settle(self.outbox, link.epoch, seq, now_ms)

    def _bury_rows(self, windows: EmittingTable) -> None:
        """Dead-letter the rows that shards refused, in the commit that deletes them."""
        refused, windows.refused_rows = windows.refused_rows, []
        for rows, reason in refused:
            self._keep(refused_window(self.agent, self.state, rows, reason, self.clock.now_ms()))

    def _bury_facts(self) -> None:
        """The same for refused rows of facts."""
        for fact in self._refused.settle(self.outbox):
            self._keep(refused_fact(self.agent, self.state, fact, self.clock.now_ms()))

    def _keep(self, letter: DeadLetter) -> None:
        self._records.append(letter.record)
        self._owed.dead.append(letter.row)

    def _link(self, seq: int, base_offset: int = 0) -> Link:
        state, progress = self.state, self.progress
        return Link(
            seq=seq,
            epoch=state.link.epoch,
            part=0,
            parts=1,
            from_offset=state.link.next_offset,
            next_offset=progress.fold_offset,
            base_offset=base_offset,
            last_offset=progress.last_offset,
            last_append_ms=progress.last_append_ms,
            watermark_ms=progress.watermark_ms,
            start_offset=state.link.start_offset,
            written_bytes=state.live.written_bytes,
            counters=progress.counters(),
            secret=state.link.secret,
            log_time=progress.log_time,
            shard_map=state.link.shard_map or self.shard_map(),
            later_maps=state.later_maps,
            last_day=progress.last_day,
            load=self.history.intake.run,
            maps_since=state.link.maps_since,
        )

    def take_emissions(self, room: Sequence[int], spared: Container[int] = ()) -> list[Emission]:
        """Snapshot the due window rows. Rows must be committed state: between commits, call it only
        while nothing uncommitted is folded. In a backlog, rows of live windows wait for its end or
        their close."""
        windows = self.windows
        if windows is None:
            return []
        now_s, every_s = self.clock.monotonic(), self.settings.early_rows_every_s()
        if self.backlog.reading:
            windows.forget_early()
        early = not self.backlog.reading and now_s - self._emitted_at >= every_s
        if early:
            self._emitted_at = now_s
        found = windows.take_emissions(room, early, spared)
        self.history.rows += sum(len(rows) for one in found for rows in one.rows)
        return found
