"""A digest of a run: two runs of a seed with any difference have different ones."""

from __future__ import annotations

from hashlib import sha256

from streams.dev.simulation.world import World


def trace_of(world: World) -> str:
    """Turns of the loop, and a digest of all logs and shards."""
    digest = sha256()
    for tp in world.broker.partitions():
        log = world.broker.log(tp)
        digest.update(f"{tp} {log.start_offset} {log.high_watermark}".encode())
        batch = log.readable()
        digest.update(repr(batch).encode())
    for table in world.shards.stored_tables:
        for shard in range(world.shards.count):
            digest.update(repr(world.shards.rows(table, shard)).encode())
    return f"{world.loop.turns} steps, {digest.hexdigest()}"
