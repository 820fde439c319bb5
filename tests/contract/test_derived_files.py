"""One suite for both `Files`: the one in memory and the one on a disk."""

from __future__ import annotations

import pytest

from streams.core.errors import StoreUnusable
from streams.engine.state.disk_files import DiskFiles
from streams.engine.state.memory_files import MemoryFiles


@pytest.fixture(params=["memory", "disk"])
def restarted(request, tmp_path):
    """Called: the files as a process that starts anew finds them."""
    memory = MemoryFiles()
    return (lambda: memory) if request.param == "memory" else lambda: DiskFiles(tmp_path / "f")


def written(files, name, *parts):
    with files.create(name) as file:
        for part in parts:
            file.append(part)
        file.publish()


def test_a_published_file_is_there_after_a_restart(restarted):
    """It is what spares a start the reading of everything."""
    written(restarted(), "b", b"01", b"", b"2345")
    written(restarted(), "a", b"x")
    files = restarted()
    assert files.names() == ["a", "b"]
    file = files.open("b")
    assert (file.name, file.size) == ("b", 6)
    assert file.read(1, 3) == b"123"
    assert file.read(6, 0) == b""
    file.close()


def test_a_file_that_was_not_published_never_was(restarted):
    """A process dies in the middle of writing; half a file must not look like one."""
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


def test_a_second_file_of_a_name_takes_the_place_of_the_first(restarted):
    """Made anew, after the first was found damaged."""
    written(restarted(), "a", b"old")
    written(restarted(), "a", b"newer")
    file = restarted().open("a")
    assert file.read(0, file.size) == b"newer"
    file.close()


def test_a_removed_file_is_gone_but_for_whoever_reads_it(restarted):
    """A run is dropped by its name, whether or not it is open."""
    files = restarted()
    written(files, "a", b"0123")
    file = files.open("a")
    files.remove("a")
    files.remove("a")
    assert files.names() == []
    assert file.read(2, 2) == b"23"
    file.close()


def test_reading_past_the_end_is_an_error(restarted):
    """A file that was cut short must not answer with less than it was asked for."""
    files = restarted()
    written(files, "a", b"0123")
    file = files.open("a")
    with pytest.raises(StoreUnusable, match="ends too early"):
        file.read(2, 3)
    file.close()


def test_a_disk_that_refuses_is_an_unusable_store(tmp_path):
    """The engine knows what to do about that, and nothing of disks."""
    (tmp_path / "f").write_bytes(b"not a folder")
    with pytest.raises(StoreUnusable, match="cannot be used"):
        DiskFiles(tmp_path / "f")
    files = DiskFiles(tmp_path / "g")
    with pytest.raises(StoreUnusable, match="cannot be used"):
        files.create("no/such/folder")
