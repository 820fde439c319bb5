"""The RocksDB `Store`: one database per partition, one atomic write per commit
(docs/protocols/changelog.md).

Folders: ``STATE_DIR/GROUP/TOPIC-PARTITION/NUMBER``; the highest number is current. If a store is
corrupt, or locked by another process, the next number is used and restored from the changelog.

RocksDB has no write-ahead log here. Buffers are flushed in write order, a write is in one buffer,
and there is one column family: so after a kill -9 the store is the state after one link.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import structlog
from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Options,
    Rdict,
    WriteBatch,
    WriteOptions,
)

from streams.core.errors import StoreUnusable
from streams.core.types import TopicPartition
from streams.engine.state.disk_files import DiskFiles

_WRITE_BUFFER_BYTES = 32 << 20
_BLOCK_CACHE_BYTES = 8 << 20
"""small: entries are large and read once, at restore"""
_UNFLUSHED = ("rocksdb.num-entries-active-mem-table", "rocksdb.num-entries-imm-mem-tables")
"""entries in the active buffer and in those being flushed. In this order, a buffer that moves from
the first to the second in between counts twice: the sum may be too high, but not too low"""
_FLUSHING = "rocksdb.num-immutable-mem-table"

log = structlog.get_logger(__name__)


class RocksStore:
    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        try:
            self._db = Rdict(str(path), _options())
        except Exception as error:  # rocksdict raises bare Exception for every failure
            raise StoreUnusable(f"the state folder {path} cannot be opened: {error}") from error
        self._path = path
        self._without_log = WriteOptions()
        # A property, which the wheel's stub declares as a method.
        self._without_log.disable_wal = True  # pyright: ignore[reportAttributeAccessIssue]
        self.files = DiskFiles(path / "files")

    @property
    def written_to(self) -> int:
        number: int = self._db.latest_sequence_number()
        return number

    @property
    def flushed_to(self) -> int:
        try:
            unflushed = [self._db.property_int_value(name) or 0 for name in _UNFLUSHED]
        except Exception as error:  # rocksdict raises bare Exception for every failure
            raise self._unreadable(error) from error
        # Each entry of a write has its own sequence number.
        return self.written_to - sum(unflushed)

    def get(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._db.get(key)
        except Exception as error:  # rocksdict raises bare Exception for every failure
            raise self._unreadable(error) from error
        return value

    def items(self, prefix: bytes = b"") -> Iterable[tuple[bytes, bytes]]:
        cursor = self._db.iter()
        cursor.seek(prefix)
        while cursor.valid():
            key = cursor.key()
            if not key.startswith(prefix):
                return
            yield key, cursor.value()
            cursor.next()
        try:
            # Without this check, a block with a bad checksum looks like the end.
            cursor.status()
        except Exception as error:  # rocksdict raises bare Exception for every failure
            raise self._unreadable(error) from error

    def write(self, entries: Iterable[tuple[bytes, bytes | None]]) -> None:
        batch = WriteBatch(raw_mode=True)
        for key, value in entries:
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        try:
            self._db.write(batch, self._without_log)
        except Exception as error:  # rocksdict raises bare Exception for every failure
            raise StoreUnusable(f"writing state to {self._path} failed: {error}") from error

    def flush(self) -> None:
        try:
            # During a flush, a second one would wait for it.
            if not self._db.property_int_value(_FLUSHING):
                self._db.flush(wait=False)
        except Exception as error:  # rocksdict raises bare Exception for every failure
            raise StoreUnusable(f"writing state to {self._path} failed: {error}") from error

    def close(self) -> None:
        self.files.close()
        try:
            self._db.close()
        except Exception as error:  # noqa: BLE001 - rocksdict raises bare Exception for every failure
            # It flushes first, which a full disk refuses: the next start continues from the flushed
            # link.
            log.warning("store_closed_unflushed", path=str(self._path), why=str(error))

    def _unreadable(self, error: Exception) -> StoreUnusable:
        return StoreUnusable(f"the state in {self._path} cannot be read: {error}")


def _options() -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(_WRITE_BUFFER_BYTES)
    options.set_max_write_buffer_number(2)
    options.set_max_open_files(64)
    options.set_compression_type(DBCompressionType.lz4())
    blocks = BlockBasedOptions()
    blocks.set_block_cache(Cache(_BLOCK_CACHE_BYTES))
    options.set_block_based_table_factory(blocks)
    options.set_keep_log_file_num(2)
    return options


class RocksFolder:
    """A `StoreFactory` for the state folder of one host and one consumer group."""

    def __init__(self, state_dir: Path, group: str) -> None:
        self._root = state_dir / group

    def __call__(self, tp: TopicPartition, fresh: bool) -> RocksStore:
        folder = self._root / f"{tp.topic}-{tp.partition}"
        numbers = sorted(int(p.name) for p in folder.glob("*") if p.name.isdecimal())
        current = numbers[-1] if numbers else 0
        if not fresh:
            return RocksStore(folder / str(current))
        store = RocksStore(folder / str(current + 1))
        for number in numbers:
            _remove(folder / str(number))
        return store


def _remove(path: Path) -> None:
    """Delete an abandoned folder, unless another process holds its lock."""
    try:
        Rdict(str(path), _options()).close()
    except Exception as error:  # noqa: BLE001 - rocksdict raises bare Exception for every failure
        if "lock" in str(error).lower():
            return
    shutil.rmtree(path, ignore_errors=True)
