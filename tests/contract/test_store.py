"""The contract of `Store`: the in-memory one and RocksDB."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.core.errors import StoreUnusable
from streams.core.types import TopicPartition
from streams.engine.state.memory import MemoryDisk
from streams.engine.state.rocksdb import RocksFolder

TP = TopicPartition("topic", 3)
OTHER = TopicPartition("topic", 4)
keys = st.binary(min_size=1, max_size=4)
writes = st.lists(
    st.lists(st.tuples(keys, st.none() | st.binary(max_size=6)), max_size=6), max_size=8
)


@pytest.fixture(params=["memory", "rocks"])
def stores(request, tmp_path):
    """A `StoreFactory` over one host's state, as a restarted process gets it."""
    return MemoryDisk() if request.param == "memory" else RocksFolder(tmp_path, "group")


def test_written_entries_survive_a_restart(stores):
    """The store is the local copy of the state: without it, every start reads the whole changelog."""
    store = stores(TP, False)
    store.write([(b"a", b"1"), (b"b", b"2")])
    store.write([(b"a", None), (b"b", b"3"), (b"c", b"")])
    store.close()
    again = stores(TP, False)
    assert [again.get(key) for key in (b"a", b"b", b"c")] == [None, b"3", b""]
    assert list(again.items()) == [(b"b", b"3"), (b"c", b"")]
    again.close()


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(plan=writes, prefix=st.binary(max_size=2))
def test_a_store_is_an_ordered_dictionary(stores, plan, prefix):
    """Within one write, the last value of a key wins; iteration is by prefix, in key order."""
    store, model = stores(TP, True), {}
    for batch in plan:
        store.write(batch)
        for key, value in batch:
            if value is None:
                model.pop(key, None)
            else:
                model[key] = value
    expected = sorted((k, v) for k, v in model.items() if k.startswith(prefix))
    assert list(store.items(prefix)) == expected
    store.close()


def test_a_failed_write_changes_nothing(stores):
    """State after half a commit would be invalid."""
    store = stores(TP, False)
    store.write([(b"a", b"1")])

    def torn():
        yield b"a", b"2"
        yield b"b", b"2"
        raise RuntimeError("killed in the middle")

    with pytest.raises(RuntimeError):
        store.write(torn())
    assert list(store.items()) == [(b"a", b"1")]
    store.close()


def test_partitions_have_separate_databases(stores):
    """One may be deleted without the others."""
    first, second = stores(TP, False), stores(OTHER, False)
    first.write([(b"a", b"1")])
    assert second.get(b"a") is None
    first.close()
    second.close()


def test_a_fresh_store_is_empty_and_stays_the_current_one(stores):
    """A folder that was abandoned as unusable must not be opened again."""
    old = stores(TP, False)
    old.write([(b"a", b"old")])
    old.close()
    fresh = stores(TP, True)
    assert list(fresh.items()) == []
    fresh.write([(b"a", b"new")])
    fresh.close()
    again = stores(TP, False)
    assert again.get(b"a") == b"new"
    again.close()


def test_a_damaged_memory_disk_asks_for_a_fresh_folder():
    """The simulation's equivalent of a corrupt database."""
    disk = MemoryDisk()
    disk(TP, False).write([(b"a", b"1")])
    disk.unusable.add(TP)
    with pytest.raises(StoreUnusable):
        disk(TP, False)
    assert list(disk(TP, True).items()) == []


def test_a_folder_locked_by_another_process_is_unusable_and_untouched(tmp_path):
    """A fenced process may still write to it; its successor takes a new folder."""
    holder = _child(tmp_path, "hold")
    try:
        with pytest.raises(StoreUnusable, match="cannot be opened"):
            RocksFolder(tmp_path, "group")(TP, False)
        fresh = RocksFolder(tmp_path, "group")(TP, True)
        fresh.write([(b"a", b"new")])
        fresh.close()
        assert (tmp_path / "group" / "topic-3" / "0").exists(), "the zombie's own"
    finally:
        _end(holder)
    again = RocksFolder(tmp_path, "group")(TP, False)
    assert again.get(b"a") == b"new"
    again.close()


def test_abandoned_folders_are_removed(tmp_path):
    """A host that restores often must not fill its disk."""
    folder = RocksFolder(tmp_path, "group")
    for _ in range(3):
        folder(TP, True).close()
    assert len(list((tmp_path / "group" / "topic-3").iterdir())) == 1


@pytest.mark.parametrize("damage", ["truncate", "garbage"])
def test_a_corrupt_folder_is_unusable(tmp_path, damage):
    """The changelog holds everything, so the partition can restore into a new folder."""
    folder = RocksFolder(tmp_path, "group")
    store = folder(TP, False)
    store.write([(b"a", b"1")])
    store.close()
    (current,) = (tmp_path / "group" / "topic-3").glob("*/CURRENT")
    current.write_bytes(b"" if damage == "truncate" else b"\xff" * 100)
    with pytest.raises(StoreUnusable, match="cannot be opened"):
        folder(TP, False)
    fresh = folder(TP, True)
    assert list(fresh.items()) == []
    fresh.close()


