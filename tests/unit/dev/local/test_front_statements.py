"""Parsing of a request: the end of its statement, the start of its payload, and its kind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.dev.local.clickhouse_front.errors import StatementFailed
from streams.dev.local.clickhouse_front.statements import Insert, StatementKind, parse

PATH = "/proc/self/fd/3"


def inserted(query: bytes, body: bytes) -> Insert:
    """The INSERT of a request that must be one."""
    statement = parse(query, body)
    assert statement.kind is StatementKind.INSERT
    assert statement.insert is not None
    return statement.insert


@given(st.binary())
def test_the_payload_is_untouched(payload: bytes) -> None:
    """Rows are binary: every byte must arrive."""
    assert bytes(inserted(b"", b"INSERT INTO t FORMAT Native\n" + payload).payload) == payload
    assert bytes(inserted(b"INSERT INTO t FORMAT Native", payload).payload) == payload


@pytest.mark.parametrize(
    "statement",
    [
        b"INSERT INTO t (a, `FORMAT x`) FORMAT TSV\n",
        b"insert into t format TSV\n",
        b"-- INSERT INTO x FORMAT CSV\nINSERT INTO t /* FORMAT CSV */ FORMAT TSV\r\n",
        b"INSERT INTO t FORMAT TSV;\n",
        b"INSERT INTO FUNCTION f('it''s FORMAT CSV\\'') FORMAT TSV\n",
    ],
)
def test_only_the_real_format_clause_counts(statement: bytes) -> None:
    """Keywords in strings, names, brackets and comments are not clauses."""
    insert = inserted(b"", statement + b"1\tFORMAT\tNative\n")
    assert insert.input_format == "TSV"
    assert bytes(insert.payload) == b"1\tFORMAT\tNative\n"


def test_settings_keep_their_place() -> None:
    """FROM INFILE goes before SETTINGS, or the engine does not parse it."""
    insert = inserted(b"", b"INSERT INTO t (a) SETTINGS x = 1 FORMAT CSV\n1\n")
    assert insert.from_file(PATH) == (
        f"INSERT INTO t (a)  FROM INFILE '{PATH}' COMPRESSION 'none' SETTINGS x = 1  FORMAT CSV"
    )


@pytest.mark.parametrize(
    ("sql", "kind", "output_format"),
    [
        (b"SELECT 1", StatementKind.SELECT, None),
        (b"/* x */ with 1 as a select a FORMAT JSON", StatementKind.SELECT, "JSON"),
        (b"SELECT 1 FORMAT CSV SETTINGS max_threads = 1;", StatementKind.SELECT, "CSV"),
        (b"SELECT 1 FORMAT CSV -- done", StatementKind.SELECT, "CSV"),
        (b"SELECT format FROM t", StatementKind.SELECT, None),
        (b"SELECT format('{}', 1) f", StatementKind.SELECT, None),
        (b"SELECT 'x FORMAT CSV'", StatementKind.SELECT, None),
        (b"(SELECT 1) UNION ALL (SELECT 2) FORMAT TSV", StatementKind.READ, "TSV"),
        (b"SHOW TABLES", StatementKind.READ, None),
        (b"CREATE TABLE t (a Int8) ENGINE = Memory", StatementKind.COMMAND, None),
        (b"INSERT INTO t VALUES (1, 'FORMAT CSV')", StatementKind.COMMAND, None),
        (b"INSERT INTO t FORMAT Values (1)", StatementKind.COMMAND, None),
        (b"INSERT INTO t SELECT 1 FORMAT CSV", StatementKind.COMMAND, None),
    ],
)
def test_kind_and_format_of_a_statement(
    sql: bytes, kind: StatementKind, output_format: str | None
) -> None:
    """SELECT streams, a payload needs INSERT, and `format` is also a function."""
    statement = parse(b"", sql)
    assert (statement.kind, statement.output_format) == (kind, output_format)
    assert statement.text == sql.decode()


def test_url_and_body_form_one_statement() -> None:
    """As on a server: the body continues the query parameter."""
    assert parse(b"SELECT 1,", b"2").text == "SELECT 1,\n2"


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        (b"", 62),
        (b" ;\n", 62),
        (b"INSERT INTO t FORMAT", 62),
        (b"SELECT 1 INTO OUTFILE 'x'", 48),
        (b"INSERT INTO t FROM INFILE 'x' FORMAT CSV", 48),
    ],
)
def test_a_refused_statement_has_its_code(sql: bytes, code: int) -> None:
    """An empty statement is a syntax error; files of the server are not reachable over HTTP."""
    with pytest.raises(StatementFailed) as caught:
        parse(b"", sql)
    assert caught.value.code == code
