"""Creates topics and tables on a started stack, and the environment for its clients."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from streams.connect.broker.opened import opened
from streams.connect.coordination.exclusive import exclusively
from streams.connect.sinks.schema import servers
from streams.connect.sinks.table_owners import OwnedTables
from streams.core.errors import RefusedBySafety
from streams.core.settings import PREFIX, Settings
from streams.core.topics.topology import Topology
from streams.core.types import Broker
from streams.operate.topics.declared_topics import declared_topics
from streams.operate.topics.topics import apply


def environment(home: Path, addresses: Mapping[str, str]) -> dict[str, str]:
    """With the addresses of the stack in ``home`` only: a local run must never feed another
    pipeline."""
    own = {PREFIX + name.upper(): value for name, value in addresses.items()}
    own |= {PREFIX + "HOME": str(home), PREFIX + "STATE_DIR": ""}
    return {**os.environ, **own}


async def prepare(
    settings: Settings, topology: Topology, broker: Broker, say: Callable[[str], None]
) -> None:
    """Idempotent. Raises `RefusedBySafety` when a topic or table may not be changed by this
    version; the others are still created. Raises `LockBusy` while days move on a running stack."""
    declared, refused = declared_topics(settings, topology), None
    async with opened(broker.admin()) as admin:
        planned = declared.against(await admin.describe_topics())
        try:
            await apply(admin, planned)
        except RefusedBySafety as error:
            refused = error
    migrated = await exclusively(
        settings, "migrations", lambda check: _migrated(settings, topology, check)
    )
    if refused is not None:
        raise refused
    if not planned.to_do and not migrated:
        say("topics and tables are as declared")
        return
    shards = len(settings.shards())
    say(f"{len(planned.to_do)} changes to topics, {migrated} migrations on {shards} shards")


def _migrated(settings: Settings, topology: Topology, check: Callable[[], None]) -> int:
    """The number of migrations that ran."""
    applied, own = 0, OwnedTables(topology.app, topology.own_tables)
    for server in servers(settings, topology.targets.tables):
        try:
            check()
            applied += len(server.migrator.apply(own))
        finally:
            server.replica.close()
    return applied
