"""The ClickHouse users of the composed stack, each with its grants on a real engine: the statements
of its process run, and all others are refused.

The engine is that of the local stack. It reads the users of ``docker/clickhouse/users.xml`` and
checks grants, profiles and constraints as a server does. It does not cover what needs a server: the
grants on tables of ``system``, and the statements of a cluster.
"""

from __future__ import annotations

import contextlib
import copy
import re
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
import yaml

from agents.app import app
from streams.connect.access.tokens import Role, TokenFile
from streams.connect.sinks import schema
from streams.connect.sinks.backups.clickhouse import ClickHouseBackups
from streams.connect.sinks.clickhouse import ClickHouseShards
from streams.connect.sinks.shard_maps import replica_at
from streams.connect.sinks.tenant_reader import condition, statements, tables_of_tenants
from streams.core.clock import SystemClock
from streams.core.command_errors import BackupFailed
from streams.core.errors import ShardUnavailable
from streams.core.process.proxies import DIRECT
from streams.core.settings import Settings
from streams.engine.runtime.effects import effects
from streams.http.edge.simulations import Simulations
from tests.integration.clickhouse.conftest import DAY_S, Front
from tests.integration.clickhouse.test_console import EVERYONES, PATHS, TENANTLESS
from tests.integration.clickhouse.test_dashboard_queries import PANELS, _filled_in
from tests.integration.clickhouse.test_simulation_results import _row
from tests.listening import console, listening

ROOT = Path(__file__).parents[3]
USERS = ET.parse(ROOT / "docker/clickhouse/users.xml").getroot()
PROGRAM = str(Path(__file__).parent / "granted_front.py")
ROLES = ("worker", "console", "edge", "reader", "backup")
UNBOUNDED = ("worker", "backup")
DENIED, CONSTRAINED, READONLY = 497, 452, 164
TENANT = "acme"
CAPACITY = "/api/capacity"

FORBIDDEN_TO_ALL = [
    "CREATE TABLE dia.other (a Int8) ENGINE = Memory",
    "CREATE DATABASE other",
    "CREATE USER other IDENTIFIED WITH no_password",
    "GRANT SELECT ON dia.* TO default",
    "DROP TABLE dia.m1_local",
    "DROP VIEW dia.m1",
    "TRUNCATE TABLE dia.m1_local",
    "ALTER TABLE dia.m1_local DELETE WHERE 1",
    "ALTER TABLE dia.m1_local UPDATE n = 0 WHERE 1",
    "ALTER TABLE dia.m1_local DROP PARTITION ID 'all'",
    "ALTER TABLE dia.m1_local MODIFY TTL w + INTERVAL 1 DAY",
    "DELETE FROM dia.m1_local WHERE 1",
    "OPTIMIZE TABLE dia.m1_local FINAL",
    "RENAME TABLE dia.m1_local TO dia.other",
    "DETACH TABLE dia.m1_local",
    "SYSTEM SHUTDOWN",
    "SYSTEM STOP MERGES dia.m1_local",
    "INSERT INTO dia.migrations_local (label, checksum) SELECT 'V001__windows', ''",
    "INSERT INTO dia.shard_map_local (shard, digest, description) SELECT 1, 'other', 'other'",
    "INSERT INTO dia.shard_maps_local (version, digest, map, in_force) SELECT 2, 'other', '', 1",
    "INSERT INTO dia.shard_moves_local (version, day, state) SELECT 2, 20000, 2",
    "INSERT INTO dia.shard_move_notes_local (version, name, note) SELECT 2, 'order', ''",
    "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "INSERT INTO FUNCTION file('/tmp/other', 'TSV', 'a Int8') SELECT 1",
    "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
    "SELECT * FROM remote('127.0.0.1', 'dia', 'm1_local')",
    "SELECT * FROM system.users",
]
INSERTS = "INSERT INTO dia.m1_local (tenant, model, metric) SELECT 'acme', 'm', 'forged'"
BOUNDS = ["max_execution_time", "max_memory_usage", "max_result_rows"]


def _users_of(role: str, folder: Path) -> Path:
    """The user ``role`` as the engine's ``default``, with the profiles of the file."""
    root = ET.Element("clickhouse")
    profiles = copy.deepcopy(USERS.find("profiles"))
    if profiles.find("default") is None:
        ET.SubElement(profiles, "default")
    root.append(profiles)
    ET.SubElement(ET.SubElement(root, "quotas"), "default")
    user = copy.deepcopy(USERS.find(f"users/{role}"))
    user.tag = "default"
    user.find("password").attrib.clear()
    ET.SubElement(root, "users").append(user)
    file = folder / f"{role}.xml"
    ET.ElementTree(root).write(file)
    return file


def _settings(front: Front, folder: Path) -> Settings:
    return Settings(
        clickhouse_shards=f"http://127.0.0.1:{front.port}",
        clickhouse_user="default",
        clickhouse_password_file=str(folder / "password"),
        clickhouse_database="dia",
    )


@contextlib.asynccontextmanager
async def _shards(settings):
    shards = ClickHouseShards.from_settings(settings, SystemClock(), app.clickhouse_tables)
    try:
        yield shards
    finally:
        await shards.close()


