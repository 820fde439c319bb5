"""How a command speaks: data on stdout in one of four forms, talk and progress on stderr."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any, Protocol, TextIO

from streams.cli.payload import lines_printable, printable
from streams.core.errors import DiaError
from streams.core.masking import masked

_CONTROLS = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What JSON allows, and a terminal acts upon: C1 controls, and marks that turn the order of a line."""

PROGRESS_LINE_INTERVAL_S = 5.0
"""Off a terminal a progress line is a log line: rare enough not to drown the rest."""


class Form(Enum):
    """The form of data on stdout. TABLE is a drawn table on a terminal, aligned text elsewhere."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class ProgressCount(Protocol):
    """A running count of ``total`` units of work."""

    def advance(self, amount: float = 1) -> None: ...

    def update(
        self,
        *,
        completed: float | None = None,
        description: str | None = None,
        total: float | None = None,
    ) -> None:
        """``total`` where it becomes known only on the way; None leaves each as it is."""
        ...


@dataclass(frozen=True, slots=True)
class Printer:
    """Writes a command's data and talk; asks the streams at each call what they are."""

    form: Form = Form.TABLE
    quiet: bool = False

    def rows(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Rows of data. JSON: one object a line; CSV: a header line first; both are streamed,
        a table needs all rows at once."""
        if self.form is Form.JSON:
            for row in rows:
                _write_json(dict(zip(columns, row, strict=True)))
        elif self.form is Form.CSV:
            writer = csv.writer(sys.stdout, lineterminator="\n")
            shown = printable if sys.stdout.isatty() else str
            writer.writerow([shown(column) for column in columns])
            writer.writerows([shown(_cell(value)) for value in row] for row in rows)
        else:
            table = [[printable(_cell(value)) for value in row] for row in rows]
            heads = [printable(column) for column in columns]
            if sys.stdout.isatty():
                self._draw(heads, table)
            else:
                _write_aligned([heads, *table])

    def record(self, fields: Mapping[str, Any]) -> None:
        """One thing with named fields. JSON: one object, on one line."""
        if self.form is Form.JSON:
            _write_json(fields)
        elif self.form is Form.CSV:
            self.rows(list(fields), [list(fields.values())])
        else:
            _write_aligned(
                [[printable(name), printable(_cell(value))] for name, value in fields.items()]
            )

    def say(self, text: str) -> None:
        """Talk on stderr; silenced by ``--quiet``."""
        if not self.quiet:
            print(lines_printable(masked(text)), file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """Talk that ``--quiet`` does not silence."""
        print(lines_printable(masked(text)), file=sys.stderr, flush=True)

    @contextmanager
    def progress(
        self, description: str, total: float | None = None, unit: str = ""
    ) -> Iterator[ProgressCount]:
        """A bar on stderr while the block runs; plain lines every few seconds off a terminal."""
        if self.quiet:
            yield _Silent()
        elif sys.stderr.isatty():
            with _bar(description, total, unit) as bar:
                yield bar
        else:
            lines = _Lines(sys.stderr, description, total, unit)
            yield lines
            lines.close()

    def _draw(self, columns: Sequence[str], table: Sequence[Sequence[str]]) -> None:
        from rich.console import Console

        from streams.cli.terminal_table import lines

        console = Console()
        for line in lines(columns, table, console.width):
            console.print(line)


def show_error(error: DiaError) -> None:
    """The one block a failed command ends with: what, why and the next command, on stderr.

    The message of the error holds all three; its notes, if any, follow one a line.
    """
    label = "error:"
    if sys.stderr.isatty() and "NO_COLOR" not in os.environ:
        label = "\x1b[1;31merror:\x1b[0m"
    said = lines_printable(f"{error} [{error.code}]")
    notes = [lines_printable(masked(note)) for note in getattr(error, "__notes__", ())]
    lines = [f"{label} {said}", *notes]
    print("\n  ".join(lines), file=sys.stderr, flush=True)


def _write_json(fields: Mapping[str, Any]) -> None:
    sys.stdout.write(_json(fields) + "\n")


def _json(value: Any) -> str:
    """JSON that any terminal may show: `_CONTROLS` are escaped, and everything beyond ASCII where
    the stream is not UTF-8."""
    ascii_only = "utf" not in (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
    text = json.dumps(_finite(value), default=_plain, ensure_ascii=ascii_only)
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _finite(value: Any) -> Any:
    """``value`` with null for not-a-number and infinities, for which JSON has no word."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_finite(item) for item in value]
    return value


def _plain(value: Any) -> Any:
    """What the json module does not know, in types it does; the text of the value at last."""
    if isinstance(value, datetime):
        return _moment(value, "T")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, Enum):
        return value.value
    if hasattr(value, "item"):  # a numpy scalar
        return _finite(value.item())
    return str(value)


def _cell(value: Any) -> str:
    """One cell of a table or of CSV: None is empty, floats keep what they need."""
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, datetime):
        return _moment(value, " ")
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, list | tuple | dict):
        return _json(value)
    return str(value)


def _moment(value: datetime, separator: str) -> str:
    """ISO 8601 with an offset; drivers leave the zone out where it is UTC."""
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat(separator)


def _write_aligned(table: Sequence[Sequence[str]]) -> None:
    """Columns padded to their widest cell; the last one is left ragged."""
    if not table:
        return
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


class _Silent:
    def advance(self, amount: float = 1) -> None:
        pass

    def update(
        self,
        *,
        completed: float | None = None,
        description: str | None = None,
        total: float | None = None,
    ) -> None:
        pass


class _Lines:
    """Progress as plain lines, at most one every `PROGRESS_LINE_INTERVAL_S`, and a last one."""

    def __init__(self, stream: TextIO, description: str, total: float | None, unit: str) -> None:
        self._stream = stream
        self._description = description
        self._total = total
        self._unit = unit
        self._completed = 0.0
        self._shown = ""
        self._next_at = time.monotonic()

    def advance(self, amount: float = 1) -> None:
        self.update(completed=self._completed + amount)

    def update(
        self,
        *,
        completed: float | None = None,
        description: str | None = None,
        total: float | None = None,
    ) -> None:
        self._total = self._total if total is None else total
        self._completed = self._completed if completed is None else completed
        self._description = description or self._description
        if time.monotonic() >= self._next_at:
            self._show()

    def close(self) -> None:
        self._show()

    def _show(self) -> None:
        self._next_at = time.monotonic() + PROGRESS_LINE_INTERVAL_S
        of_total = f" of {self._total:,.0f}" if self._total is not None else ""
        line = f"{self._description}: {self._completed:,.0f}{of_total} {self._unit}".rstrip()
        if line != self._shown:
            self._shown = line
            print(line, file=self._stream, flush=True)


@contextmanager
def _bar(description: str, total: float | None, unit: str) -> Iterator[ProgressCount]:
    from rich import progress as rich_progress
    from rich.console import Console

    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.TextColumn("{task.completed:,.0f}" + (f" {unit}" if unit else "")),
        rich_progress.TimeElapsedColumn(),
        rich_progress.TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with rich_progress.Progress(*columns, console=console, transient=True) as shown:
        yield _RichBar(shown, shown.add_task(description, total=total))


class _RichBar:
    def __init__(self, shown: Any, task: Any) -> None:
        self._shown = shown
        self._task = task

    def advance(self, amount: float = 1) -> None:
        self._shown.advance(self._task, amount)

    def update(
        self,
        *,
        completed: float | None = None,
        description: str | None = None,
        total: float | None = None,
    ) -> None:
        self._shown.update(self._task, completed=completed, description=description, total=total)
