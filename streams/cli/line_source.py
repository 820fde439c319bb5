"""The file, or stdin, that `dia produce` reads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from stat import S_ISREG

from streams.core.errors import UsageError

STDIN = "-"


class LineSource:
    """An unbuffered reader that knows how far it is. ``size`` is None for a pipe."""

    def __init__(self, raw: FileIO, size: int | None) -> None:
        self.size = size
        self.position = 0
        self._raw = raw

    def read(self, size: int, /) -> bytes | None:
        chunk = self._raw.read(size)
        self.position += len(chunk or b"")
        return chunk


@contextmanager
def open_lines(file: str) -> Iterator[LineSource]:
    """Raises `UsageError` for a file that cannot be opened.

    stdin is read by its descriptor: a thread that waits inside ``sys.stdin`` would hold its lock
    while the interpreter ends.
    """
    try:
        raw = FileIO(0, closefd=False) if file == STDIN else FileIO(file)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.") from error
    with raw:
        found = os.fstat(raw.fileno())
        yield LineSource(raw, found.st_size if S_ISREG(found.st_mode) else None)
