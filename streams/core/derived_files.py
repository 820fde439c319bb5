"""Files a table derives from its committed entries, beside the store and as private to it.

Each is written once, becomes visible whole or not at all, and is then read in places. Nothing in
them is true that the store does not hold: to lose one costs time. Every method raises
`StoreUnusable` where the disk refuses.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol


class FileWriter(AbstractContextManager["FileWriter"], Protocol):
    """A file being written; leaving the context without `publish` throws it away."""

    def append(self, data: bytes) -> None: ...

    def publish(self) -> None:
        """It is complete: from now on it is there, also for a process that starts anew."""
        ...


class FileReader(Protocol):
    """An open file. It can be read until it is closed, even if it was removed meanwhile."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    def read(self, offset: int, size: int) -> bytes:
        """Exactly ``size`` bytes."""
        ...

    def close(self) -> None: ...


class Files(Protocol):
    """The derived files of one partition, by name."""

    def names(self) -> list[str]:
        """Published files, in order of their names."""
        ...

    def create(self, name: str) -> FileWriter: ...

    def open(self, name: str) -> FileReader: ...

    def remove(self, name: str) -> None:
        """Also where there is none."""
        ...
