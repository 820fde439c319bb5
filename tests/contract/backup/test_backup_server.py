"""What a backup and a restore rely on, in memory and on ClickHouse's engine."""

from __future__ import annotations

import pytest

from streams.core.command_errors import BackupFailed
from tests.contract.backup.conftest import FORM

TABLES = ["pairs_local"]


def _place(world, name):
    return f"File('{world.folder}/{name}')"


def test_an_increment_gives_back_all_rows_with_its_base_and_none_without(world):
    """It stores what its base has not, and says so when the base has gone."""
    world.put("a", 1)
    world.put("b", 1)
    full = world.server.back_up(TABLES, _place(world, "full"), None)
    world.put("b", 2)
    world.put("c", 1)
    more = world.server.back_up(TABLES, _place(world, "more"), _place(world, "full"))
    assert full.files > 0
    assert more.own_bytes > 0
    world.lose()
    world.server.restore("pairs_local", _place(world, "more"))
    assert world.keys() == {"a": 1, "b": 2, "c": 1}
    (world.folder / "full").rename(world.folder / "gone")
    with pytest.raises(BackupFailed):
        world.server.restore("pairs_local", _place(world, "more"))


def test_a_restore_is_repeated_and_beside_newer_rows_without_effect(world):
    """Rows are versioned: an older one beside a newer one is not shown, nor is a row given twice."""
    world.put("a", 1)
    world.put("b", 1)
    before = world.server.digests(FORM)
    world.server.back_up(TABLES, _place(world, "old"), None)
    world.server.restore("pairs_local", _place(world, "old"))
    assert world.server.digests(FORM) == before
    world.put("a", 7)
    world.server.restore("pairs_local", _place(world, "old"))
    assert world.keys() == {"a": 7, "b": 1}


def test_digests_differ_where_one_row_differs(world):
    """By the bucket of its key, with a value that is NULL."""
    for key in "abcdefgh":
        world.put(key, 1)
    before = dict(world.server.digests(FORM))
    world.put("c", 2)
    after = dict(world.server.digests(FORM))
    assert sum(one.rows for one in after.values()) == 8
    changed = {bucket for bucket in before if before[bucket] != after[bucket]}
    assert len(changed) == 1
    [bucket] = changed
    assert int(after[bucket].versions) == int(before[bucket].versions) + 1


def test_a_scratch_database_has_the_rows_and_the_table_stays_as_it_is(world):
    """Verifying must not touch what people query."""
    world.put("a", 1)
    world.server.back_up(TABLES, _place(world, "one"), None)
    held = world.server.digests(FORM)
    world.put("a", 2)
    scratch = f"{world.folder.name.replace('-', '_')}_check"
    world.server.make_scratch(scratch, [FORM])
    try:
        world.server.restore("pairs_local", _place(world, "one"), scratch)
        assert world.server.digests(FORM, scratch) == held
        assert world.keys() == {"a": 2}
    finally:
        world.server.drop_scratch(scratch)


def test_no_backup_is_written_over(world):
    """A second one of the same name would mix two moments."""
    world.put("a", 1)
    world.server.back_up(TABLES, _place(world, "one"), None)
    with pytest.raises(BackupFailed):
        world.server.back_up(TABLES, _place(world, "one"), None)


def test_the_newest_note_of_a_restore_counts(world):
    """A restore goes on by it; another one that began there meanwhile is not that one."""
    assert world.server.noted() is None
    world.server.note("x", ended=False)
    world.server.note("x", ended=True)
    assert world.server.noted() == ("x", True)
    world.server.note("y", ended=False)
    assert world.server.noted() == ("y", False)
    assert [table.name for table in world.server.tables()] == TABLES
