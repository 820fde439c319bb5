"""Resources that a statement may use on a local shard."""

from __future__ import annotations

import pytest

from agents.app import app
from streams.connect.sinks import view_source
from streams.dev.local.clickhouse_front import settings
from streams.dev.local.clickhouse_front.confinement import MAXIMA
from streams.dev.local.clickhouse_front.errors import (
    DATABASE_ACCESS_DENIED,
    SETTING_CONSTRAINT_VIOLATION,
    StatementFailed,
)
from streams.dev.local.clickhouse_front.statements import parse

SISTERS = {1: "http://127.0.0.1:8124"}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "SELECT file('/etc/passwd')",
        "SELECT `file`('/etc/passwd')",
        "SELECT \"file\" ('/etc/passwd')",
        r"SELECT `f\x69le`('/etc/passwd')",
        "SELECT 1 FROM (SELECT file /* x */ ('/etc/passwd'))",
        "DESCRIBE TABLE file('/etc/passwd')",
        "INSERT INTO FUNCTION file('/tmp/x', 'TSV', 'a String') SELECT 'a'",
        "INSERT INTO FUNCTION file('/tmp/x', 'TSV', 'a String') FORMAT TSV\na\n",
        "INSERT INTO TABLE FUNCTION url('http://127.0.0.1:1/', 'TSV', 'a String') VALUES ('a')",
        "INSERT INTO t VALUES (file('/etc/passwd'))",
        "SELECT * FROM url('http://127.0.0.1:1/', 'TSV', 'a String')",
        "SELECT * FROM url(dia_shard_1, url = 'http://192.0.2.1:80/', structure = 'a String')",
        "SELECT * FROM url(dia_shard_1, url = 'http://127.0.0.1:80@192.0.2.1/')",
        "SELECT * FROM url(dia_shard_1, url = concat('http://', '192.0.2.1/'))",
        "SELECT * FROM url(dia_shard_1, structure = 'a String', url = 'http://192.0.2.1/')",
        "SELECT * FROM url(other, url = 'http://127.0.0.1:80/')",
        "CREATE NAMED COLLECTION dia_shard_9 AS url = 'http://192.0.2.1/', format = 'Native'",
        "SELECT * FROM remote('192.0.2.1', system, one)",
        "SELECT * FROM s3('https://x/y')",
        "SELECT * FROM executable('x', 'TSV', 'a String')",
        "SELECT * FROM python('x')",
        "CREATE TABLE t (a String) ENGINE = File(TSV, '/etc/passwd')",
        "CREATE TABLE t (a String) ENGINE=URL('http://192.0.2.1/', TSV)",
        "CREATE TABLE t (a String) ENGINE = `File`(TSV)",
        "CREATE DATABASE d ENGINE = Filesystem('/')",
        "CREATE DICTIONARY d (k UInt64) PRIMARY KEY k SOURCE(HTTP(url 'http://192.0.2.1/'))",
        "BACKUP DATABASE dia TO File(concat('/tmp/', 'x'))",
        "BACKUP DATABASE dia TO Disk('default', 'x')",
        "BACKUP DATABASE dia TO S3('https://192.0.2.1/x', 'key', 'secret')",
        "BACKUP DATABASE dia TO S3(dia_shard_1, 'x')",
        "BACKUP DATABASE dia TO S3(dia_backups, 'x', url = 'https://192.0.2.1/')",
        "BACKUP DATABASE dia TO File('/tmp/x') SETTINGS base_backup = Disk('default', 'y')",
        "RESTORE DATABASE dia FROM Disk('default', 'x')",
        "ATTACH TABLE t FROM '/etc' (a String) ENGINE = Log",
        "SELECT * FROM default.`/etc/passwd`",
        "SELECT * FROM `default` . `/etc/passwd`",
        "USE default",
    ],
)
def test_a_statement_reaches_no_file_and_no_other_address(sql):
    """The engine itself would read any file of its user and connect to any address."""
    with pytest.raises(StatementFailed) as refused:
        parse(b"", sql.encode())
    assert (refused.value.code, refused.value.status) == (DATABASE_ACCESS_DENIED, 500)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT file, url FROM t WHERE file = 'file(1)' -- file('x')",
        "SELECT `file` FROM remote_runs",
        "CREATE TABLE t (a String DEFAULT 'x') ENGINE = ReplacingMergeTree(a) ORDER BY a",
        "CREATE TABLE t (a String) ENGINE = Memory",
        "SELECT * FROM system.databases WHERE engine = 'Memory'",
        "SELECT 1 SETTINGS max_threads = 1, max_execution_time = '5'",
        "CREATE TABLE t AS u ENGINE = Distributed('c', 'dia', 'u')",
        "INSERT INTO t (file) FORMAT TSV\nfile('x')\n",
        "INSERT INTO t FORMAT Native\n\x00file('x')",
        "SELECT * FROM numbers(3)",
        "BACKUP TABLE dia.m1_local TO File('/x') SETTINGS base_backup = File('/y') ASYNC",
        "RESTORE TABLE dia.m1_local FROM S3(dia_backups, 'x/shard-0')",
    ],
)
def test_a_statement_within_the_shard_is_served(sql):
    """Names in columns, strings, comments and payloads are not resources."""
    parse(b"", sql.encode())


def test_queries_of_views_over_peer_shards_are_served():
    """Otherwise a local stack with several shards would have no views."""
    for made in view_source.collections(SISTERS, "default", "secret"):
        parse(b"", made.encode())
    source = view_source.ViewSource(database="dia", sisters=SISTERS, tables=app.clickhouse_tables)
    for name in source.columns:
        parse(b"", f"CREATE VIEW v AS {source.rows(name)}".encode())


@pytest.mark.parametrize("sql", ["SELECT 1 SETTINGS {} = {}", "SET {} = {}", "SET {}='{}'"])
@pytest.mark.parametrize("name", MAXIMA)
def test_settings_are_bounded(name, sql):
    """Also if a statement sets them; 0 would mean unlimited."""
    most = MAXIMA[name]
    parse(b"", sql.format(name, most).encode())
    for value in (most + 1, 0, "1e99", -1):
        with pytest.raises(StatementFailed) as refused:
            parse(b"", sql.format(name, value).encode())
        assert refused.value.code in (SETTING_CONSTRAINT_VIOLATION, DATABASE_ACCESS_DENIED)


def test_settings_in_the_url_are_bounded_too():
    """Settings in the URL have the same bounds."""
    settings.of_request({"max_memory_usage": "1000", "max_execution_time": "5.0"}, {}, 1000)
    with pytest.raises(StatementFailed) as refused:
        settings.of_request({"max_memory_usage": str(1 << 31)}, {}, 1000)
    assert refused.value.code == SETTING_CONSTRAINT_VIOLATION
