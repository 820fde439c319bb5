"""What a training process writes for its sender: one configuration, then rows and names of metrics."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, Final

import msgspec

ROW: Final = struct.Struct("<Iqd")
"""number of the metric, milliseconds since the Unix epoch, value"""
NAME_CHARS_MAX: Final = 128
_NAME: Final = 0xFFFF_FFFF
"""in place of the number of a metric: its run and name follow, in ts bytes, for the number in value"""
_SIZE: Final = struct.Struct("<I")


class MetricName(msgspec.Struct, frozen=True, array_like=True):
    """``run`` "": of the configuration."""

    run: str
    metric: str


class SenderConfig(msgspec.Struct, frozen=True):
    """The cache keeps what was logged for ``cache_s`` seconds, ``cache_bytes`` at most. ``series``
    begins the ids of all events."""

    url: str
    token: str
    tenant: str
    model: str
    run: str
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
    names: dict[int, MetricName]
    rows: bytes

    def __len__(self) -> int:
        return len(self.rows) // ROW.size

    def events(self, config: SenderConfig) -> list[dict[str, Any]]:
        rows = [*ROW.iter_unpack(self.rows)]
        heads = {number: _head(self.names[number], config) for number in {row[0] for row in rows}}
        return [
            {**heads[number], "event_id": f"{config.series}-{at}", "ts": ts, "value": value}
            for at, (number, ts, value) in enumerate(rows, self.first)
        ]


def _head(name: MetricName, config: SenderConfig) -> dict[str, Any]:
    head = {"tenant_id": config.tenant, "model_id": config.model, "metric": name.metric}
    run = name.run or config.run
    return {**head, "run_id": run} if run else head


def name_record(number: int, name: MetricName) -> bytes:
    content = msgspec.msgpack.encode(name)
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


def split(content: bytes, names: dict[int, MetricName]) -> tuple[bytes, bytes]:
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
        name = content[at + ROW.size : start]
        names[int(value)] = msgspec.msgpack.decode(name, type=MetricName)
        at = start
    rows.append(content[start:at])
    return b"".join(rows), content[at:]


def frames(chunks: Iterable[bytes], names: dict[int, MetricName]) -> Iterator[RowFrame]:
    """``chunks`` are what is read at a time."""
    rest, first = b"", 0
    for chunk in chunks:
        rows, rest = split(rest + chunk, names)
        if rows:
            yield RowFrame(first, names, rows)
            first += len(rows) // ROW.size
