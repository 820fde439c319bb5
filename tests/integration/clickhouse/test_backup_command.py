"""`dia backup` on a shard that is lost with its folder, and comes back from a backup."""

from __future__ import annotations

import asyncio
import json
import shutil

import pytest

from agents.app import app as built_in
from streams import cli
from streams.cli import clients
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import SystemClock
from streams.operate.topics.topics import wanted_topics
from tests.integration.clickhouse.conftest import Front

ROWS = (
    "INSERT INTO dia.m1_local (tenant, model, metric, w, part, inc, n, s1, ver) "
    "SELECT 't', 'm', toString(number % 7), toDateTime('2026-11-25') + number * 60, 0, 1, {n}, 0.1, "
    "{n} FROM numbers({first}, 60)"
)
LEDGER = (
    "INSERT INTO dia.ledger_local (grp, topic, part, next_offset, ver) SELECT 'g', 't', 0, {n}, {n}"
)
SHOWN = "SELECT count(), sum(n), groupBitXor(cityHash64(tuple(*))) FROM dia.m1_local FINAL"


@pytest.fixture
def shard(tmp_path):
    (tmp_path / "backups").mkdir()
    front = Front(tmp_path, options=("--backups", str(tmp_path / "backups")))
    (tmp_path / "password").chmod(0o600)
    yield front
    front.stop()


@pytest.fixture
def dia(shard, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DIA_CLICKHOUSE_SHARDS", f"http://127.0.0.1:{shard.port}")
    monkeypatch.setenv("DIA_CLICKHOUSE_USER", "default")
    monkeypatch.setenv("DIA_CLICKHOUSE_PASSWORD_FILE", str(tmp_path / "password"))
    monkeypatch.setenv("DIA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DIA_BACKUP_TO", f"file://{tmp_path}/backups")

    def run(*args, code=0):
        capsys.readouterr()
        answered = cli.main(("--json", *args))
        said, complained = capsys.readouterr()
        assert answered == code, complained
        return [json.loads(line) for line in said.splitlines()], complained

    return run


def test_a_lost_shard_comes_back_to_the_row(shard, dia, tmp_path):
    """From an incremental backup, onto an empty server, through a refusal of one with rows."""
    dia("migrate", "apply")
    client = shard.client()
    client.command(ROWS.format(n=2, first=0))
    client.command(LEDGER.format(n=60))
    [[made], _] = dia("backup", "create")
    [[second], _] = dia("backup", "create", "--if-due")
    assert (second["created"], second["newest_ms"]) == (None, made["newest_ms"])
    client.command(ROWS.format(n=3, first=30))
    dia("backup", "create")
    held = client.query(SHOWN).result_rows
    dia("backup", "verify")
    [[drilled], _] = dia("drill", "backup")
    assert (drilled["done"]["drill"], drilled["newest_ms"]["shard"]) == ("backup", None)
    [[kept], _] = dia("drill", "list")
    assert (kept["drill"], kept["rows"]) == ("backup", drilled["done"]["rows"])
    _, complained = dia("backup", "restore", "--yes", code=5)
    assert "holds rows" in complained

    shard.stop()
    shutil.rmtree(tmp_path / "data")
    shard.start()
    _, complained = dia("backup", "create", code=5)
    assert "does not say which shard it holds" in complained
    dia("backup", "restore", "--yes")
    assert shard.client().query(SHOWN).result_rows == held
    rows, _ = dia("migrate", "status")
    assert {row["state"] for row in rows} == {"applied"}
    [[row], _] = dia("query", "SELECT count() AS n FROM m1")
    assert row["n"] == held[0][0]
    # Repeated after its end, it changes nothing.
    dia("backup", "restore", "--yes")
    assert shard.client().query(SHOWN).result_rows == held
    listed, _ = dia("backup", "list")
    assert [one["state"] for one in listed] == ["whole"] * 2
    assert listed[0]["builds on"] == listed[1]["backup"]


async def _topics(broker):
    admin = await broker.admin()
    await admin.create_topics(wanted_topics(built_in.topology))
    await admin.close()


@pytest.fixture
def broker(monkeypatch):
    """Topics without a record: what the shard has is what the backup has."""
    empty = MemoryBroker(SystemClock())
    asyncio.run(_topics(empty))
    monkeypatch.setattr(clients, "broker_of", lambda settings: empty)
    return empty


def test_a_drill_compares_a_copy_with_the_shard_and_leaves_both(shard, dia, broker):
    """A difference is one that a lost shard would have, and the last good drill stays."""
    dia("migrate", "apply")
    client = shard.client()
    client.command(ROWS.format(n=2, first=0))
    client.command(LEDGER.format(n=60))
    _, complained = dia("backup", "create")
    _, complained = dia("drill", "shard", code=1)
    assert "no window that has been over" in complained
    client.command(
        "INSERT INTO dia.m1_local SELECT * REPLACE (at - INTERVAL 1 DAY AS at) FROM dia.m1_local FINAL"
    )
    client.command(LEDGER.replace("'g'", "'other'").format(n=7))
    held = client.query(SHOWN).result_rows
    [[drilled], _] = dia("drill", "shard")
    done = drilled["done"]
    assert (done["drill"], done["rows"], done["lost"]) == ("shard-0", 61, "ledger: 1")
    client.command(
        "INSERT INTO dia.m1_local SELECT * REPLACE (n + 1 AS n, ver + 1 AS ver) FROM dia.m1_local "
        "FINAL ORDER BY w LIMIT 1"
    )
    _, complained = dia("drill", "shard", code=1)
    assert "would not come back whole: 1 days differ: m1 2026-11-25: 120 events" in complained
    [[kept], _] = dia("drill", "list")
    assert kept["begun"] == done["begun"]
    assert client.query(SHOWN).result_rows != held
    databases = {name for (name,) in client.query("SHOW DATABASES").result_rows}
    assert "dia_backup_check" not in databases
