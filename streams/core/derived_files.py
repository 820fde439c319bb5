"""Files that a table derives from its committed entries, beside the store and equally private.

Each is written once and published atomically. A lost file costs time only. Every method raises
`StoreUnusable` on a disk error."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol


class FileWriter(AbstractContextManager["FileWriter"], Protocol):
    """Leaving the context without `publish` deletes the file."""

    def append(self, data: bytes) -> None: ...

    def publish(self) -> None:
        """Make the complete file visible, also after a restart."""
        ...


class FileReader(Protocol):
    """Readable until closed, even if it is removed."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    def read(self, offset: int, size: int) -> bytes: ...

    def close(self) -> None: ...


class Files(Protocol):
    """Of one partition, by name."""

    def names(self) -> list[str]: ...

    def create(self, name: str) -> FileWriter: ...

    def open(self, name: str) -> FileReader: ...

    def remove(self, name: str) -> None:
        """No error where there is none."""
        ...
