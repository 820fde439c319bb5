"""Trimming the changelog behind its base offset: what lies before it is dead."""

from __future__ import annotations

import structlog

from streams.connect.broker.opened import opened
from streams.core.errors import DiaError
from streams.core.types import Broker
from streams.engine.runtime.restore.state import PartitionState

log = structlog.get_logger(__name__)


class ChangelogTrim:
    """Trims one partition's changelog. Only after C4 of the commit that named the base offset:
    a crash before it would restore from a store that still needs the older records.

    DeleteRecords is a round trip: once in many commits (``commits_between``) is soon enough for
    a log that is read only at a restore."""

    def __init__(self, broker: Broker, commits_between: int) -> None:
        self._broker = broker
        self._commits_between = commits_between
        self._commits = 0
        self._trimmed_to = -1

    async def after(self, state: PartitionState) -> None:
        """A commit went through C4. A trim that fails is tried again with a later commit."""
        self._commits += 1
        base_offset = state.link.base_offset
        if self._commits < self._commits_between or base_offset <= self._trimmed_to:
            return
        self._commits = 0
        try:
            async with opened(self._broker.admin()) as admin:
                await admin.delete_records({state.changelog: base_offset})
        except DiaError as error:
            log.warning("trim_failed", tp=str(state.changelog), why=str(error))
            return
        self._trimmed_to = base_offset
