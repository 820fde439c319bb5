"""Parquet files of a sink: complete, named by their batch, each row once."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from streams.connect.sinks.parquet import parquet_folder
from streams.core.rows.row_sink import DeclaredSink, RowBatch
from streams.core.settings import Settings
from streams.core.types import TopicPartition

COLUMNS = {
    "account": "LowCardinality(String)",
    "amount": float,
    "sold": datetime,
    "tags": "Map(String, UInt32)",
}


def batch(version: int, *amounts: float) -> RowBatch:
    columns = {
        "account": ["a"] * len(amounts),
        "amount": list(amounts),
        "sold": [1_760_000_000_000] * len(amounts),
        "tags": [{"n": 1}] * len(amounts),
        "ver": [version] * len(amounts),
        "at": [1_760_000_000_500] * len(amounts),
    }
    return RowBatch("lines", "acme-group", TopicPartition("orders", 3), version, 0, columns)


@pytest.fixture
def opened(tmp_path):
    def open_at(uri: str):
        declared = DeclaredSink(name="lines", columns=COLUMNS, open=parquet_folder(uri))
        return declared.open(declared, Settings())

    return open_at


@pytest.mark.parametrize("scheme", ["", "file://"])
async def test_a_batch_written_twice_is_one_file(opened, tmp_path, scheme):
    """A commit that is repeated after a crash leaves one copy."""
    folder = tmp_path / "made" / "lines"
    sink = opened(f"{scheme}{folder}")
    for one in (batch(7, 1.0, 2.0), batch(8, 3.0), batch(7, 1.0, 2.0)):
        await sink.write(one)
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"acme-group.orders-3-{version:014x}-0.parquet" for version in (7, 8)]
    rows = pq.read_table(folder).to_pylist()
    assert sorted(row["amount"] for row in rows) == [1.0, 2.0, 3.0]
    assert rows[0]["sold"].timestamp() == 1_760_000_000
    assert rows[0]["tags"] == [("n", 1)]
    await sink.close()


async def test_an_incomplete_file_is_removed(opened, tmp_path, monkeypatch):
    """Readers take every .parquet file as complete; the batch is tried again."""
    folder = tmp_path / "lines"
    sink = opened(str(folder))
    real = pq.write_table

    def broken(rows, where, **options):
        Path(where).write_bytes(b"PAR1 half")
        raise OSError("no space left on device")

    monkeypatch.setattr(pq, "write_table", broken)
    with pytest.raises(OSError, match="no space left"):
        await sink.write(batch(7, 1.0))
    assert [*folder.iterdir()] == []
    monkeypatch.setattr(pq, "write_table", real)
    await sink.write(batch(7, 1.0))
    assert len([*folder.iterdir()]) == 1
