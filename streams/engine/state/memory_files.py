"""Derived files in memory; the dict outlives its readers, as a disk outlives a process."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType

from streams.core.derived_files import FileReader, FileWriter
from streams.core.errors import StoreUnusable


class MemoryFiles:
    """The `Files` of one partition. Tests change ``contents`` in place to model disk corruption."""

    def __init__(self) -> None:
        self.contents: dict[str, bytearray] = {}

    def names(self) -> list[str]:
        return sorted(self.contents)

    def create(self, name: str) -> FileWriter:
        return _MemoryWriter(self.contents, name)

    def open(self, name: str) -> FileReader:
        if name not in self.contents:
            raise StoreUnusable(f"there is no file {name}")
        return _MemoryReader(name, self.contents[name])

    def remove(self, name: str) -> None:
        self.contents.pop(name, None)


class _MemoryWriter:
    def __init__(self, contents: dict[str, bytearray], name: str) -> None:
        self._contents = contents
        self._name = name
        self._parts: list[bytes] = []

    def __enter__(self) -> FileWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._parts = []

    def append(self, data: bytes) -> None:
        self._parts.append(data)

    def publish(self) -> None:
        self._contents[self._name] = bytearray().join(self._parts)


@dataclass(frozen=True, slots=True)
class _MemoryReader:
    name: str
    content: bytearray

    @property
    def size(self) -> int:
        return len(self.content)

    def read(self, offset: int, size: int) -> bytes:
        data = bytes(self.content[offset : offset + size])
        if len(data) != size:
            raise StoreUnusable(f"{self.name} ends too early, at {offset + len(data)} bytes")
        return data

    def close(self) -> None:
        """Holds no resources."""
