"""Derived files in a folder of the local disk; each is published by a rename."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from streams.core.derived_files import FileReader, FileWriter
from streams.core.errors import StoreUnusable

_UNFINISHED = ".part"


class DiskFiles:
    """The `Files` in one folder, which no other process writes to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: set[_DiskReader] = set()
        with _usable(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.glob("*" + _UNFINISHED):
                left.unlink()

    def names(self) -> list[str]:
        with _usable(self._folder):
            return sorted(path.name for path in self._folder.iterdir())

    def create(self, name: str) -> FileWriter:
        return _DiskWriter(self._folder / name)

    def open(self, name: str) -> FileReader:
        return _DiskReader(self._folder / name, self._open)

    def remove(self, name: str) -> None:
        with _usable(self._folder / name):
            (self._folder / name).unlink(missing_ok=True)

    def close(self) -> None:
        for reader in list(self._open):
            reader.close()


class _DiskWriter:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._unfinished = path.with_name(path.name + _UNFINISHED)
        with _usable(path):
            self._file = self._unfinished.open("wb")

    def __enter__(self) -> FileWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._file.closed:
            self._file.close()
            self._unfinished.unlink(missing_ok=True)

    def append(self, data: bytes) -> None:
        with _usable(self._path):
            self._file.write(data)

    def publish(self) -> None:
        # No fsync: a file torn by a power cut fails its digest and is derived again.
        with _usable(self._path):
            self._file.close()
            self._unfinished.replace(self._path)


class _DiskReader:
    """Uses `pread`: a disk error raises here, while in a mapping it would kill the process."""

    def __init__(self, path: Path, among: set[_DiskReader]) -> None:
        self._path = path
        self._among = among
        with _usable(path):
            self._descriptor = os.open(path, os.O_RDONLY)
        self._size = os.fstat(self._descriptor).st_size
        among.add(self)

    @property
    def name(self) -> str:
        return self._path.name

    @property
    def size(self) -> int:
        return self._size

    def read(self, offset: int, size: int) -> bytes:
        try:
            data = os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise StoreUnusable(f"{self._path} cannot be read: {error}") from error
        if len(data) != size:
            raise StoreUnusable(f"{self._path} ends too early, at {offset + len(data)} bytes")
        return data

    def close(self) -> None:
        if self in self._among:
            self._among.remove(self)
            os.close(self._descriptor)


@contextmanager
def _usable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnusable(f"{path} cannot be used: {error}") from error
