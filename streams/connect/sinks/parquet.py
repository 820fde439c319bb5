"""Rows of agents as Parquet files, local or in an object store: one file for each batch of a commit.

    LINES = app.sink("lines", columns={...}, open=parquet_folder("s3://bucket/lines"))

A file is called after its batch, so that the same rows written again replace themselves, and it is
written whole: a local file under another name that is then moved, an object in one upload. Whatever
``*.parquet`` a reader finds is therefore complete, and holds each row once. A commit of a partition
makes at most one file a second by default (DIA_COMMIT_INTERVAL_S).
"""

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
    """Opens a sink that writes below ``uri``: a path, or what `pyarrow.fs` opens (``file:``, ``s3:``,
    ``gs:``). Raises ValueError for a URI of another kind when the sink is opened."""

    def open_sink(declared: DeclaredSink, settings: Settings) -> ParquetFolder:
        del settings
        system, path = files.FileSystem.from_uri(uri) if "://" in uri else (None, uri)
        return ParquetFolder(declared, system or files.LocalFileSystem(), path, compression)

    return open_sink


class ParquetFolder:
    """Implements `streams.core.rows.row_sink.RowSink`. Writes in a thread; raises OSError when it cannot."""

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
        # Only a local file can be seen half written.
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
