"""Topics and tables on a stack that came up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from streams.settings import Settings
from streams.sinks.schema import servers
from streams.topics import apply, plan, wanted_topics
from streams.types import Broker


async def prepare(settings: Settings, broker: Broker, say: Callable[[str], None]) -> None:
    """Make every declared topic, and run the migrations on every shard; again, it does nothing.

    Raises `RefusedBySafety` when a topic or a table there is not one this version may change.
    """
    admin = await broker.admin()
    try:
        planned = plan(wanted_topics(), await admin.describe_topics())
        await apply(admin, planned)
    finally:
        await admin.close()
    migrated = 0
    for server in servers(settings):
        try:
            migrated += len(await asyncio.to_thread(server.migrator.apply))
        finally:
            server.replica.close()
    if not planned.changes and not migrated:
        say("topics and tables are as declared")
        return
    shards = len(settings.shards())
    say(f"{len(planned.changes)} changes to topics, {migrated} migrations on {shards} shards")
