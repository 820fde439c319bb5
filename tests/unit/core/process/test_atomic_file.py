"""Atomic replacement of a file: readers never see a part, and a failed write leaves the old file."""

from __future__ import annotations

import stat

import pytest

from streams.core.process.atomic_file import write_atomically


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_and_no_temporary_file_is_left(tmp_path, durable):
    """Readers list these folders."""
    path = tmp_path / "plan.json"
    write_atomically(path, b"old", durable=durable)
    write_atomically(path, b"new", durable=durable)
    assert path.read_bytes() == b"new"
    assert [*tmp_path.iterdir()] == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_failed_write_leaves_the_old_content_and_no_temporary_file(tmp_path, monkeypatch):
    """A full disk loses the new content, not the old."""
    path = tmp_path / "plan.json"
    write_atomically(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new", durable=True)
    assert path.read_bytes() == b"old"
    assert [*tmp_path.iterdir()] == [path]
