"""Engines that over-trust their shards (streams/dev/simulation/broken/variants.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from unittest.mock import patch

from streams.connect.sinks.memory import MemoryShards
from streams.dev.simulation.variant import Variant, replaced
from streams.engine.runtime import assignment


@contextmanager
def _map_ignored() -> Iterator[None]:
    """Neither the changelog's nor a server's shard map is checked."""

    def settle(self: MemoryShards, *_: object) -> None:
        self._confirmed = True

    with (
        patch.object(assignment, "check_map", lambda *_: None),
        patch.object(MemoryShards, "_settle", settle),
    ):
        yield


BROKEN_SHARDS: Mapping[str, Variant] = {
    "another_shard_map_ignored": _map_ignored,
    "one_replica_acknowledges": replaced(MemoryShards, _quorum=lambda *_: 1),
}
