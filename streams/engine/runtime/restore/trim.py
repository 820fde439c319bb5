"""Trimming the changelog, and what the local store needs of it (F1 to F4).

 F1  C4 writes a link into the store in one batch, and the store keeps no log of its writes: they are
     in memory until the store flushes them, in their order, each whole
 F2  so the disk holds the state after one link, the *flushed link*. The store flushes by itself when
     enough bytes are written, and is asked to when `FLUSH_COMMITS` links are not flushed
 F3  the changelog is trimmed up to the base offset of the last committed link, and never past the end
     of the flushed link
 F4  after a kill -9, A2 finds the flushed link and A3 reads the changelog on from its end. Without F3
     that offset might be gone, and the whole state would be read again

Only after C4 of the commit that named the base offset: a crash before it would restore from a store
that still needs the older records.
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
"""A replay of so many links takes well below a second, however small they are."""

log = structlog.get_logger(__name__)


class _Mark(NamedTuple):
    """Where the store's writes and the changelog ended after the same link."""

    store_position: int
    changelog_offset: int


class ChangelogTrim:
    """Trims one partition's changelog, for as long as one store of it is open.

    DeleteRecords is a round trip: once in many commits (``commits_between``) is soon enough for
    a log that is read only at a restore."""

    def __init__(self, broker: Broker, commits_between: int) -> None:
        self._broker = broker
        self._commits_between = commits_between
        self._commits = 0
        self._trimmed_to = -1
        self._flushed_to = -1
        """the end of a link that is flushed; -1 while none is known"""
        self._marks: deque[_Mark] = deque()

    async def after(self, state: PartitionState) -> None:
        """A commit went through C4. A trim that fails is tried again with a later commit."""
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
        """F2: find out which link is flushed."""
        self._marks.append(_Mark(state.store.written_to, state.changelog_offset))
        flushed = state.store.flushed_to
        while self._marks and self._marks[0].store_position <= flushed:
            self._flushed_to = self._marks.popleft().changelog_offset
        if len(self._marks) * self._commits_between >= FLUSH_COMMITS:
            state.store.flush()
