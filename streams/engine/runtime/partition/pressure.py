"""When a partition takes no more records, and when it does again.

Hysteresis: pause at 80 % of any bound, resume when all are below 50 %, so that a partition at
the edge does not flap. What waits, waits in Kafka.
"""

from __future__ import annotations

import structlog

from streams.core.types import GroupConsumer
from streams.engine.runtime.partition.partition import Partition

PAUSE_AT = 0.8
RESUME_AT = 0.5

log = structlog.get_logger(__name__)


class Pressure:
    """The pause state of one partition."""

    def __init__(self) -> None:
        self.paused = False
        self._full = False

    def update(self, partition: Partition, *, held: bool = False) -> bool:
        """Look at the partition's fill; True when ``paused`` changed. ``held``: whatever it is,
        the process takes nothing in."""
        fill = partition.fill
        before = self.paused
        self._full = fill >= RESUME_AT if self._full else fill >= PAUSE_AT
        self.paused = self._full or held
        return self.paused != before

    def relieve(self, partition: Partition, consumer: GroupConsumer, *, held: bool = False) -> None:
        """Pause above 80 % of any bound, go on below half of all; pause while ``held``.

        Looked at after every batch: between two ticks several may be folded, and a few batches
        of nothing but new windows go from half full to past the hard bound.
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
            # Event time does not advance while paused: only closing windows early makes room.
            settings = partition.state.context.settings
            partition.windows.shed(int(RESUME_AT * settings.max_live_windows))
