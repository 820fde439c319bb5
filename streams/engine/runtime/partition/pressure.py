"""Pauses and resumes the fetching of a partition.

It pauses at 80 % of any bound and resumes below 50 % of all, so that it does not flap.
"""

from __future__ import annotations

import structlog

from streams.core.types import GroupConsumer
from streams.engine.runtime.partition.partition import Partition

PAUSE_AT = 0.8
RESUME_AT = 0.5

log = structlog.get_logger(__name__)


class Pressure:
    def __init__(self) -> None:
        self.paused = False
        self._full = False

    def update(self, partition: Partition, *, held: bool = False) -> bool:
        """Recompute ``paused`` from the fill; True if it changed. ``held`` pauses at any fill."""
        fill = partition.fill
        before = self.paused
        self._full = fill >= RESUME_AT if self._full else fill >= PAUSE_AT
        self.paused = self._full or held
        return self.paused != before

    def relieve(self, partition: Partition, consumer: GroupConsumer, *, held: bool = False) -> None:
        """Update, then pause or resume the consumer.

        Call it after every batch: a few batches of new windows can fill the second half of a bound.
        """
        tp = partition.tp
        if self.update(partition, held=held):
            if self.paused:
                log.warning("partition_paused", tp=str(tp), held=held)
                consumer.pause(tp)
            else:
                log.info("partition_resumed", tp=str(tp))
                consumer.resume(tp)
        if self._full and partition.windows is not None:
            # While paused, the watermark does not advance: only closing windows early frees memory.
            settings = partition.state.context.settings
            partition.windows.shed(int(RESUME_AT * settings.max_live_windows))
