"""`dia`, killed with SIGKILL just before or just after its nth transaction.

python doomed_replay.py before|after NTH ARGUMENT...
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from streams.cli import main
from streams.connect.broker.kafka.producers.transactional_producer import KafkaTransactionalProducer


def doom(moment: str, nth: int) -> None:
    """Kill this process at its nth commit."""
    real, left = KafkaTransactionalProducer.commit, [nth]

    async def commit(producer: Any) -> None:
        left[0] -= 1
        mine = left[0] == 0
        if mine and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        await real(producer)
        if mine:
            os.kill(os.getpid(), signal.SIGKILL)

    KafkaTransactionalProducer.commit = commit


if __name__ == "__main__":
    doom(sys.argv[1], int(sys.argv[2]))
    sys.exit(main(sys.argv[3:]))
