"""Atomic replacement of a file."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(
    path: Path, content: bytes, mode: int = 0o600, *, durable: bool = False
) -> None:
    """A reader sees the old or the new content. With ``durable`` the new content survives a power
    failure. Raises `OSError`, and leaves ``path`` unchanged."""
    arriving = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(arriving, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        arriving.replace(path)
    except OSError:
        arriving.unlink(missing_ok=True)
        raise
    if durable:
        sync_path(path.parent)


def sync_path(path: Path) -> None:
    """Make a file, or the entries of a folder, survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
