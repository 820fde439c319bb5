"""Validates lines as the pipeline does, reports refused ones, and extracts the keys of the
others."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from stat import S_ISREG

from streams.cli.terminal.output import Printer
from streams.core.errors import UsageError
from streams.core.settings import Settings
from streams.core.topics.topic import MAX_RECORD_BYTES, Topic
from streams.engine.decode.codecs import BadPosition, Limits, outgoing, settled
from streams.operate.produce.line_hints import LineHints
from streams.operate.produce.lines import InputLine

STDIN = "-"


class LineSource:
    """Counts its bytes. ``size`` is None for a pipe."""

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
    """Raises `UsageError`. Reads stdin by its descriptor: a thread that waits inside ``sys.stdin``
    would hold its lock while the interpreter ends."""
    try:
        raw = FileIO(0, closefd=False) if file == STDIN else FileIO(file)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.") from error
    with raw:
        found = os.fstat(raw.fileno())
        yield LineSource(raw, found.st_size if S_ISREG(found.st_mode) else None)


ERRORS_SHOWN_MAX = 100
"""Reported one by one; the rest are counted by code."""


class LineValidator:
    def __init__(
        self,
        settings: Settings,
        source: Topic,
        printer: Printer,
        *,
        strict: bool,
        version: int,
    ) -> None:
        """``version``: schema version of the lines."""
        self.line_bytes_max = MAX_RECORD_BYTES
        self.refused: Counter[str] = Counter()
        self.last_refused = 0
        self.stopped = False
        self._limits = Limits(settings.future_max_s, settings.late_max_s)
        self._printer = printer
        self._source = source
        self._strict = strict
        self._version = version
        self._hints = LineHints(source, version)

    async def accept(self, lines: list[InputLine], now_ms: int) -> tuple[list[bytes], list[bytes]]:
        """Keys and values of the accepted lines. Raises `SchemaRegistryUnavailable` and
        `SchemaRefused`."""
        values = [line.content for line in lines]
        decoded, keys, sent = await settled(
            lambda: outgoing(self._source, values, now_ms, self._limits, self._version)
        )
        for said in self._hints.of_unknown(values):
            self._printer.warn(f"hint: {said}")
        if not decoded.bad:
            return keys, sent
        kept = decoded.positions or []
        for bad in decoded.bad:
            self._refuse(lines[bad.position], bad)
            if self._strict:
                self.stopped = True
                kept = [i for i in kept if i < bad.position]
                break
        return keys[: len(kept)], sent[: len(kept)]

    def _refuse(self, line: InputLine, bad: BadPosition) -> None:
        self.refused[bad.code] += 1
        self.last_refused = line.number
        if self.refused.total() <= ERRORS_SHOWN_MAX:
            hint = self._hints.of_refused(line.content, bad)
            self._printer.warn(f"line {line.number}: {bad.code}: {bad.message}{hint}")
        elif self.refused.total() == ERRORS_SHOWN_MAX + 1:
            self._printer.warn("more lines are refused; the summary counts them by code")