@pytest.fixture(scope="module")
def migrated(tmp_path_factory):
    """The folder of a shard that the operator's user has migrated, with one result."""
    folder = tmp_path_factory.mktemp("granted")
    front = Front(folder)
    [server] = schema.servers(_settings(front, folder), app.clickhouse_tables)
    assert server.migrator.apply()
    server.replica.command(
        "INSERT INTO dia.simulations_local (tenant, idempotency_key, request_id, scenario, status, "
        f"summary) VALUES ('{TENANT}', 'key', 'r', 's', 'completed', '{{}}')"
    )
    server.replica.command(
        "INSERT INTO dia.m1_local (tenant, model, metric, w, n) "
        f"SELECT arrayJoin(['{TENANT}', 'globex']), 'm', 'k', now(), 1"
    )
    server.replica.close()
    assert front.stop() == 0, front.log.read_text()
    shutil.copytree(folder, _copy_of(folder), symlinks=True)
    return folder


def _copy_of(folder: Path) -> Path:
    """Two servers run at once, and each needs a folder."""
    return folder.with_name(f"{folder.name}-copy")


@pytest.fixture(scope="module", params=ROLES)
def role(request):
    return request.param


@pytest.fixture(scope="module")
def granted(role, migrated):
    """The shard with the grants of one user."""
    folder = ("--backups", str(migrated / "backups"))
    front = Front(migrated, (PROGRAM, str(_users_of(role, migrated))), folder)
    yield front
    assert front.stop() == 0, front.log.read_text()


def _code(front: Front, sql: str, **query: str) -> int:
    """ClickHouse's error code; 0 if the statement ran."""
    _, _, headers = front.http(sql.encode(), **query)
    return int(headers.get("X-ClickHouse-Exception-Code", 0))


async def test_each_process_may_run_its_statements(
    role, granted, migrated, minutes_of, yesterday, tmp_path
):
    """A missing right would show only in production: no local stack has these users."""
    settings = replace(_settings(granted, migrated), home=str(tmp_path))
    sent = {"worker": _work, "console": _show, "edge": _find, "reader": _draw, "backup": _copy}
    await sent[role](settings, granted, minutes_of, yesterday())


async def _work(settings, granted, minutes_of, start_s):
    """Rows of windows and of every outbox, roll-ups, and the wait for replicas before them."""
    rows = minutes_of(TENANT, start_s, np.arange(120.0), 0)
    async with _shards(settings) as shards:
        await shards.ping(0)
        assert shards.confirmed
        await shards.insert(0, [rows])
        await shards.roll_up(0, "h1", start_s)
        await shards.roll_up(0, "d1", start_s)
        for key, value in effects.facts(1, "simulations", [_row(TENANT, "other", "r", 1)]):
            await shards.insert(0, effects.fact_rows(shards.tables, key, value, lambda key: 0))
    for name, table in app.clickhouse_tables.items():
        columns = ", ".join(table.types)
        sql = f"INSERT INTO {name}_local ({columns}) SELECT {columns} FROM {name}_local LIMIT 0"
        assert _code(granted, sql, database="dia") == 0, name
    async with _shards(replace(settings, clickhouse_cluster="dia")) as replicated:
        await replicated.insert(0, [rows])
        # The engine has no replicated tables; it checks the grant before it reports that.
        with pytest.raises(ShardUnavailable, match="is not replicated"):
            await replicated.roll_up(0, "h1", start_s)


async def _show(settings, granted, minutes_of, start_s):
    """Every path of the console, as a tenant and as an admin."""
    file, now_ms = TokenFile.of(Path(settings.home)), SystemClock().now_ms()
    tokens = [
        file.create(tenant=tenant, role=role, now_ms=now_ms)[1]
        for tenant, role in ((TENANT, Role.READ), (None, Role.ADMIN))
    ]
    asked = {
        "model": "m",
        "metric": "k",
        "from": "-6h",
        "tenant": TENANT,
        "key": "key",
        "of": "model",
    }
    with listening(lambda: console(settings)) as url:
        async with httpx.AsyncClient(base_url=url, timeout=60, mounts=DIRECT) as client:
            for path in (*PATHS, CAPACITY):
                params = {} if path in TENANTLESS or path == CAPACITY else asked
                for token in tokens[1:] if path in {*EVERYONES, CAPACITY} else tokens:
                    headers = {"Authorization": f"Bearer {token}"}
                    answer = await client.get(path, headers=headers, params=params)
                    assert answer.status_code == 200, (path, answer.text)
                    # A refused statement passes for a shard that is away.
                    assert '"degraded":true' not in answer.text, (path, answer.text)
            shown = await client.get("/api/simulations", headers=headers, params=asked)
    [one] = shown.json()["simulations"]
    assert one["request_id"] == "r"


async def _find(settings, granted, minutes_of, start_s):
    """The results of a simulation, from any replica that does not lag."""
    url = settings.clickhouse_shards
    twice = replace(settings, clickhouse_shards=f"{url}|{url}", clickhouse_cluster="dia")
    for found in (Simulations(settings), Simulations(twice)):
        try:
            [one] = await found.results(TENANT, "key")
            assert one["request_id"] == "r"
        finally:
            found.close()


