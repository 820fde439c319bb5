"""Trims the changelog of a partition (docs/protocols/changelog.md).

 F1  C4 writes a link in one batch, which the store flushes later
 F2  the disk holds the state after one link, the *flushed link*
 F3  trim to the last link's base offset, never past the flushed link
 F4  after a kill -9, A3 reads on from the flushed link

It runs after C4 of the commit that named the base offset: a store without that commit needs the
older records.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import structlog

from streams.connect.broker.opened import opened
from streams.core.errors import DiaError
from streams.core.types import Broker
from streams.engine.runtime.restore.state import PartitionState

FLUSH_COMMITS = 1000
"""a restore of this many links takes well below a second"""

log = structlog.get_logger(__name__)


class _Mark(NamedTuple):
    """The ends of store and changelog after the same link."""

    store_position: int
    changelog_offset: int


class ChangelogTrim:
    """For one open store. Trims every ``commits_between`` commits: DeleteRecords is a round trip,
    and only a restore reads the log."""

    def __init__(self, broker: Broker, commits_between: int) -> None:
        self._broker = broker
        self._commits_between = commits_between
        self._commits = 0
        self._trimmed_to = -1
        self._flushed_to = -1
        """end of a flushed link; -1: unknown"""
        self._marks: deque[_Mark] = deque()

    async def after(self, state: PartitionState) -> None:
        """Call it after C4. A later commit retries a failed trim."""
        self._commits += 1
        if self._commits < self._commits_between:
            return
        self._commits = 0
        try:
            self._mark(state)
            until = min(state.link.base_offset, self._flushed_to)
            if until > self._trimmed_to:
                async with opened(self._broker.admin()) as admin:
                    await admin.delete_records({state.changelog: until})
                self._trimmed_to = until
        except DiaError as error:
            log.warning("trim_failed", tp=str(state.changelog), why=str(error))

    def _mark(self, state: PartitionState) -> None:
        """F2: find the flushed link."""
        self._marks.append(_Mark(state.store.written_to, state.changelog_offset))
        flushed = state.store.flushed_to
        while self._marks and self._marks[0].store_position <= flushed:
            self._flushed_to = self._marks.popleft().changelog_offset
        if len(self._marks) * self._commits_between >= FLUSH_COMMITS:
            state.store.flush()
