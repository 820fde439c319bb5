"""Topics and tables on a stack that just came up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from streams.settings import Settings
from streams.sinks.schema import servers
from streams.topics import apply, plan, wanted_topics
from streams.types import Broker


async def prepare(settings: Settings, broker: Broker, say: Callable[[str], None]) -> None:
    """Make every declared topic, and run the migrations on every shard."""
    admin = await broker.admin()
    try:
        planned = plan(wanted_topics(), await admin.describe_topics())
        await apply(admin, planned)
    finally:
        await admin.close()
    for server in servers(settings):
        await asyncio.to_thread(server.migrator.apply)
        server.replica.close()
    say(f"{len(planned.changes)} topics and {len(settings.shards())} shards prepared")
