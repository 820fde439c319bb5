"""The changelog stays proportional to its live entries, and no live entry lies below the base
offset."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.engine.state.changelog import entry_bytes
from streams.engine.state.live_keys import EntryPlace, LiveKeys

SLACK_BYTES = 400
keys = st.integers(0, 9).map(lambda number: b"%d" % number)
commits = st.lists(
    st.dictionaries(keys, st.none() | st.integers(0, 60), max_size=5), min_size=1, max_size=60
)


class Log:
    """A changelog model: every commit's entries at one offset, rewrites among them."""

    def __init__(self) -> None:
        self.live = LiveKeys(SLACK_BYTES)
        self.entries: list[tuple[int, bytes, int | None]] = []
        self.newest: dict[bytes, tuple[int, int]] = {}
        self.offset = 0
        self.last_bytes = 0

    def commit(self, changes: dict[bytes, int | None]) -> int:
        """Returns the base offset of the commit."""
        overdue = self.live.overdue(self.last_bytes)
        changes = {**{key: self.newest[key][1] for key in overdue}, **changes}
        base = self.live.base_offset(changes.keys(), self.offset)
        written = [(k, None if n is None else bytes(n)) for k, n in changes.items()]
        self.live.applied(self.offset, written)
        for key, size in changes.items():
            self.entries.append((self.offset, key, size))
            if size is None:
                self.newest.pop(key, None)
            else:
                self.newest[key] = (self.offset, size)
        self.last_bytes = sum(entry_bytes(key, value) for key, value in written)
        self.offset += 2
        return base


@given(commits)
def test_no_live_entry_lies_below_the_base_offset(changes):
    """Entries below it are trimmed: a live one would be lost."""
    log = Log()
    for change in changes:
        base = log.commit(change)
        assert all(offset >= base for offset, _ in log.newest.values())


@given(commits)
def test_the_byte_counters_equal_the_logs(changes):
    """Live and log bytes decide when to rewrite; they are kept incrementally."""
    log = Log()
    for change in changes:
        log.commit(change)
    sizes = {key: entry_bytes(key, bytes(size)) for key, (_, size) in log.newest.items()}
    assert log.live.live_bytes == sum(sizes.values())
    assert len(log.live) == len(sizes)
    everything = [entry_bytes(key, bytes(size or 0)) for _, key, size in log.entries]
    assert log.live.written_bytes == sum(everything)
    oldest = [
        index
        for index, (offset, key, _) in enumerate(log.entries)
        if key in log.newest and log.newest[key][0] == offset
    ]
    assert log.live.log_bytes == (sum(everything[oldest[0] :]) if oldest else 0)


@given(commits)
def test_the_log_stays_within_its_bound(changes):
    """A restore reads from the base offset: at most three times the live bytes, or the slack, plus
    the commits since the last check."""
    log = Log()
    largest = 0
    for change in changes * 4:
        log.commit(change)
        largest = max(largest, log.last_bytes)
        bound = max(SLACK_BYTES, 3 * log.live.live_bytes)
        assert log.live.log_bytes <= bound + 4 * largest


@given(commits)
def test_a_restart_knows_the_same_log(changes):
    """A store remembers each key's offset; the order of loading must not matter."""
    log = Log()
    for change in changes:
        log.commit(change)
    places: dict[bytes, EntryPlace] = dict(log.live._places)
    again = LiveKeys(SLACK_BYTES)
    again.load(sorted(places.items(), reverse=True), log.live.written_bytes)
    assert list(again._places.items()) == list(places.items())
    assert (again.live_bytes, again.log_bytes) == (log.live.live_bytes, log.live.log_bytes)
    assert again.overdue(0) == log.live.overdue(0)
