"""P7: inserts committed dispositions into ClickHouse, in parallel to the next step. What an
unavailable shard lacks is inserted at the end of the run, or by the next owner (P4)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import structlog

from streams.core.clock import Clock
from streams.core.errors import TransientError
from streams.core.rows.built_in_tables import FactRows, RowsRefused, ShardSet
from streams.operate.dlq.dead_letter import DeadLetterRecord
from streams.operate.replay.journal.dispositions import ReplayDisposition
from streams.operate.replay.journal.journal import Disposed
from streams.operate.replay.journal.owner import QueueOwner
from streams.operate.replay.run.rows import disposed_rows, insert, show_arrears

_STEPS_WAITING = 4
_PAUSES_S = (0.5, 1.0, 2.0)

log = structlog.get_logger(__name__)


@dataclass(eq=False)
class DispositionPublisher:
    """Inserts the entries of one owner, in order, up to ``seq``. ``behind``: an insert failed, and
    later ones are not tried."""

    _shards: ShardSet | None
    _owner: QueueOwner
    _clock: Clock
    _queue: asyncio.Queue[tuple[int, Sequence[FactRows]] | None] = field(
        default_factory=lambda: asyncio.Queue(_STEPS_WAITING), init=False
    )
    _task: asyncio.Task[None] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.seq = self._owner.standing.shown
        self.behind = self._shards is None

    async def catch_up(self) -> None:
        """P4: insert the rows of earlier owners."""
        standing = self._owner.standing
        if self._shards is None or not standing.arrears:
            return
        try:
            self.seq = await show_arrears(
                self._shards,
                self._owner.reader,
                standing,
                self._owner.dlq,
                self._owner.topology,
            )
            self.behind = False
        except (TransientError, RowsRefused) as error:
            self._give_up(error)

    async def put(
        self,
        entry: Disposed,
        letters: Sequence[DeadLetterRecord],
        decided: Mapping[int, ReplayDisposition],
    ) -> None:
        """Queue a committed entry; waits while the queue is full."""
        if self._shards is None or self.behind:
            return
        at = np.array([letter.offset for letter in letters], np.int64)
        versions = self._owner.standing.dispositions.versions(at)
        by_offset = dict(zip(at.tolist(), versions.tolist(), strict=True))
        rows = disposed_rows(self._shards, letters, decided, by_offset, entry)
        if self._task is None:
            self._task = asyncio.create_task(self._run(self._shards), name="replay-rows")
        await self._queue.put((self._owner.standing.seq, rows))

    async def finish(self) -> None:
        """Wait for queued entries; then retry the failed ones once."""
        task, self._task = self._task, None
        if task is not None:
            await self._queue.put(None)
            await task
        if self.behind:
            await self.catch_up()

    async def abandon(self) -> None:
        """Stop at once: the journal records what is missing."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self, shards: ShardSet) -> None:
        while (waiting := await self._queue.get()) is not None:
            seq, rows = waiting
            if not self.behind and await self._insert(shards, rows):
                self.seq = seq

    async def _insert(self, shards: ShardSet, rows: Sequence[FactRows]) -> bool:
        for pause_s in (*_PAUSES_S, None):
            try:
                await insert(shards, rows)
            except TransientError as error:
                if pause_s is None:
                    self._give_up(error)
                    return False
                await self._clock.sleep(pause_s)
            except RowsRefused as error:
                self._give_up(error)
                return False
            else:
                return True
        return False

    def _give_up(self, error: Exception) -> None:
        self.behind = True
        log.warning("disposition_rows_not_written", tp=str(self._owner.dlq), why=str(error))
