"""Which backups are kept, and when one is due."""

from __future__ import annotations

from streams.operate.backup.catalog import chain
from streams.operate.backup.prune import prune
from tests.backups import DAY_S, DAYS, Backups


def _made_daily(backups, days):
    names = []
    for _ in range(days):
        names.append(backups.create().name)
        backups.clock.jump_wall(DAY_S * 1000)
    return names


def _pruned(backups):
    return prune(backups.destination, DAYS, backups.clock.now_ms(), lambda: None)


def test_what_a_kept_increment_builds_on_stays(tmp_path):
    """Day 3 is young enough, and without its full backup of day 0 it is nothing."""
    backups = Backups(tmp_path)
    names = _made_daily(backups, 8)
    backups.clock.jump_wall(86 * DAY_S * 1000)
    assert _pruned(backups) == []
    backups.clock.jump_wall(4 * DAY_S * 1000)
    # Day 7 is full, and the newest one.
    assert sorted(_pruned(backups)) == names[:7]
    assert backups.whole() == names[7:]


def test_the_newest_whole_one_stays_whatever_its_age(tmp_path):
    """Backups that began to fail a year ago must not be pruned to none."""
    backups = Backups(tmp_path)
    [name] = _made_daily(backups, 1)
    backups.clock.jump_wall(400 * DAY_S * 1000)
    assert _pruned(backups) == []
    assert backups.whole() == [name]


def test_what_ended_early_goes_when_no_server_can_still_write_it(tmp_path):
    """A server goes on after the command was killed; half of what it writes must not come back."""
    backups = Backups(tmp_path)
    made = backups.create()
    (tmp_path / "manifests" / f"{made.name}.json").unlink()
    backups.clock.jump_wall(3600 * 1000)
    assert _pruned(backups) == []
    backups.clock.jump_wall(3600 * 1000)
    assert _pruned(backups) == [made.name]
    assert backups.known() == []


def test_damaged_ones_and_foreign_files_stay(tmp_path):
    """An operator may mend a damaged one; a folder of another name is not a backup."""
    backups = Backups(tmp_path)
    [name] = _made_daily(backups, 1)
    (tmp_path / "manifests" / f"{name}.json").write_text("{}")
    (tmp_path / "parts" / "mine").mkdir()
    (tmp_path / "manifests" / "mine.json").write_text("{}")
    backups.clock.jump_wall(400 * DAY_S * 1000)
    assert _pruned(backups) == []
    assert [one.name for one in backups.known()] == [name]


def test_one_is_due_by_the_newest_whole_one(tmp_path):
    """A backup that was made by hand counts, and one that failed does not."""
    backups = Backups(tmp_path)
    now_ms = backups.clock.now_ms
    assert DAYS.due(backups.known(), now_ms())
    made = backups.create()
    backups.clock.jump_wall(DAY_S * 1000 - 2000)
    assert not DAYS.due(backups.known(), now_ms())
    backups.clock.jump_wall(3000)
    assert DAYS.due(backups.known(), now_ms())
    backups.clock.jump_wall(-DAY_S * 1000)
    (tmp_path / "manifests" / f"{made.name}.json").unlink()
    assert DAYS.due(backups.known(), now_ms())


def test_the_last_increment_of_a_chain_is_not_built_on_after_the_full_one_expired(tmp_path):
    """Clocks that jump ahead must not extend a chain for ever."""
    backups = Backups(tmp_path)
    backups.create()
    backups.clock.jump_wall(7 * DAY_S * 1000)
    assert DAYS.base(backups.known(), backups.clock.now_ms()) is None


def test_a_backup_from_the_future_is_no_newest_one(tmp_path):
    """A clock that was ahead once: until then a restore took this one and not later ones, and no full one was
    due."""
    backups = Backups(tmp_path)
    first = backups.create()
    backups.clock.jump_wall(20 * DAY_S * 1000)
    ahead = backups.create()
    assert chain(backups.known(), "", backups.clock.now_ms())[0].name == ahead.name
    backups.clock.jump_wall(-19 * DAY_S * 1000)
    later = backups.create()
    now_ms = backups.clock.now_ms()
    assert later.base == first.name
    assert chain(backups.known(), "", now_ms)[0].name == later.name
    backups.clock.jump_wall(7 * DAY_S * 1000)
    assert DAYS.base(backups.known(), backups.clock.now_ms()) is None
