"""ClickHouse settings for replicated shards, and refusal of incomplete ones."""

from __future__ import annotations

import pytest

from streams.connect.sinks import replica as replicas
from streams.connect.sinks.clickhouse import shard_replicas
from streams.core.errors import UsageError
from streams.core.settings import Settings, load

TWO = "http://a:1|http://b:1"


def test_replicas_without_a_cluster_are_refused_by_every_process():
    """Without a cluster the replicas would share no rows, and a failover would lose counts."""
    with pytest.raises(UsageError, match="DIA_CLICKHOUSE_CLUSTER is empty"):
        load({"DIA_CLICKHOUSE_SHARDS": TWO})
    with pytest.raises(UsageError, match="DIA_CLICKHOUSE_CLUSTER is empty"):
        Settings(clickhouse_shards=TWO).shards()
    settings, _ = load({"DIA_CLICKHOUSE_SHARDS": TWO, "DIA_CLICKHOUSE_CLUSTER": "main"})
    assert settings.shards() == [["http://a:1", "http://b:1"]]


@pytest.mark.parametrize(("cluster", "quorum"), [("main", "auto"), ("", None)])
def test_an_insert_is_acknowledged_by_a_majority_of_replicas(monkeypatch, cluster, quorum):
    """The engine deletes an acknowledged row from its outbox, so one dead replica must not hold the
    only copy.
    """
    asked = {}

    class Client:
        http_retries = 1

        def query(self, *_, **__):
            return type("Result", (), {"result_rows": [], "column_names": []})

        def close(self):
            pass

    def connect(**options):
        asked.update(options["settings"])
        return Client()

    monkeypatch.setattr(replicas.clickhouse_connect, "get_client", connect)
    shards = TWO if cluster else "http://a:1"
    settings = Settings(clickhouse_shards=shards, clickhouse_cluster=cluster)
    shard_replicas(settings)[0][0].query("SELECT 1")
    assert asked.get("insert_quorum") == quorum
    assert asked.get("insert_quorum_parallel") == (1 if cluster else None)
    # The server would acknowledge a row that was lost and is written again, and not store it.
    assert asked.get("insert_deduplicate") == (0 if cluster else None)
    assert ("max_replica_delay_for_distributed_queries" in asked) == bool(cluster)
