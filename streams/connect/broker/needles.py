"""Which records of a batch contain one of some byte strings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from streams.core.types import RecordBatch


def containing(batch: RecordBatch, needles: Sequence[bytes]) -> RecordBatch:
    """The records whose key, value or a header's value contains one of ``needles``, with the same
    ``start`` and ``end``; without needles all."""
    if not needles:
        return batch
    records = zip(batch.keys, batch.values, batch.headers, strict=True)
    rows = [
        row
        for row, (key, value, headers) in enumerate(records)
        if any(needle in part for part in _parts(key, value, headers) for needle in needles)
    ]
    return batch.take(rows)


def _parts(
    key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]
) -> Iterator[bytes]:
    yield from (part for part in (key, value) if part is not None)
    yield from (content for _, content in headers)
