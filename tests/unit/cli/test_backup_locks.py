"""Which commands of `dia backup` wait for each other."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from streams import cli
from streams.cli import backup_making
from streams.connect.coordination import exclusive
from streams.core.errors import LockBusy


@pytest.fixture
def locks_of(monkeypatch, tmp_path):
    """The locks that a command takes, in their order."""
    taken = []

    async def exclusively(settings, names, work):
        taken.extend([names] if isinstance(names, str) else names)
        raise LockBusy("held by the test")

    monkeypatch.setattr(exclusive, "exclusively", exclusively)
    monkeypatch.setenv("DIA_BACKUP_TO", f"file://{tmp_path}")
    manifest = SimpleNamespace(name="20270115T000000Z-full", parts=[1])
    monkeypatch.setattr(backup_making, "chain_of", lambda run, name: (None, [manifest]))

    def of(*words):
        taken.clear()
        assert cli.main(["backup", *words]) != 0
        return list(taken)

    return of


def test_a_prune_waits_for_a_restore(locks_of):
    """The leader prunes after each backup, and an operator may restore one that is about to expire."""
    restore, prune = locks_of("restore", "--yes"), locks_of("prune")
    assert set(restore) & set(prune)
    assert "migrations" in restore


def test_a_restore_does_not_wait_for_a_backup_that_is_being_made(locks_of):
    """A backup of many rows takes hours, and deletes nothing."""
    assert not set(locks_of("restore", "--yes")) & set(locks_of("create"))
