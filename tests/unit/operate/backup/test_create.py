"""Making a backup: what it holds, what it builds on, and what it refuses."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from streams.connect.sinks.backups.memory import MemoryBackups
from streams.connect.sinks.backups.stored_table import StoredTable
from streams.core.command_errors import BackupFailed
from streams.core.errors import DependencyUnreachable, RefusedBySafety, UsageError
from streams.core.settings import Settings
from streams.operate.backup import create
from streams.operate.backup.catalog import BackupState
from streams.operate.backup.create import BackupMaking
from streams.operate.backup.destination import BackupDestination
from tests.backups import DAY_S, TABLES, Backups


def test_the_ledger_is_read_before_any_row_is_copied(tmp_path):
    """Its offsets say which rows are in the backup: a later reading would promise rows that are not."""
    backups = Backups(tmp_path)
    backups.rows(1, ver=1)
    server = backups.servers[0]

    def fold_on(step):
        if step == "back_up":
            row = server.rows["ledger_local"]["g"]
            server.put("ledger_local", "g", **{**row, "next_offset": 99, "ver": 2})

    server.before = fold_on
    made = backups.create()
    assert [(one.partition, one.next_offset) for one in made.ledger] == [(0, 10), (1, 10)]


def test_increments_build_on_the_newest_until_a_full_one_is_due(tmp_path):
    """A chain without end would make each restore depend on every backup before it."""
    backups = Backups(tmp_path)
    kinds = []
    for _ in range(9):
        kinds.append(backups.create().kind)
        backups.clock.jump_wall(DAY_S * 1000)
    assert kinds == ["full", *["incremental"] * 6, "full", "incremental"]


def test_a_server_that_writes_elsewhere_is_found_out(tmp_path):
    """The manifest would promise parts that no restore finds."""
    backups = Backups(tmp_path)
    other = BackupDestination.of(Settings(backup_to=f"file://{tmp_path / 'other'}"))
    server = backups.servers[1]
    there = server.back_up
    server.back_up = lambda tables, target, base: there(tables, other.place("x", 1), base)
    with pytest.raises(BackupFailed, match=r"shard-1 wrote .* it is not at"):
        backups.create()
    assert backups.whole() == []


def test_a_table_that_the_app_does_not_declare_is_named(tmp_path):
    """It is left out, and the operator must learn that before a restore."""
    backups = Backups(tmp_path)
    form = StoredTable(name="old_local", columns={}, sorting_key="k", partition_key="")
    backups.servers[0].forms["old_local"] = form
    backups.servers[0].rows["old_local"] = {}
    assert backups.create().undeclared == ["old_local"]


def test_a_shard_that_lost_its_rows_is_not_backed_up_empty(tmp_path):
    """A backup without its rows would be the newest one, which a restore takes."""
    backups = Backups(tmp_path)
    backups.rows(2)
    made = backups.create()
    backups.clock.jump_wall(8 * DAY_S * 1000)
    for table in backups.servers[1].rows.values():
        table.clear()
    with pytest.raises(RefusedBySafety, match="lacks rows of backup"):
        backups.create()
    assert backups.whole() == [made.name]
    assert backups.create(full=True).kind == "full"


def test_a_shard_that_lost_rows_and_took_new_ones_is_not_backed_up(tmp_path):
    """A worker writes into the emptied shard at once: it has rows, and not those of the backup."""
    backups = Backups(tmp_path)
    backups.rows(3)
    made = backups.create()
    backups.clock.jump_wall(DAY_S * 1000)
    lost = backups.servers[1].rows["m1_local"].pop("1/20251129/0")
    backups.rows(2, ver=2, day=20251130)
    with pytest.raises(RefusedBySafety, match=r"m1_local 2025-11-29: 2 rows.*--beside-rows"):
        backups.create()
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == [made.name]
    backups.servers[1].put("m1_local", "1/20251129/0", **lost)
    assert backups.create().base == made.name


def test_days_that_moved_to_other_shards_are_not_missed(tmp_path):
    """No backup from before a move fits the servers: without a new one there is none to restore."""
    backups = Backups(tmp_path)
    backups.rows(3)
    backups.rows(2, day=20251130)
    made = backups.create()
    backups.clock.jump_wall(DAY_S * 1000)
    backups.moved(20_421)  # 29 November 2025
    second = backups.create()
    assert second.base == made.name
    backups.clock.jump_wall(DAY_S * 1000)
    backups.servers[0].rows["m1_local"].pop("1/20251129/0")
    with pytest.raises(RefusedBySafety, match=r"m1_local 2025-11-29: 5 rows.*--beside-rows"):
        backups.create()
    backups.servers[0].put("m1_local", "1/20251129/0", day=20251129, n=1, ver=1)
    backups.servers[1].rows["m1_local"].pop("1/20251130/0")
    with pytest.raises(RefusedBySafety, match=r"m1_local 2025-11-30: 1 rows"):
        backups.create()


def test_a_backup_that_misses_days_that_moved_is_found(tmp_path, monkeypatch):
    """The law above has to be able to fail: such an engine refused each backup after a move."""
    monkeypatch.setattr(create, "moved_since", lambda *maps: frozenset())
    with pytest.raises(RefusedBySafety):
        test_days_that_moved_to_other_shards_are_not_missed(tmp_path)


@pytest.mark.parametrize("at", ["digests", "back_up"])
def test_a_backup_during_which_a_day_moved_is_none(tmp_path, at):
    """One shard is copied before the move and one after it: the day's rows would be in both parts, or in
    none, and the backup would name no move."""
    backups = Backups(tmp_path)
    backups.rows(3)
    done = []

    def move(step):
        if step == at and not done:
            done.append(step)
            backups.moved(20_421)

    backups.servers[1].before = move
    with pytest.raises(BackupFailed, match="days moved between the shards"):
        backups.create()
    assert backups.whole() == []
    backups.clock.jump_wall(1000)
    assert backups.create().kind == "full"


def test_a_backup_that_ignores_moves_lacks_rows_of_the_day(tmp_path, monkeypatch):
    """What the refusal prevents: without it the check above has to fail."""
    monkeypatch.setattr(BackupMaking, "_refuse_moved", lambda self, what: None)
    backups = Backups(tmp_path)
    backups.rows(3)
    copied = threading.Event()

    def move(step):
        if step == "back_up":
            assert copied.wait(60)
            backups.moved(20_421)

    backups.servers[0].before = lambda step: copied.set() if step == "back_up answered" else None
    backups.servers[1].before = move
    made = backups.create()
    kept = []
    for shard in range(2):
        empty = MemoryBackups(TABLES)
        backups.restored(made, shard, empty)
        kept += empty.rows["m1_local"]
    assert len(kept) == 3


def test_days_that_expired_are_not_missed(tmp_path):
    """Minutes are kept for a month; each day one of them goes."""
    backups = Backups(tmp_path)
    backups.rows(3)
    backups.create()
    backups.clock.jump_wall(36 * DAY_S * 1000)
    for server in backups.servers:
        server.rows["m1_local"].clear()
    assert backups.create().kind == "full"


def test_a_declared_table_that_a_server_lacks_is_refused(tmp_path):
    """A backup without it would look whole."""
    backups = Backups(tmp_path)
    what = backups.what()
    backups.what = lambda: replace(what, tables={**what.tables, "sales_local": None})
    with pytest.raises(BackupFailed, match="sales_local"):
        backups.create()


def test_no_manifest_of_another_version_or_content_is_read(tmp_path):
    """A manifest that was cut, or changed by hand, must not pass for whole."""
    backups = Backups(tmp_path)
    made = backups.create()
    path = tmp_path / "manifests" / f"{made.name}.json"
    written = path.read_bytes()
    for damaged in (
        written[:-9],
        written.replace(b'"dia":"1"', b'"dia":"2"'),
        written.replace(b'"format":1', b'"format":2'),
        b"",
    ):
        path.write_bytes(damaged)
        [one] = backups.known()
        assert one.state is BackupState.DAMAGED
    path.write_bytes(written)
    assert backups.whole() == [made.name]


def test_a_part_that_changed_damages_each_backup_that_builds_on_it(tmp_path):
    """An incremental backup is worth what its base is worth."""
    backups = Backups(tmp_path)
    first = backups.create()
    backups.clock.jump_wall(DAY_S * 1000)
    backups.create()
    (tmp_path / "parts" / first.name / "shard-0" / ".backup").write_text("other")
    assert [one.state for one in backups.known()] == [BackupState.DAMAGED] * 2


@pytest.mark.parametrize(
    "uri", ["/backups", "file://host/x", "file:relative", "ftp://x/y", "s3:///x"]
)
def test_an_address_of_another_kind_is_refused(uri):
    """The servers would write to one place, and this process would look at another."""
    with pytest.raises(UsageError, match="DIA_BACKUP_TO"):
        BackupDestination.of(Settings(backup_to=uri))


def test_a_folder_that_is_not_mounted_is_not_made(tmp_path):
    """Backups on the container's own disk go with the container."""
    destination = BackupDestination.of(Settings(backup_to=f"file://{tmp_path}/absent"))
    with pytest.raises(DependencyUnreachable, match="no folder here"):
        destination.check()
