"""Rows of agents as Parquet files, local or in an object store: one file per batch of a commit.

    LINES = app.sink("lines", columns={...}, open=parquet_folder("s3://bucket/lines"))

Files are named after their batch and appear atomically, so each ``*.parquet`` is complete and each
row is stored once. A partition writes at most one file per commit interval (DIA_COMMIT_INTERVAL_S,
1 s)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.fs as files
import pyarrow.parquet as pq

from streams.connect.sinks.arrow import arrow_type, plain
from streams.core.process.atomic_file import sync_path
from streams.core.rows.clickhouse_table import MOMENT
from streams.core.rows.column_type import TIME, ColumnType
from streams.core.rows.row_sink import DeclaredSink, OpenSink, RowBatch
from streams.core.settings import Settings

_UNFINISHED: Final = ".unfinished"
_TIME: Final = ColumnType(TIME)


def parquet_folder(uri: str, *, compression: str = "zstd") -> OpenSink:
    """Opens a sink that writes below ``uri``: a path, or a URI of `pyarrow.fs` (``file:``, ``s3:``,
    ``gs:``). Opening raises `ValueError` for any other."""

    def open_sink(declared: DeclaredSink, settings: Settings) -> ParquetFolder:
        del settings
        system, path = files.FileSystem.from_uri(uri) if "://" in uri else (None, uri)
        return ParquetFolder(declared, system or files.LocalFileSystem(), path, compression)

    return open_sink


class ParquetFolder:
    """Writes in a thread; raises `OSError` on failure."""

    def __init__(
        self, declared: DeclaredSink, system: files.FileSystem, path: str, compression: str
    ) -> None:
        self._system = system
        self._path = path.rstrip("/")
        self._compression = compression
        types = {**declared.types, MOMENT: _TIME}
        self._schema = pa.schema([(name, arrow_type(kind)) for name, kind in types.items()])
        self._made = False

    async def write(self, batch: RowBatch) -> None:
        await asyncio.to_thread(self._write, batch)

    def _write(self, batch: RowBatch) -> None:
        rows = pa.table(
            [plain(batch.columns[name]) for name in self._schema.names], schema=self._schema
        )
        if not self._made:
            self._system.create_dir(self._path, recursive=True)
            self._made = True
        final = f"{self._path}/{batch.name}.parquet"
        # Object uploads are atomic; local files are renamed.
        local = isinstance(self._system, files.LocalFileSystem)
        target = final + _UNFINISHED if local else final
        try:
            pq.write_table(rows, target, filesystem=self._system, compression=self._compression)
            if local:
                sync_path(Path(target))
                self._system.move(target, final)
                sync_path(Path(self._path))
        except BaseException:
            if local:
                with suppress(OSError):
                    self._system.delete_file(target)
            raise

    async def close(self) -> None:
        return
