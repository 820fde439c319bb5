"""`dia query` says where its answer may lack rows that a shard has acknowledged."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, cast

import pytest

from streams.cli import main
from streams.connect.sinks import clickhouse
from streams.connect.sinks.replica_group import READ_DELAY_MAX_S, ReplicaGroup
from streams.core.errors import ShardUnavailable


class Server:
    """A replica of one row, so many seconds ``behind_s``; None: it does not answer."""

    def __init__(self, behind_s):
        self.url = "http://127.0.0.1:1"
        self.behind_s = behind_s

    def delay_s(self):
        if self.behind_s is None:
            raise ShardUnavailable("away")
        return self.behind_s

    def rows(self, statement):
        self.delay_s()
        return nullcontext((["n"], iter([[1]])))

    def close(self):
        pass


@pytest.mark.parametrize(
    ("shards", "said"),
    [
        ([[90.0, 20.0], [0.0, 0.0]], ["shard 0", "last 20 s"]),
        ([[0.0, 0.0], [90.0, 20.0]], ["shard 1", "last 20 s"]),
        ([[0.0, 90.0], [90.0, 0.0]], []),
        ([[None, 20.0], [0.0]], ["shard 0", "last 20 s"]),
        ([[90.0], [90.0]], []),
    ],
    ids=[
        "its own shard",
        "another shard",
        "one replica is whole",
        "the whole one is away",
        "alone",
    ],
)
def test_sql_names_a_shard_of_which_every_replica_is_behind(monkeypatch, capsys, shards, said):
    """The views read all shards, so the server that answers does not know what another one lacks."""
    groups = [
        ReplicaGroup(cast(Any, [*map(Server, replicas)]), delay_max_s=READ_DELAY_MAX_S)
        for replicas in shards
    ]
    monkeypatch.setattr(clickhouse, "reading_groups", lambda settings: groups)
    monkeypatch.setenv("DIA_CLICKHOUSE_SHARDS", "http://127.0.0.1:1")
    assert main(["query", "SELECT sum(events) FROM minutes", "--json"]) == 0
    told = capsys.readouterr()
    assert told.out.strip() == '{"n": 1}'
    assert all(words in told.err for words in said)
    assert ("behind" in told.err) == bool(said)
