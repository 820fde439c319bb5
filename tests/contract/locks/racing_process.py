"""One of several processes that compete for a lock name: ``python -m`` with URL, name, file,
rounds.

In each round it takes the lock and, until it notices that it lost it, writes through a target
that refuses a fence lower than the highest it has seen: the target refuses the writes of a holder
that was paused past its lease.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import sys
from pathlib import Path

from streams.connect.cache.redis import connect
from streams.connect.coordination.lease import hold
from streams.connect.coordination.redis_locks import RedisLocks
from streams.core.clock import SystemClock
from streams.core.errors import CacheUnavailable, LockBusy

TTL_S = 0.6


def written(path: Path, fence: int, what: str) -> bool:
    """Append ``what`` unless a higher fence wrote before; a file lock serialises writers."""
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        highest = max((json.loads(line)["fence"] for line in file if line.strip()), default=0)
        accepted = fence >= highest
        entry = {"pid": os.getpid(), "what": what if accepted else "refused", "fence": fence}
        if not accepted:
            entry |= {"fence": highest, "late": fence}
        file.write(json.dumps(entry) + "\n")
    return accepted


async def race(url: str, name: str, path: Path, rounds: int) -> None:
    client = connect(url, 2.0)
    locks, clock = RedisLocks(client), SystemClock()
    done = 0
    while done < rounds:
        try:
            async with hold(locks, clock, name, ttl_s=TTL_S, wait_s=20.0) as lease:
                written(path, lease.fence, "enter")
                await asyncio.sleep(0.01)
                # The lease is deliberately not checked here: the process acts as if paused right
                # after a check.
                written(path, lease.fence, "leave")
                done += 1
            # Longer than a waiting process pauses: else one process runs all its rounds first.
            await asyncio.sleep(0.35)
        except (LockBusy, CacheUnavailable):
            continue
    await client.aclose(close_connection_pool=True)


if __name__ == "__main__":
    asyncio.run(race(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])))
