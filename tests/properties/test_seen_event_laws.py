"""Seen events: a verdict depends on the log alone, however it is read.

The model decides record by record and keeps everything in a dictionary. The table must agree for
any batches, commits, restarts and sizes of its runs; after a crash that lost some of its files;
with hashes that share their upper half; and with a broker's clock that steps in either direction.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from streams.core.errors import StoreUnusable
from streams.engine.identities import seen_events
from streams.engine.identities.id_shares import Owners
from streams.engine.identities.seen_events import SeenEvents, Verdict
from streams.engine.state import log_time
from streams.engine.state.log_time import Expiry, LogTime, LogTimes, log_times
from streams.engine.state.memory_files import MemoryFiles
from tests.depth import cases

TTL_MS = 1000
EVENTS = [(hi, lo) for hi in (1, 2, 3, 2**64 - 1) for lo in (0, 7, 2**64 - 1)]
records = st.lists(
    st.tuples(
        st.sampled_from(EVENTS),
        st.integers(1, 2),
        st.sampled_from([*[0] * 6, 1, 400, 400, 1001, 1001, -1, -15, -600, 100_000, -100_000]),
    ),
    max_size=12,
)
EXPIRY = Expiry(step_ms=500, kept_ms=TTL_MS + 500)
BELIEVED_RECORDS = 5


class Model:
    """The rule of the table, record by record, without deleting anything."""

    def __init__(self) -> None:
        self.first: dict[tuple[int, int], tuple[int, int, int]] = {}
        self.log_time = LogTime()

    def admit(self, event: tuple[int, int], payload: int, append_ms: int) -> Verdict:
        self.log_time = self.log_time.after(append_ms, EXPIRY)
        seen = self.first.get(event)
        if (
            seen is not None
            and append_ms - seen[0] <= TTL_MS
            and seen[2] >= self.log_time.horizon_ms(EXPIRY)
        ):
            return Verdict.DUPLICATE if seen[1] == payload else Verdict.CONFLICT
        self.first[event] = (append_ms, payload, self.log_time.at_ms)
        return Verdict.FRESH


class SeenEventsMachine(RuleBasedStateMachine):
    """Batches, commits and crashes in any order, beside the model."""

    @initialize(hot=st.integers(0, 8))
    def begin(self, hot: int) -> None:
        self.hot = hot
        self.files = MemoryFiles()
        self.store: dict[bytes, bytes] = {}
        self.log: list[tuple[tuple[int, int], int, int]] = []
        self.verdicts: list[Verdict] = []
        self.model = Model()
        self.committed = 0
        self.seq = 0
        self.now_ms = 1_000_000_000
        self.log_time = LogTime()
        self.committed_log_time = LogTime()
        self.crash()

    @rule(batch=records)
    def fold(self, batch) -> None:
        first = len(self.log)
        for event, payload, step_ms in batch:
            self.now_ms += step_ms
            self.log.append((event, payload, self.now_ms))
            self.verdicts.append(self.model.admit(event, payload, self.now_ms))
        try:
            self._admit(first, len(self.log))
        except StoreUnusable:
            self.crash()

    @rule(rewrites=st.integers(0, 2))
    def commit(self, rewrites: int) -> None:
        self.seq += 1
        for key in sorted(self.store)[:rewrites]:
            self.table.rewrite(key, self.store[key])
        for key, value in self.table.delta(self.seq):
            if value is None:
                del self.store[key]
            else:
                self.store[key] = value
        self.committed = len(self.log)
        self.committed_log_time = self.log_time
        assert not self.table.changed

    @rule(batch=records)
    def commit_in_vain(self, batch) -> None:
        """A commit fails while folding goes on: the crash must leave nothing of it."""
        self.table.delta(self.seq + 1)
        self.fold(batch)
        self.crash(cut=3)

    @rule(which=st.integers(0, 9), at=st.integers(0, 10_000), how=st.sampled_from("gdc"))
    def lose_a_file(self, which: int, at: int, how: str) -> None:
        """A file is gone, damaged or truncated, and the process crashes: files are derived data,
        used only if their checksums match."""
        names = self.files.names()
        if names:
            name = names[which % len(names)]
            content = self.files.contents.pop(name)
            at %= len(content)
            if how == "d":
                content[at] ^= 1
                self.files.contents[name] = content
            elif how == "c":
                self.files.contents[name] = content[:at]
        self.crash(cut=1)

    @rule(cut=st.integers(0, 100))
    def crash(self, cut: int = 0) -> None:
        """Memory is lost; uncommitted records are read again in other batches."""
        self.table = SeenEvents(TTL_MS, self.files, hot_ids=self.hot)
        for key in self.table.adopt(sorted(self.store)):
            self.table.load([(key, self.store[key])])
        self.log_time = self.committed_log_time
        middle = self.committed + cut % (len(self.log) - self.committed + 1)
        try:
            self._admit(self.committed, middle)
            self._admit(middle, len(self.log))
        except StoreUnusable:  # a damaged file is deleted: the next start does without it
            self.crash(cut)

    def _admit(self, first: int, last: int) -> None:
        rows = self.log[first:last]
        append_ms = np.array([append_ms for _, _, append_ms in rows], np.int64)
        log, self.log_time = log_times(self.log_time, append_ms, EXPIRY)
        verdicts = self.table.admit(
            np.array([event[0] for event, _, _ in rows], np.uint64),
            np.array([event[1] for event, _, _ in rows], np.uint64),
            np.array([payload for _, payload, _ in rows], np.uint64),
            append_ms,
            log,
        )
        assert verdicts.tolist() == self.verdicts[first:last]


@pytest.fixture(autouse=True, scope="module")
def _short_gap_confirmation():
    """Accept a gap of time within a test: in production it takes a million records."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_time, "BELIEVED_RECORDS", BELIEVED_RECORDS)
        yield


