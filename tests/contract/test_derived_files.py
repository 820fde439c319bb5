"""The contract of `Files`: one in memory and one on a disk."""

from __future__ import annotations

import pytest

from streams.core.errors import StoreUnusable
from streams.engine.state.disk_files import DiskFiles
from streams.engine.state.memory_files import MemoryFiles


@pytest.fixture(params=["memory", "disk"])
def restarted(request, tmp_path):
    """A function that returns the files as a restarted process finds them."""
    memory = MemoryFiles()
    return (lambda: memory) if request.param == "memory" else lambda: DiskFiles(tmp_path / "f")


def written(files, name, *parts):
    with files.create(name) as file:
        for part in parts:
            file.append(part)
        file.publish()


def test_a_published_file_is_there_after_a_restart(restarted):
    """A published file saves a restart from rereading the log."""
    written(restarted(), "b", b"01", b"", b"2345")
    written(restarted(), "a", b"x")
    files = restarted()
    assert files.names() == ["a", "b"]
    file = files.open("b")
    assert (file.name, file.size) == ("b", 6)
    assert file.read(1, 3) == b"123"
    assert file.read(6, 0) == b""
    file.close()


def test_an_unpublished_file_is_gone_after_a_restart(restarted):
    """A process may die while it writes; a partial file must not look complete."""
    files = restarted()
    with files.create("dropped") as file:
        file.append(b"half")
    abandoned = files.create("abandoned")
    abandoned.append(b"half")
    assert "dropped" not in files.names()
    assert restarted().names() == []
    with pytest.raises(StoreUnusable):
        files.open("dropped")
    abandoned.__exit__(None, None, None)


def test_a_second_file_of_the_same_name_replaces_the_first(restarted):
    """A file found damaged is written again."""
    written(restarted(), "a", b"old")
    written(restarted(), "a", b"newer")
    file = restarted().open("a")
    assert file.read(0, file.size) == b"newer"
    file.close()


def test_a_removed_file_is_gone_but_stays_readable_while_open(restarted):
    """A run is removed by name even while it is open."""
    files = restarted()
    written(files, "a", b"0123")
    file = files.open("a")
    files.remove("a")
    files.remove("a")
    assert files.names() == []
    assert file.read(2, 2) == b"23"
    file.close()


def test_reading_past_the_end_is_an_error(restarted):
    """A truncated file must not return fewer bytes than requested."""
    files = restarted()
    written(files, "a", b"0123")
    file = files.open("a")
    with pytest.raises(StoreUnusable, match="ends too early"):
        file.read(2, 3)
    file.close()


def test_a_failing_disk_is_an_unusable_store(tmp_path):
    """The engine handles that error and knows nothing of disks."""
    (tmp_path / "f").write_bytes(b"not a folder")
    with pytest.raises(StoreUnusable, match="cannot be used"):
        DiskFiles(tmp_path / "f")
    files = DiskFiles(tmp_path / "g")
    with pytest.raises(StoreUnusable, match="cannot be used"):
        files.create("no/such/folder")