async def _draw(settings, granted, minutes_of, start_s):
    """Every panel of the dashboards."""
    for panel in PANELS:
        for table in ("m1", "h1", "d1"):
            sql = _filled_in(panel["sql"], "dia", start_s - start_s % DAY_S, table)
            assert _code(granted, sql) == 0, panel["title"]


async def _copy(settings, granted, minutes_of, start_s):
    """A backup of every table, and what its manifest says of the server."""
    folder = Path(settings.clickhouse_password_file).parent / "backups"
    place = f"File('{folder}/one/shard-0')"
    replica = replica_at(settings, settings.clickhouse_shards)
    server = ClickHouseBackups(replica, "dia", timeout_s=200, check=lambda: None)
    tables = server.tables()
    assert {"m1_local", "ledger_local"} <= {table.name for table in tables}
    for table in tables:
        if "ver" in table.columns:
            server.digests(table)
    assert server.migrations()
    server.ledger()
    server.dispositions()
    assert server.back_up([table.name for table in tables], place, None).files
    refused = pytest.raises((BackupFailed, ShardUnavailable), match=r"refuses user|privileges")
    with refused:
        server.make_scratch("dia_backup_check", tables)
    with refused:
        server.restore("m1_local", place)
    server.close()


def test_no_process_may_run_the_operators_statements(role, granted):
    """A process that listens on a network, or runs an app's code, must not be able to delete or
    forge rows."""
    refusals = {DENIED} if role in UNBOUNDED else {DENIED, READONLY}
    codes = {sql: _code(granted, sql) for sql in FORBIDDEN_TO_ALL}
    assert {sql: code for sql, code in codes.items() if code not in refusals} == {}


def test_only_workers_write_rows(role, granted):
    """A tenant's figures come from its events only."""
    assert (_code(granted, INSERTS) == 0) is (role == "worker")


@pytest.mark.parametrize("name", BOUNDS)
def test_only_worker_and_backup_may_raise_their_limits(name, role, granted):
    """An unbounded query takes memory and time from inserts. 0 means no limit."""
    wanted = 0 if role in UNBOUNDED else CONSTRAINED
    for value in ("0", "1000000000000"):
        assert _code(granted, f"SELECT 1 SETTINGS {name} = {value}") == wanted, value
        assert _code(granted, "SELECT 1", **{name: value}) == wanted, value


def test_an_edge_reads_results_of_simulations_only(role, granted):
    """An edge is exposed to the network: a fault in it cannot show what it cannot read."""
    for table in ("m1_local", "m1", "dead_letters_local", "models_local"):
        wanted = DENIED if role == "edge" else 0
        assert _code(granted, f"SELECT count() FROM dia.{table}") == wanted, table


@pytest.fixture(scope="module")
def tenants_own(migrated):
    """A shard with two tenants' rows, whose user has the conditions of the policies of `dia query rights`."""
    folder = _copy_of(migrated)
    file = _users_of("reader", folder)
    tree = ET.parse(file)
    filters = ET.SubElement(ET.SubElement(tree.find("users/default"), "databases"), "dia")
    for name in tables_of_tenants(app.clickhouse_tables):
        ET.SubElement(ET.SubElement(filters, f"{name}_local"), "filter").text = condition(TENANT)
    tree.write(file)
    limited = Front(folder, (PROGRAM, str(file)))
    yield limited
    assert limited.stop() == 0, limited.log.read_text()


@pytest.mark.parametrize("table", ["m1_local", "m1_local FINAL", "m1", "minutes"])
def test_a_policy_of_a_table_holds_in_its_views(tenants_own, table):
    """A tenant's dashboard reads views: one that ignored the policy would show every tenant."""
    sql = f"SELECT arraySort(groupUniqArray(tenant)) FROM dia.{table} FORMAT TSV"
    status, body, _ = tenants_own.http(sql.encode())
    assert (status, body.strip()) == (200, f"['{TENANT}']".encode())


def test_clickhouse_reads_the_statements_of_a_tenants_user(tenants_own):
    """The local server has no users of its own, so it parses the statements and does not run them."""
    servers = {"cluster": True, "alone": False}
    for one in statements("dia", app.clickhouse_tables, TENANT, "acme", "secret", **servers):
        status, body, _ = tenants_own.http(f"EXPLAIN AST {one}".encode())
        assert status == 200, (one, body)


def test_the_tested_users_are_those_of_the_composed_stack():
    """A user without a test would have untested rights."""
    compose = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]
    given = {
        service["environment"].get("DIA_CLICKHOUSE_USER")
        for service in compose.values()
        if isinstance(service.get("environment"), dict)
    }
    assert {user.tag for user in USERS.find("users")} == set(ROLES)
    assert given - {None, "dia"} == {"worker", "console", "edge"}
    assert not re.search(r"\bALL\b", ET.tostring(USERS.find("users"), encoding="unicode"))
