"""The preparation of a local stack."""

from __future__ import annotations

import pytest

from agents.app import app
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import SystemClock
from streams.core.errors import LockBusy
from streams.core.settings import Settings
from streams.dev.local import preparation


async def test_no_table_changes_while_another_process_has_the_lock_of_migrations(monkeypatch):
    """Views that are made anew while days move could show rows of the shard that their day has left."""

    async def busy(settings, names, work):
        raise LockBusy(f"another process holds {names}")

    def reached(settings, tables):
        raise AssertionError("a server was reached without the lock")

    monkeypatch.setattr(preparation, "exclusively", busy)
    monkeypatch.setattr(preparation, "servers", reached)
    with pytest.raises(LockBusy, match="migrations"):
        await preparation.prepare(
            Settings(), app.topology, MemoryBroker(SystemClock()), lambda said: None
        )
