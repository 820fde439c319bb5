"""What a training process writes to its sender: one configuration, then rows and names of metrics.

Every write is smaller than a pipe takes at once (PIPE_BUF, pipe(7)): rows of several threads do not
mix, and a reader never sees half of one."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import msgspec

ROW: Final = struct.Struct("<Iqd")
"""number of the metric, milliseconds since the Unix epoch, value"""
NAME_CHARS_MAX: Final = 128
_NAME: Final = 0xFFFF_FFFF
"""in place of the number of a metric: its name follows, of ts bytes, for the number in value"""
_SIZE: Final = struct.Struct("<I")


class SenderConfig(msgspec.Struct, frozen=True):
    """``app`` and ``topic`` "": as commands find the app, and its first topic of metrics. The cache
    keeps what was logged for ``cache_s`` seconds, ``cache_bytes`` at most. ``series`` begins the ids
    of all events."""

    url: str
    token: str
    tenant: str
    model: str
    run: str
    app: str
    topic: str
    cache_s: float
    cache_bytes: int
    series: str


class SenderStatus(msgspec.Struct):
    """Events by their end so far. ``dropped``: older than the cache keeps them."""

    accepted: int = 0
    rejected: int = 0
    dropped: int = 0
    last_error: str = ""


class RowFrame(msgspec.Struct, frozen=True):
    """Rows that are sent together; row i has the event id ``series-(first + i)``."""

    first: int
    names: dict[int, str]
    rows: bytes

    def __len__(self) -> int:
        return len(self.rows) // ROW.size

    def events(self, config: SenderConfig) -> list[dict[str, Any]]:
        shared = {"tenant_id": config.tenant, "model_id": config.model}
        if config.run:
            shared["run_id"] = config.run
        return [
            {**shared, "event_id": f"{config.series}-{at}", "metric": self.names[metric], "ts": ts,
             "value": value}
            for at, (metric, ts, value) in enumerate(ROW.iter_unpack(self.rows), self.first)
        ]  # fmt: skip


def name_record(number: int, name: str) -> bytes:
    content = name.encode()
    return ROW.pack(_NAME, len(content), float(number)) + content


def config_record(config: SenderConfig) -> bytes:
    content = msgspec.msgpack.encode(config)
    return _SIZE.pack(len(content)) + content


def read_config(pipe: BinaryIO) -> SenderConfig | None:
    """None for a pipe that ended."""
    size = pipe.read(_SIZE.size)
    if len(size) < _SIZE.size:
        return None
    return msgspec.msgpack.decode(pipe.read(_SIZE.unpack(size)[0]), type=SenderConfig)


def split(content: bytes, names: dict[int, str]) -> tuple[bytes, bytes]:
    """The rows of ``content``, and the beginning of a record at its end. Enters names of metrics."""
    rows: list[bytes] = []
    at = start = 0
    while at + ROW.size <= len(content):
        number, size, value = ROW.unpack_from(content, at)
        if number != _NAME:
            at += ROW.size
            continue
        if at + ROW.size + size > len(content):
            break
        rows.append(content[start:at])
        start = at + ROW.size + size
        names[int(value)] = content[at + ROW.size : start].decode()
        at = start
    rows.append(content[start:at])
    return b"".join(rows), content[at:]


def frames(chunks: Iterator[bytes], names: dict[int, str]) -> Iterator[RowFrame]:
    """``chunks`` are what a pipe gives at a time."""
    rest, first = b"", 0
    for chunk in chunks:
        rows, rest = split(rest + chunk, names)
        if rows:
            yield RowFrame(first, names, rows)
            first += len(rows) // ROW.size
