"""What a restore refuses, and what it says is missing."""

from __future__ import annotations

import msgspec
import pytest

from streams.connect.sinks.backups.memory import MemoryBackups
from streams.core.command_errors import NotFoundThere
from streams.core.errors import RefusedBySafety
from streams.core.types import CommittedOffset, TopicConfig
from streams.operate.backup.catalog import chain
from streams.operate.backup.gap import gaps
from streams.operate.backup.restore import refuse_newer
from tests.backups import LEDGER, M1, TABLES, Backups


def _migrated(manifest, label, checksum):
    [first, second] = manifest.parts
    part = msgspec.structs.replace(first, migrations={label: checksum})
    return msgspec.structs.replace(manifest, parts=[part, second])


def test_a_backup_of_a_newer_dia_is_refused(tmp_path):
    """Its rows may have columns that this version would drop, in silence."""
    made = Backups(tmp_path).create()
    known = {"V001__windows": "a"}
    refuse_newer(_migrated(made, "V001__windows", "a"), known)
    refuse_newer(_migrated(made, "R002__views", "of other shards"), known)
    for label, checksum in (("V009__new", "a"), ("V001__windows", "b")):
        with pytest.raises(RefusedBySafety, match=label):
            refuse_newer(_migrated(made, label, checksum), known)


@pytest.mark.parametrize(
    "form",
    [
        msgspec.structs.replace(M1, sorting_key="tenant, w, ver"),
        msgspec.structs.replace(M1, columns={**M1.columns, "n": "String"}),
        msgspec.structs.replace(M1, columns={"tenant": "String"}),
    ],
)
def test_tables_of_another_form_are_refused_before_a_row_is_written(tmp_path, form):
    """With other keys, rows that replace each other would stand side by side."""
    backups = Backups(tmp_path)
    backups.rows(1)
    made = backups.create()
    into = MemoryBackups([form, LEDGER])
    with pytest.raises(RefusedBySafety, match="another form"):
        backups.restored(made, 0, into)
    assert into.newest is None
    assert not any(into.rows.values())


def test_a_table_with_a_new_column_takes_the_rows(tmp_path):
    """A newer version of the app adds columns; old backups stay of use."""
    backups = Backups(tmp_path)
    backups.rows(1)
    made = backups.create()
    wider = msgspec.structs.replace(M1, columns={**M1.columns, "more": "String"})
    assert backups.restored(made, 0, MemoryBackups([wider, LEDGER])).claimed


def test_a_table_that_the_app_no_longer_declares_is_refused(tmp_path):
    """Its rows would be left out of the restore, which would then call itself done."""
    backups = Backups(tmp_path)
    made = backups.create()
    with pytest.raises(RefusedBySafety, match="declares no table ledger"):
        backups.restored(made, 0, MemoryBackups([M1]))


def test_another_restore_that_began_there_is_not_gone_on_with(tmp_path):
    """Its rows are those of another moment."""
    backups = Backups(tmp_path)
    backups.rows(1)
    made = backups.create()
    into = MemoryBackups(TABLES)
    into.note("another", ended=False)
    into.put("m1_local", "x", day=20251129, n=1, ver=1)
    with pytest.raises(RefusedBySafety, match="holds rows"):
        backups.restored(made, 0, into)


def test_a_restore_that_ended_is_not_called_done_where_rows_went_away_since(tmp_path):
    """The command would say that the rows are those of the backup, and restore none."""
    backups = Backups(tmp_path)
    backups.rows(2)
    made = backups.create()
    into = MemoryBackups(TABLES)
    backups.restored(made, 0, into)
    into.put("m1_local", "newer", day=20251130, n=1, ver=9)
    backups.restored(made, 0, into)
    gone = into.rows["m1_local"].pop("0/20251129/0")
    with pytest.raises(RefusedBySafety, match=r"lacks rows of it now.*--beside-rows"):
        backups.restored(made, 0, into)
    backups.restored(made, 0, into, beside=True)
    assert into.rows["m1_local"]["0/20251129/0"] == gone
    assert "newer" in into.rows["m1_local"]


def test_names_that_are_not_whole_are_not_restored(tmp_path):
    """A half backup is refused by its reason, an unknown one by its name."""
    backups = Backups(tmp_path)
    with pytest.raises(NotFoundThere, match="no whole backup"):
        chain(backups.known(), "", backups.clock.now_ms())
    made = backups.create()
    (tmp_path / "manifests" / f"{made.name}.json").unlink()
    with pytest.raises(RefusedBySafety, match="incomplete: it has no manifest"):
        chain(backups.known(), made.name, backups.clock.now_ms())
    with pytest.raises(NotFoundThere, match="no backup x"):
        chain(backups.known(), "x", backups.clock.now_ms())


class Committed:
    """An admin of a broker that knows the offsets of some partitions of topic t."""

    def __init__(self, known):
        self.known = known

    async def committed(self, group, tps):
        return {tp: self.known[tp.partition] for tp in tps if tp.partition in self.known}

    async def describe_topics(self):
        return {"t": TopicConfig("t", 4, 1, {})}


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({0: (25, 0)}, [(0, 0, 10, 25, 15), (1, 0, 10, None, None)]),
        ({0: (7, 1)}, [(0, 1, 0, 7, 7), (1, 0, 10, None, None)]),
        ({2: (900, 0)}, [(0, 0, 10, None, None), (1, 0, 10, None, None), (2, 0, 0, 900, 900)]),
    ],
    ids=["gone on", "reset after the backup", "added after the backup"],
)
async def test_the_gap_is_named_by_partition_and_offset(tmp_path, known, expected):
    """What may be lost is not a guess: from the backup's ledger to what the group has committed. A later
    epoch begins anew, and a partition that the backup does not know is missing as a whole."""
    backups = Backups(tmp_path)
    backups.rows(1)
    marked = {n: CommittedOffset(at, f"epoch={e} seq=1 at=1") for n, (at, e) in known.items()}
    found = await gaps(backups.create(), Committed(marked), [("g", "t"), ("g", "absent")])
    assert [
        (one.partition, one.epoch, one.first, one.until, one.offsets) for one in found
    ] == expected