TestSeenEvents = SeenEventsMachine.TestCase
TestSeenEvents.settings = settings(max_examples=cases(150), stateful_step_count=30, deadline=None)


def _columns(count: int, append_ms: int, first: int = 0):
    ids = np.arange(first, first + count).astype(np.uint64)
    times = np.full(count, append_ms, np.int64)
    log = LogTimes(times, times - TTL_MS)
    return ids, ids, ids, times, log


def test_expired_ids_leave_the_state():
    """A table that only grew would reach DIA_MAX_IDS and stop the partition."""
    table = SeenEvents(TTL_MS, MemoryFiles(), hot_ids=0)
    store: dict[bytes, bytes | None] = {}
    for seq in range(1, 30):
        table.admit(*_columns(10, seq * TTL_MS, first=10 * seq))
        store.update(table.delta(seq))
    assert sum(value is not None for value in store.values()) <= 4
    assert len(table) <= 100


def test_files_of_expired_ids_leave_the_disk():
    """While running and at a start: files that no live entry needs are deleted."""
    files = MemoryFiles()
    table = SeenEvents(TTL_MS, files, hot_ids=10)
    store: dict[bytes, bytes | None] = {}
    for seq in range(1, 30):
        table.admit(*_columns(10, seq * TTL_MS // 4, first=10 * seq))
        store.update(table.delta(seq))
        assert len(files.names()) <= 5
    assert files.names()
    again = SeenEvents(TTL_MS, files, hot_ids=10)
    assert list(again.adopt([])) == []
    assert not files.names()


def test_files_of_another_epoch_are_not_used():
    """A reset restarts the serial numbers of entries: an old file would stand for other ids."""
    files = MemoryFiles()
    table = SeenEvents(TTL_MS, files, epoch=0, hot_ids=1)
    for seq in range(1, 4):
        table.admit(*_columns(10, 0, first=10 * seq))
        keys = [key for key, _ in table.delta(seq)]
    assert files.names()
    again = SeenEvents(TTL_MS, files, epoch=1, hot_ids=1)
    assert list(again.adopt(keys)) == keys
    assert not files.names()


def test_ids_beyond_a_tenants_share_are_refused_and_leave_no_trace():
    """One tenant may use at most half of the partition's ids: otherwise it could stop the
    partition."""
    table = SeenEvents(TTL_MS, MemoryFiles(), max_ids=100)
    first = table.admit(*_columns(80, 0))
    assert Counter(first.tolist()) == {Verdict.FRESH: 50, Verdict.OVER_QUOTA: 30}
    assert (first[:50] == Verdict.FRESH).all()
    assert len(table) == 50
    again = table.admit(*_columns(80, 0))
    assert Counter(again.tolist()) == {Verdict.DUPLICATE: 50, Verdict.OVER_QUOTA: 30}
    # Ids age in log time: those of another tenant, too.
    columns = _columns(80, 3 * TTL_MS, first=200)
    table.admit(*columns)
    table.delta(1)
    assert Counter(table.admit(*_columns(80, 3 * TTL_MS, first=50)).tolist())[Verdict.FRESH] > 0


def test_a_repeat_of_a_refused_event_in_its_batch_is_refused():
    """The refused event is not remembered: its repeat, counted as a duplicate, would be lost."""
    table = SeenEvents(TTL_MS, MemoryFiles(), max_ids=100, quota=1)
    hi = np.array([1, 2, 2, 1, 2], np.uint64)
    payload = np.array([7, 7, 7, 7, 8], np.uint64)
    verdicts = table.admit(hi, hi, payload, *_columns(5, 0)[3:])
    fresh, duplicate, over = Verdict.FRESH, Verdict.DUPLICATE, Verdict.OVER_QUOTA
    assert verdicts.tolist() == [fresh, over, over, duplicate, over]


@given(
    st.lists(
        st.tuples(st.sampled_from(["hostile", "honest"]), st.integers(0, 40), st.integers(0, 1)),
        max_size=120,
    ),
    st.integers(1, 30),
)
def test_a_tenants_verdicts_do_not_depend_on_another_tenant(records, cut):
    """As long as the tenant stays within the free share: here 10 ids of 80, of which a hostile one
    gets half."""
    records = [(who, event % (10 if who == "honest" else 41), p) for who, event, p in records]
    together = _verdicts(records, cut)
    alone = _verdicts([record for record in records if record[0] == "honest"], cut)
    assert [
        v for v, record in zip(together, records, strict=True) if record[0] == "honest"
    ] == alone
    assert Verdict.OVER_QUOTA not in alone


def _verdicts(records, cut):
    table = SeenEvents(TTL_MS, MemoryFiles(), max_ids=80, hot_ids=4)
    found = []
    for start in range(0, len(records), cut):
        part = records[start : start + cut]
        names = ["hostile", "honest"]
        codes = np.array([names.index(who) for who, _, _ in part], np.int64)
        ids = np.array([event for _, event, _ in part], np.uint64)
        payload = np.array([p for _, _, p in part], np.uint64)
        times = _columns(len(part), 0)[3:]
        owned = codes.astype(np.uint64)
        found += table.admit(ids, owned, payload, *times, Owners(codes, names)).tolist()
        table.delta(start + 1)
    return found


@given(st.integers(1, 60))
def test_an_entry_stays_below_the_record_limit(count):
    """A larger entry could not be committed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seen_events, "_ROWS_PER_ENTRY", 7)
        table = SeenEvents(TTL_MS, MemoryFiles())
        table.admit(*_columns(count, 0))
        entries = table.delta(1)
        assert all(len(value) <= 7 * 48 for _, value in entries if value is not None)
        again = SeenEvents(TTL_MS, MemoryFiles())
        again.load(sorted(entries))
        assert set(again.admit(*_columns(count, 0)).tolist()) == {Verdict.DUPLICATE}
