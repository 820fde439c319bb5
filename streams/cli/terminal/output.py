"""Output of commands: data on stdout in one of four forms, progress and errors on stderr."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any, Protocol, TextIO

from streams.cli.terminal.output_form import OutputForm
from streams.core.errors import DiaError
from streams.core.masking import masked
from streams.core.words.printable import lines_printable, printable

_CONTROLS = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Valid in JSON but active in a terminal: C1 controls, and marks that reverse the text
direction."""

PROGRESS_LINE_INTERVAL_S = 5.0
"""Without a terminal a progress line is a log line, so it is rare."""


class ProgressCount(Protocol):
    def advance(self, amount: float = 1) -> None: ...

    def update(
        self,
        *,
        completed: float | None = None,
        description: str | None = None,
        total: float | None = None,
    ) -> None:
        """None leaves a value unchanged."""
        ...


@dataclass(frozen=True, slots=True)
class Printer:
    """Checks at each call whether a stream is a terminal."""

    form: OutputForm = OutputForm.TABLE
    quiet: bool = False

    def rows(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[Any]],
        detail: Collection[str] = (),
        *,
        heads: bool = True,
    ) -> None:
        """JSON: one object a line; CSV: a header line first, unless ``heads`` is false. Both are streamed; a
        table needs all rows. ``detail``: columns that a table leaves out on a terminal that is too narrow for all."""
        if self.form is OutputForm.JSON:
            for row in rows:
                _write_json(dict(zip(columns, row, strict=True)))
        elif self.form is OutputForm.CSV:
            writer = csv.writer(sys.stdout, lineterminator="\n")
            shown = printable if sys.stdout.isatty() else str
            if heads:
                writer.writerow([shown(column) for column in columns])
            writer.writerows([shown(_cell(value)) for value in row] for row in rows)
        else:
            table = [[printable(_cell(value)) for value in row] for row in rows]
            names = [printable(column) for column in columns]
            if sys.stdout.isatty() and self.form is OutputForm.TABLE:
                self._draw(names, table, detail)
            else:
                _write_aligned([names, *table])

    def record(self, fields: Mapping[str, Any]) -> None:
        """JSON: one object, on one line."""
        if self.form is OutputForm.JSON:
            _write_json(fields)
        elif self.form is OutputForm.CSV:
            self.rows(list(fields), [list(fields.values())])
        else:
            _write_aligned(
                [[printable(name), printable(_cell(value))] for name, value in fields.items()]
            )

    def say(self, text: str) -> None:
        """A message on stderr; ``--quiet`` suppresses it."""
        if not self.quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """A message on stderr, also with ``--quiet``. A full disk behind stderr ends no command."""
        with suppress(OSError):
            print(lines_printable(masked(text)), file=sys.stderr, flush=True)

    @contextmanager
    def progress(
        self, description: str, total: float | None = None, unit: str = ""
    ) -> Iterator[ProgressCount]:
        """A bar on stderr while the block runs; without a terminal, a line every few seconds."""
        if self.quiet:
            yield _Silent()
        elif sys.stderr.isatty():
            with _bar(description, total, unit) as bar:
                yield bar
        else:
            lines = _Lines(sys.stderr, description, total, unit)
            yield lines
            lines.close()

    def _draw(
        self, columns: Sequence[str], table: Sequence[Sequence[str]], detail: Collection[str]
    ) -> None:
        from rich.console import Console

        from streams.cli.terminal.table import lines, shown_columns

        console = Console()
        shown = shown_columns(columns, table, detail, console.width)
        rows = [[row[index] for index in shown] for row in table]
        for line in lines([columns[index] for index in shown], rows, console.width):
            console.print(line)
        if len(shown) < len(columns):
            left = [name for index, name in enumerate(columns) if index not in shown]
            self.say(f"-o wide also shows {', '.join(left)}")


def show_error(error: DiaError) -> None:
    """Print what, why and the next command on stderr; notes follow one a line."""
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
    """Escapes `_CONTROLS`, and all beyond ASCII for a stream without UTF-8."""
    ascii_only = "utf" not in (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
    text = json.dumps(_finite(value), default=_plain, ensure_ascii=ascii_only)
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _finite(value: Any) -> Any:
    """Null for NaN and infinities, which JSON lacks."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_finite(item) for item in value]
    return value


def _plain(value: Any) -> Any:
    """Types that the json module lacks; text as the last resort."""
    if isinstance(value, datetime):
        return _moment(value)
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
    """None is empty, floats keep their precision."""
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, datetime):
        return _moment(value)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, list | tuple | dict):
        return _json(value)
    return str(value)


def _moment(value: datetime) -> str:
    """ISO 8601, with Z for UTC, which drivers leave without a zone; another zone of a column stays."""
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return aware.isoformat().replace("+00:00", "Z")


def _write_aligned(table: Sequence[Sequence[str]]) -> None:
    """Columns padded to their widest cell, except the last."""
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
    """At most one line every `PROGRESS_LINE_INTERVAL_S`, and a last one."""

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
