"""When a partition takes no more records, and when it does again.

Hysteresis: pause at 80 % of any bound, resume when all are below 50 %, so that a partition at
the edge does not flap. What waits, waits in Kafka.
"""

from __future__ import annotations

from streams.runtime.partition import Partition

PAUSE_AT = 0.8
RESUME_AT = 0.5


class Pressure:
    """The pause state of one partition."""

    def __init__(self) -> None:
        self.paused = False

    def update(self, partition: Partition) -> bool:
        """Look at the partition's fill; True when ``paused`` changed."""
        fill = fill_of(partition)
        before = self.paused
        self.paused = fill >= RESUME_AT if before else fill >= PAUSE_AT
        return self.paused != before


def fill_of(partition: Partition) -> float:
    """How full the fullest bounded buffer of the partition is; 1.0 is its bound."""
    settings = partition.state.context.settings
    windows = partition.windows
    live = len(windows) / settings.max_live_windows if windows is not None else 0.0
    # Records folded ahead of a commit that does not come: memory that only a commit frees.
    ahead = partition.folded / (4 * settings.commit_max_records)
    return max(live, partition.outbox.bytes_used / settings.max_unacked_bytes, ahead)
