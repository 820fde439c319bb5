"""Result columns of a statement as Arrow, with the meaning that ClickHouse's Arrow formats drop.

They write DateTime as the number of seconds. Here it becomes a timestamp, from the types that DESCRIBE
gives. A type whose Arrow form is a bare number or bytes is refused, with the function that shows it."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
from clickhouse_connect.driver.exceptions import DatabaseError

from streams.core.errors import UsageError

_OUTER = re.compile(r"(?:Nullable|LowCardinality|SimpleAggregateFunction)\((?:\w+, )?(.*)\)")
_ARRAY = re.compile(r"Array\((.*)\)")
_MOMENT = re.compile(r"DateTime(?:\('([^']+)'\))?")
_LOST = re.compile(
    r"\b(?:Enum(?:8|16)|IPv[46]|U?Int(?:128|256)|BFloat16|DateTime(?!64)|Interval[A-Z][a-z]+|AggregateFunction)\b"
)
"""Arrow has no such type, or not at this depth: a number or bytes would be written."""


_FAILURE = re.compile(rb"Code: (\d+)\. DB::[A-Za-z]*Exception: [^\x00]*")
_TAIL_BYTES = 32 << 10
"""Of an answer: a server appends its error to what it has sent."""


_END = b"\xff\xff\xff\xff\0\0\0\0"
"""of a complete stream of Arrow"""
_UNREADABLE = (pa.ArrowException, OSError, ValueError)
"""raised by pyarrow for bytes that are no stream"""


class AnswerBytes(io.RawIOBase):
    """The bytes of an answer as pyarrow reads them, and the last of them. ``source`` has read and close."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._tail = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._source.read(None if size < 0 else size)
        self._tail = (self._tail + data[-_TAIL_BYTES:])[-_TAIL_BYTES:]
        return data

    def close(self) -> None:
        self._source.close()
        super().close()

    def complete(self) -> bool:
        """Where text of an error happens to fill the columns of a batch, pyarrow sees an end without this."""
        return self._tail.endswith(_END)

    def failure(self) -> DatabaseError | None:
        """The error that the server appended, read after pyarrow could not go on."""
        self.read(_TAIL_BYTES)
        found = _FAILURE.search(self._tail)
        if found is None:
            return None
        text = found[0].partition(b"__exception__")[0].decode(errors="replace")
        return DatabaseError(text.strip(), code=int(found[1]))


def opened_stream(answer: AnswerBytes) -> pa.RecordBatchReader:
    """Raises `DatabaseError` as `record_batches`."""
    try:
        return pa.ipc.open_stream(answer)
    except _UNREADABLE as error:
        raise answer.failure() or error from error


def record_batches(answer: AnswerBytes, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """Raises `DatabaseError` with the error that the server appended."""
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            if not answer.complete():
                raise answer.failure() or OSError("the answer broke off") from None
            return
        except _UNREADABLE as error:
            raise answer.failure() or error from error
        yield batch


def schema_of(schema: pa.Schema, types: Sequence[tuple[str, str]]) -> pa.Schema:
    """``schema`` of the answer with the meaning of ``types``, each column's name and ClickHouse type.
    Without ``types`` it stays. Raises `UsageError` for a type that Arrow would hold without its meaning."""
    if len(types) != len(schema):
        return schema
    lost = [(name, kind) for name, kind in types if _is_lost(kind)]
    if lost:
        name, kind = lost[0]
        raise UsageError(
            f"Arrow and Parquet have no type for the column {name}, {kind}: its values would be bare numbers "
            f"or bytes. In the statement, toString({name}) gives text."
        )
    fields = [
        field.with_type(_meant(field.type, kind))
        for field, (_, kind) in zip(schema, types, strict=True)
    ]
    return pa.schema(fields)


def as_meant(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """``batch`` with the columns of ``schema``; columns that have their type already are not copied."""
    columns = [
        column if column.type == field.type else _moments(column, field.type)
        for column, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _is_lost(kind: str) -> bool:
    inner = _inner(kind)
    if array := _ARRAY.fullmatch(inner):
        return _is_lost(array[1])
    return _MOMENT.fullmatch(inner) is None and _LOST.search(inner) is not None


def _inner(kind: str) -> str:
    while outer := _OUTER.fullmatch(kind):
        kind = outer[1]
    return kind


def _meant(given: pa.DataType, kind: str) -> pa.DataType:
    inner = _inner(kind)
    if array := _ARRAY.fullmatch(inner):
        return pa.list_(given.value_field.with_type(_meant(given.value_type, array[1])))
    moment = _MOMENT.fullmatch(inner)
    return pa.timestamp("s", moment[1] or "UTC") if moment else given


def _moments(column: pa.Array, wanted: pa.DataType) -> pa.Array:
    return column.cast(_seconds(wanted)).cast(wanted)


def _seconds(wanted: pa.DataType) -> pa.DataType:
    """Arrow casts int64 to a timestamp, and no unsigned integer."""
    if pa.types.is_list(wanted):
        return pa.list_(wanted.value_field.with_type(_seconds(wanted.value_type)))
    return pa.int64() if pa.types.is_timestamp(wanted) else wanted
