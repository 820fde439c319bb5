"""When a partition takes no more records, and when it does again.

Hysteresis: pause at 80 % of any bound, resume when all are below 50 %, so that a partition at
the edge does not flap. What waits, waits in Kafka.
"""

from __future__ import annotations

import structlog

from streams.runtime.partition import Partition
from streams.types import GroupConsumer

PAUSE_AT = 0.8
RESUME_AT = 0.5

log = structlog.get_logger(__name__)


class Pressure:
    """The pause state of one partition."""

    def __init__(self) -> None:
        self.paused = False

    def update(self, partition: Partition) -> bool:
        """Look at the partition's fill; True when ``paused`` changed."""
        fill = partition.fill
        before = self.paused
        self.paused = fill >= RESUME_AT if before else fill >= PAUSE_AT
        return self.paused != before

    def relieve(self, partition: Partition, consumer: GroupConsumer) -> None:
        """Pause above 80 % of any bound, go on below half of all.

        Looked at after every batch: between two ticks several may be folded, and a few batches
        of nothing but new windows go from half full to past the hard bound.
        """
        tp = partition.tp
        if self.update(partition):
            if self.paused:
                log.warning("partition_paused", tp=str(tp))
                consumer.pause(tp)
            else:
                log.info("partition_resumed", tp=str(tp))
                consumer.resume(tp)
        if self.paused and partition.windows is not None:
            # Event time stands still while paused: only closing windows early makes room.
            settings = partition.state.context.settings
            partition.windows.shed(int(RESUME_AT * settings.max_live_windows))
