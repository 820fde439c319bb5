"""A declared ClickHouse table: accepted and refused rows, and its DDL."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from streams.core.errors import UsageError
from streams.core.records.bad_records import RowUnfit
from streams.core.rows.clickhouse_table import ClickHouseTable, Column

SALES = ClickHouseTable(
    name="sales",
    columns={"account": "LowCardinality(String)", "amount": Column(float, codec="ZSTD(1)"), "sold": datetime},
    order_by=("account", "sold"),
    shard_by=("account",),
    ttl_days=30,
    in_epoch=True,
    description="What was sold; it's one row per sale.",
)  # fmt: skip
ROW = {"account": "a", "amount": 2, "sold": 1_700_000_000_000}


def test_the_engine_adds_version_time_and_epoch() -> None:
    assert [*SALES.types] == ["account", "amount", "sold", "epoch", "ver", "at"]
    assert SALES.key == ("account", "sold", "epoch")


def test_a_row_is_converted_to_the_types_of_its_columns() -> None:
    assert SALES.fit(ROW) == {**ROW, "amount": 2.0}


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"account": "a", "amount": 1.0}, "has no 'sold'"),
        ({**ROW, "region": "eu"}, "has no column 'region'"),
        ({**ROW, "amount": "2"}, "column 'amount' of sales: expected a number, got str '2'"),
    ],
)
def test_a_row_that_does_not_fit_is_a_defect_of_its_record(row, why) -> None:
    with pytest.raises(RowUnfit, match=why):
        SALES.fit(row)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "my sales"},
        {"columns": {**SALES.columns, "x y": str}},
        {"columns": {**SALES.columns, "ver": int}},
        {"columns": {**SALES.columns, "epoch": int}},
        {"columns": {**SALES.columns, "size": "Int256"}},
        {"columns": {**SALES.columns, "account": "Nullable(String)"}},
        {"order_by": ("account", "when")},
        {"order_by": ("account", "sold", "epoch")},
        {"order_by": ()},
        {"shard_by": ("amount",)},
        {"shard_by": ()},
        {"ttl_days": 0},
    ],
)
def test_an_invalid_declaration_is_refused_at_once(change) -> None:
    declared = {
        name: getattr(SALES, name)
        for name in ("name", "columns", "order_by", "shard_by", "ttl_days", "in_epoch")
    }
    with pytest.raises(UsageError, match="ClickHouse table"):
        ClickHouseTable(**{**declared, **change})


def test_statements_make_the_table_and_add_what_an_older_form_lacks() -> None:
    create, add, comment, ttl = SALES.create("acme", "ReplacingMergeTree(ver)")
    assert create == (
        "CREATE TABLE IF NOT EXISTS acme.sales_local\n"
        "(\n"
        "    account LowCardinality(String),\n"
        "    amount Float64 CODEC(ZSTD(1)),\n"
        "    sold DateTime64(3, 'UTC'),\n"
        "    epoch UInt32,\n"
        "    ver UInt64,\n"
        "    at DateTime64(3, 'UTC') DEFAULT now64(3)\n"
        ")\n"
        "ENGINE = ReplacingMergeTree(ver)\n"
        "ORDER BY (account, sold, epoch)\n"
        "TTL toDateTime(at) + INTERVAL 30 DAY DELETE\n"
        "SETTINGS fsync_after_insert = 1, fsync_part_directory = 1\n"
        "COMMENT 'What was sold; it\\'s one row per sale.'"
    )
    assert add.startswith(
        "ALTER TABLE acme.sales_local\n    ADD COLUMN IF NOT EXISTS amount Float64"
    )
    assert "account" not in add, "a key column cannot be added"
    assert comment.endswith("MODIFY COMMENT 'What was sold; it\\'s one row per sale.'")
    assert ttl.endswith("MODIFY TTL toDateTime(at) + INTERVAL 30 DAY DELETE")


def test_a_table_without_a_lifetime_has_no_ttl() -> None:
    statements = replace(SALES, ttl_days=None).create("acme", "ReplacingMergeTree(ver)")
    assert not any("TTL" in statement for statement in statements)
