"""Rows as an Arrow stream or a Parquet file, for `-o arrow` and `-o parquet`: batch by batch, into stdout
or a file, never to a terminal."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streams.cli.terminal.output_form import QueryForm
from streams.core.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

GROUP_ROWS = 1 << 20
GROUP_BYTES = 32 << 20
"""A row group of Parquet is written at either; so much is held in memory."""

Write = Callable[["pa.RecordBatch"], None]


def refuse_terminal(form: QueryForm, file: Path | None) -> None:
    """Raises `UsageError` where bytes of ``form`` would reach a terminal."""
    if file is None and sys.stdout.isatty():
        raise UsageError(
            f"-o {form} writes bytes, which a terminal cannot show. Add --file rows.{form}, or redirect "
            f"stdout: > rows.{form}"
        )


@contextmanager
def column_file(form: QueryForm, schema: pa.Schema, file: Path | None) -> Iterator[Write]:
    """A function that takes the batches of ``schema``. ``file`` appears when the block ends well, whole;
    None writes to stdout. After an error neither form gets its end: a Parquet file then cannot be read."""
    if file is None:
        with _writer(form, schema, sys.stdout.buffer) as write:
            yield write
        sys.stdout.buffer.flush()
        return
    arriving = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with arriving.open("wb") as sink, _writer(form, schema, sink) as write:
            yield write
        arriving.replace(file)
    finally:
        arriving.unlink(missing_ok=True)


@contextmanager
def _writer(form: QueryForm, schema: pa.Schema, sink: Any) -> Iterator[Write]:
    gate = _Gate(sink)
    form_writer = _ArrowStream if form is QueryForm.ARROW else _RowGroups
    writer = form_writer(schema, gate)
    try:
        yield writer.write
        writer.finish()
    except BaseException:
        gate.shut = True
        raise
    finally:
        writer.close()


class _Gate(io.RawIOBase):
    """Shut, it drops what is written: pyarrow ends each file that it began, also one that broke off."""

    def __init__(self, sink: Any) -> None:
        self._sink = sink
        self.shut = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if not self.shut:
            self._sink.write(data)
        return len(data)

    def flush(self) -> None:
        return


class _ArrowStream:
    def __init__(self, schema: pa.Schema, sink: Any) -> None:
        import pyarrow as pa

        self._stream = pa.ipc.new_stream(sink, schema)

    def write(self, batch: pa.RecordBatch) -> None:
        self._stream.write_batch(batch)

    def finish(self) -> None:
        return

    def close(self) -> None:
        self._stream.close()


class _RowGroups:
    """Joins batches: a server's are of 65,000 rows or of one, and each row group costs bytes of the footer."""

    def __init__(self, schema: pa.Schema, sink: Any) -> None:
        import pyarrow.parquet as pq

        self._schema = schema
        self._parquet = pq.ParquetWriter(sink, schema, compression="zstd")
        self._held: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        self._held.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self.finish()

    def finish(self) -> None:
        import pyarrow as pa

        if self._rows:
            rows = pa.Table.from_batches(self._held, self._schema)
            self._parquet.write_table(rows, row_group_size=GROUP_ROWS)
        self._held.clear()
        self._rows = self._bytes = 0

    def close(self) -> None:
        self._parquet.close()
