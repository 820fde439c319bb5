"""`dia query rights`: statements for the servers on stdout, what to know before on stderr."""

from __future__ import annotations

import pytest

from streams.cli import main


@pytest.mark.parametrize(
    ("shards", "cluster", "words"),
    [
        ("http://127.0.0.1:1", "", ""),
        ("http://127.0.0.1:1,http://127.0.0.1:2", "", "no view"),
        ("http://127.0.0.1:1,http://127.0.0.1:2", "all", "<secret>"),
    ],
)
def test_the_statements_are_printed_and_the_warnings_apart(
    monkeypatch, tmp_path, capsys, shards, cluster, words
):
    """Stdout is given to a ClickHouse client. Policies of one's own lose their effect without a word of it."""
    monkeypatch.setenv("DIA_CLICKHOUSE_SHARDS", shards)
    monkeypatch.setenv("DIA_CLICKHOUSE_CLUSTER", cluster)
    file = tmp_path / "password"
    file.write_text("secret\n")
    file.chmod(0o600)
    given = ("--tenant", "acme", "--user", "acme", "--password-file", str(file))
    assert main(["query", "rights", *given]) == 0
    told = capsys.readouterr()
    assert all(line.endswith(";") for line in told.out.splitlines())
    assert told.out.startswith("CREATE USER OR REPLACE acme ")
    assert "AS RESTRICTIVE before you run this" in told.err
    assert words in told.err
    assert ("<secret>" in told.err) == bool(cluster)
