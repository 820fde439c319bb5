"""Laws of docs/protocols/backup.md on in-memory servers, killed between any two steps."""

from __future__ import annotations

import itertools
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.connect.sinks.backups.memory import MemoryBackups
from streams.core.command_errors import BackupFailed
from streams.core.errors import RefusedBySafety
from streams.operate.backup.catalog import chain
from streams.operate.backup.prune import prune
from tests.backups import DAY_S, DAYS, TABLES, Backups


class Killed(BaseException):
    """The process ends here."""


class KillAt:
    """Kills at one step. A killed process takes no further one."""

    def __init__(self, step: int) -> None:
        self._steps = itertools.count()
        self._at = step
        self.killed = False
        self.names: list[str] = []

    def __call__(self, name: str) -> None:
        self.names.append(name)
        if self.killed or next(self._steps) == self._at:
            self.killed = True
            raise Killed(name)


def _let_live(servers):
    for server in servers:
        server.before = lambda step: None


actions = st.lists(
    st.one_of(
        st.tuples(st.just("rows"), st.integers(1, 6)),
        st.tuples(st.just("create"), st.integers(0, 1)),
        st.tuples(st.just("killed create"), st.integers(0, 14)),
        st.tuples(st.just("days"), st.integers(1, 60)),
        st.tuples(st.just("prune"), st.just(0)),
    ),
    max_size=14,
)


class Installation(Backups):
    """With the rows that its shards had when each whole backup was made."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.held: dict[str, list[dict]] = {}
        self.version = 0

    def take(self, action: str, value: int) -> None:
        self.clock.jump_wall(1000)
        match action:
            case "rows":
                self.version += 1
                self.rows(value, self.version, 20251101 + self.version % 3)
            case "create":
                self.note(self.create(full=bool(value)))
            case "killed create":
                kill = KillAt(value)
                for server in self.servers:
                    server.before = kill
                with suppress(Killed):
                    self.note(self.create())
                _let_live(self.servers)
            case "days":
                self.clock.jump_wall(value * DAY_S * 1000)
            case "prune":
                newest = self.whole()[:1]
                prune(self.destination, DAYS, self.clock.now_ms(), lambda: None)
                assert self.whole()[:1] == newest

    def note(self, made):
        self.held[made.name] = [
            {name: dict(table) for name, table in server.rows.items()} for server in self.servers
        ]


@settings(max_examples=25, deadline=None)
@given(actions)
def test_each_whole_backup_gives_back_the_rows_of_its_moment(steps):
    """Through kills, increments and pruning; what is not whole is neither restored nor built on."""
    with tempfile.TemporaryDirectory() as folder:
        backups = Installation(Path(folder))
        for action, value in steps:
            backups.take(action, value)
            assert set(backups.whole()) <= set(backups.held)
        known = backups.known()
        for name in backups.whole():
            manifest = chain(known, name, backups.clock.now_ms())[0]
            for shard in range(2):
                empty = MemoryBackups(TABLES)
                assert backups.restored(manifest, shard, empty).claimed
                assert empty.rows == backups.held[name][shard]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 12), st.integers(0, 12))
def test_a_restore_that_is_killed_goes_on(first, second):
    """At every step, twice; a server is opened to workers only when it has every row."""
    with tempfile.TemporaryDirectory() as folder:
        backups = Backups(Path(folder))
        backups.rows(4)
        manifest = backups.create()
        into = MemoryBackups(TABLES)
        for step in (first, second):
            into.before = kill = KillAt(step)
            with suppress(Killed):
                backups.restored(manifest, 0, into)
            assert "open" not in kill.names or into.newest.ended
        _let_live([into])
        assert backups.restored(manifest, 0, into).claimed
        assert into.rows == backups.servers[0].rows


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), max_size=8), st.integers(0, 8))
def test_restored_rows_beside_newer_ones_change_nothing_that_is_newer(rows, cut):
    """Rows are absolute and versioned: after the restore each key has the newest row of both."""
    with tempfile.TemporaryDirectory() as folder:
        backups = Backups(Path(folder))
        backups.rows(1)
        server = backups.servers[0]
        for key, ver in rows[:cut]:
            server.put("m1_local", str(key), day=20251129, n=ver, ver=ver)
        manifest = backups.create()
        for key, ver in rows[cut:]:
            server.put("m1_local", str(key), day=20251129, n=ver, ver=ver)
        wanted = {name: dict(table) for name, table in server.rows.items()}
        backups.restored(manifest, 0, server, beside=True)
        assert server.rows == wanted


def test_a_row_that_changes_during_the_copy_is_a_bound_and_the_rest_is_exact(tmp_path):
    """BACKUP takes no part in the pipeline's time: what moves between the two digests is recorded as
    moving, and a backup from outside of the bounds is found."""
    backups = Backups(tmp_path)
    backups.rows(3, day=20251128)
    backups.rows(3)
    server = backups.servers[0]

    def write(step):
        if step == "back_up":
            server.put("m1_local", "late", day=20251129, n=1, ver=9)

    server.before = write
    manifest = backups.create()
    _let_live([server])
    (m1,) = (t for t in manifest.parts[0].tables if t.form.name == "m1_local")
    assert (list(m1.settled), list(m1.moving)) == ([20251128], [20251129])
    empty = MemoryBackups(TABLES)
    backups.restored(manifest, 0, empty)
    assert empty.rows == server.rows


def test_a_server_with_rows_is_refused(tmp_path):
    """The wrong address in a restore must not mix two installations."""
    backups = Backups(tmp_path)
    backups.rows(2)
    manifest = backups.create()
    with pytest.raises(RefusedBySafety, match="holds rows"):
        backups.restored(manifest, 0, backups.servers[0])


def test_a_part_that_lost_a_row_is_found_before_workers_use_it(tmp_path):
    """The sums of the manifest are worth nothing if no difference is seen."""
    backups = Backups(tmp_path)
    backups.rows(3)
    manifest = backups.create()
    empty = MemoryBackups(TABLES)
    put = empty.rows["m1_local"]

    def lose(step):
        if step == "restore answered" and put:
            put.popitem()

    empty.before = lose
    with pytest.raises(BackupFailed, match="other rows"):
        backups.restored(manifest, 0, empty)
    assert not empty.newest.ended
