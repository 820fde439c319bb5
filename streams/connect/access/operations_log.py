"""The log of operations: who changed what, by a command or through a console, when, and what came of it.

A line before and one after each operation, one file a month, synced line by line. A line holds no secret."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from streams.core.clock import Clock
from streams.core.process.file_modes import private_folder

BEGUN: Final = "begun"
UNFINISHED: Final = "unfinished"
"""The process was killed, or the operation still runs."""


class OperationLine(msgspec.Struct, kw_only=True):
    """``by``: command, token or session. ``token`` is empty for a command, ``user`` (of the
    operating system) for the others. ``outcome``: begun, done, or how it failed."""

    at_ms: int
    operation: str
    action: str
    outcome: str
    by: str
    name: str = ""
    user: str = ""
    token: str = ""
    role: str = ""
    token_tenant: str | None = None
    subject: dict[str, Any] = {}


class LoggedOperation(msgspec.Struct, frozen=True, kw_only=True):
    """``ended_ms`` None: unfinished."""

    line: OperationLine
    began_ms: int
    ended_ms: int | None

    @property
    def outcome(self) -> str:
        return UNFINISHED if self.ended_ms is None else self.line.outcome

    @property
    def who(self) -> str:
        return self.line.name or self.line.token or self.line.user


class OperationsLog:
    """``folder``/operations-YYYY-MM.jsonl, readable by its owner only."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self.unreadable = 0
        """lines that the last reading could not understand, such as the last one before a power cut"""

    @classmethod
    def of(cls, home: Path, clock: Clock) -> OperationsLog:
        return cls(home / "access", clock)

    def write(self, said: Mapping[str, Any], outcome: str) -> None:
        """Blocks until the line is on the disk. Raises `OSError`."""
        now_ms = self._clock.now_ms()
        month = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y-%m")
        private_folder(self._folder)
        path = self._folder / f"operations-{month}.jsonl"
        line = msgspec.json.encode({"at_ms": now_ms, **said, "outcome": outcome}) + b"\n"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(b"\n" + line if _is_torn(descriptor) else line)
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> Iterator[LoggedOperation]:
        """By their ends, the unfinished last. Raises `OSError`. Memory is that of the unfinished."""
        self.unreadable = 0
        begun: dict[str, OperationLine] = {}
        for line in self._lines():
            if line.outcome == BEGUN:
                begun[line.operation] = line
                continue
            first = begun.pop(line.operation, line)
            yield LoggedOperation(line=line, began_ms=first.at_ms, ended_ms=line.at_ms)
        for line in begun.values():
            yield LoggedOperation(line=line, began_ms=line.at_ms, ended_ms=None)

    def _lines(self) -> Iterator[OperationLine]:
        decoder = msgspec.json.Decoder(OperationLine)
        for path in sorted(self._folder.glob("operations-*.jsonl")):
            with path.open("rb") as file:
                for text in filter(bytes.strip, file):
                    try:
                        yield decoder.decode(text)
                    except ValueError:
                        self.unreadable += 1


def _is_torn(descriptor: int) -> bool:
    """Whether a power cut left a line without its end, to which the next one must not be joined."""
    size = os.fstat(descriptor).st_size
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
