"""The in-memory log against a model that keeps every record and decides at the end."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from streams.connect.broker.memory.log import Log, LogEntry
from streams.core.types import OffsetOutOfRange, TopicPartition

TP = TopicPartition("topic", 0)
PRODUCERS = st.integers(min_value=1, max_value=3)


class LogMachine(RuleBasedStateMachine):
    """Appends, markers and trims in any order; the model lists each offset's fate."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Log(TP)
        self.fates: list[tuple[str, int]] = []
        self.start = 0

    @rule()
    def append_plain(self) -> None:
        assert self.log.append(self._entry()) == len(self.fates)
        self.fates.append(("committed", 0))

    @rule(producer=PRODUCERS)
    def append_in_transaction(self, producer: int) -> None:
        assert self.log.append(self._entry(), producer) == len(self.fates)
        self.fates.append(("open", producer))

    @rule(producer=PRODUCERS, committed=st.booleans())
    def end_transaction(self, producer: int, committed: bool) -> None:
        self.log.end_transaction(producer, 0, committed=committed)
        fate = "committed" if committed else "aborted"
        self.fates = [(fate, 0) if known == ("open", producer) else known for known in self.fates]
        self.fates.append(("marker", 0))

    @rule(before=st.integers(min_value=0, max_value=60))
    def trim(self, before: int) -> None:
        self.log.trim(before)
        self.start = max(self.start, min(before, len(self.fates)))

    @invariant()
    def watermarks_are_the_models(self) -> None:
        assert self.log.start_offset == self.start
        assert self.log.high_watermark == len(self.fates)
        assert self.log.last_stable_offset == self._stable()

    @invariant()
    def read_committed_is_the_models_view(self) -> None:
        expected = [
            offset
            for offset in range(self.start, self._stable())
            if self.fates[offset][0] == "committed"
        ]
        seen: list[int] = []
        position = self.start
        while True:
            batch = self.log.read_committed(position, 3)
            assert batch.start == position
            assert all(position <= offset < batch.end for offset in batch.offsets)
            seen += batch.offsets
            if batch.end == position:
                break
            position = batch.end
        assert seen == expected
        assert position == max(self._stable(), self.start)
        assert [self.log.read_committed(offset, 1).values for offset in expected] == [
            [b"%d" % offset] for offset in expected
        ]

    @invariant()
    def offsets_outside_are_refused(self) -> None:
        for offset in (self.start - 1, len(self.fates) + 1):
            with pytest.raises(OffsetOutOfRange):
                self.log.read_committed(offset, 1)

    def _entry(self) -> LogEntry:
        return LogEntry(0, None, b"%d" % len(self.fates), ())

    def _stable(self) -> int:
        opened = (offset for offset, (fate, _) in enumerate(self.fates) if fate == "open")
        return next(opened, len(self.fates))


TestLog = LogMachine.TestCase
TestLog.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