def test_a_corrupt_block_raises_during_iteration(tmp_path):
    """A scan that ended early without an error would restore a part of the state."""
    open_store = RocksFolder(tmp_path, "group")
    store = open_store(TP, False)
    store.write((b"%06d" % n, os.urandom(100)) for n in range(20_000))
    store.close()
    [table] = tmp_path.rglob("*.sst")
    with table.open("r+b") as content:
        content.seek(table.stat().st_size // 2)
        content.write(b"rot" * 10)
    store = open_store(TP, False)
    with pytest.raises(StoreUnusable, match="cannot be read"):
        list(store.items())
    store.close()


@pytest.fixture(params=["memory", "rocks"])
def killed(request, tmp_path):
    """Stores, and a function that reopens one as if its process had been killed."""
    if request.param == "memory":
        disk = MemoryDisk()
        return disk, lambda: disk(TP, False)
    folder = RocksFolder(tmp_path / "alive", "group")

    def after_a_kill():
        shutil.copytree(tmp_path / "alive", tmp_path / "left", dirs_exist_ok=True)
        return RocksFolder(tmp_path / "left", "group")(TP, False)

    return folder, after_a_kill


def test_unflushed_writes_are_gone_after_a_kill(killed):
    """There is no write-ahead log: trimming the changelog depends on knowing what is flushed."""
    stores, after_a_kill = killed
    store = stores(TP, False)
    assert (store.written_to, store.flushed_to) == (0, 0)
    store.write([(b"a", b"1")])
    assert store.flushed_to == 0 < store.written_to
    assert list(store.items()) == [(b"a", b"1")]
    left = after_a_kill()
    assert list(left.items()) == []
    left.close()
    store.close()


def test_flushed_writes_survive_a_kill(killed):
    """Later writes may survive as well, each of them complete; the position names the last one."""
    stores, after_a_kill = killed
    store = stores(TP, False)
    store.write([(b"a", b"1"), (b"b", b"1")])
    store.write([(b"a", None), (b"c", b"2")])
    asked_at = store.written_to
    store.flush()
    _until(lambda: store.flushed_to >= asked_at)
    store.write([(b"a", b"3"), (b"b", b"3"), (b"c", b"3")])
    assert store.flushed_to < store.written_to
    left = after_a_kill()
    assert list(left.items()) == [(b"b", b"1"), (b"c", b"2")]
    left.close()
    store.close()


def test_closing_a_store_flushes_it(stores):
    """A worker that restarts cleanly rereads nothing of the changelog."""
    store = stores(TP, False)
    store.write([(b"a", b"1")])
    store.close()
    again = stores(TP, False)
    assert again.flushed_to == again.written_to
    assert again.get(b"a") == b"1"
    again.close()


def _until(reached, deadline_s=60.0):
    """Poll, because the flush runs in a thread of the database."""
    give_up_at = time.monotonic() + deadline_s
    while not reached():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def test_a_store_flushes_on_its_own(stores):
    """Otherwise memory and the part reread after a restart would grow with every commit."""
    store = stores(TP, False)
    value = os.urandom(1 << 20)
    for number in range(40):
        store.write([(b"%d" % number, value)])
    _until(lambda: store.flushed_to > 0)
    store.close()


@pytest.mark.parametrize("seed", range(3))
def test_kill_9_loses_no_flushed_write_and_splits_none(tmp_path, seed):
    """The remaining state is that after one of the writes, with its own meta entry."""
    writer = _child(tmp_path, "write")
    wanted = random.Random(seed).randint(1, 60)
    flushed = 0
    for line in writer.stdout:
        written, flushed = map(int, line.split())
        if written >= wanted:
            break
    os.kill(writer.pid, signal.SIGKILL)
    # The signal may cut the last line.
    last = [line for line in writer.stdout if line.endswith("\n")]
    flushed = max([flushed, *(int(line.split()[1]) for line in last)])
    _end(writer)
    store = RocksFolder(tmp_path, "group")(TP, False)
    found = {int(value) for _, value in store.items()}
    store.close()
    assert len(found) <= 1, "both keys of one write, or none"
    assert max(found, default=0) >= flushed


_CHILD = """
import sys, time
from pathlib import Path
from streams.core.types import TopicPartition
from streams.engine.state.rocksdb import RocksFolder
store = RocksFolder(Path(sys.argv[1]), "group")(TopicPartition("topic", 3), False)
positions = []
while True:
    number = len(positions) + 1
    store.write([(b"a", b"%d" % number), (b"b", b"%d" % number)])
    positions.append(store.written_to)
    if number % 7 == 0:
        store.flush()
    flushed = store.flushed_to
    print(number, sum(position <= flushed for position in positions), flush=True)
    if sys.argv[2] == "hold":
        time.sleep(60)
"""


def _child(state_dir, job):
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(state_dir), job], stdout=subprocess.PIPE, text=True
    )
    if job == "hold":
        child.stdout.readline()
    return child


def _end(child):
    child.kill()
    child.wait()
    child.stdout.close()
