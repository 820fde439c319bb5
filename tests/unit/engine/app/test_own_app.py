"""A user's app on a memory broker: its records, every command, and a second app on the cluster."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest

from streams import App
from streams.cli import clients, main
from streams.connect.access.tokens import Role, TokenFile
from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.sinks.memory import MemoryShards
from streams.core.clock import SystemClock
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.core.types import TopicPartition
from streams.engine.app.loading import load_app
from streams.engine.runtime.poison.poison import UNKNOWN_TENANT
from streams.engine.runtime.poison.poison_watch import PoisonWatch
from streams.engine.runtime.worker import Worker
from streams.engine.state.memory import MemoryDisk
from streams.http.console.serving import ConsoleProcess
from streams.http.edge.serving import EdgeProcess

PATIENT_S = 200

ORDERS = """
from streams import App, EventBatch, OutboundRecord, Record, Scope, TopicPartition
from streams.engine.engine_tables import SEEN_EVENTS

app = App("acme")

class Order(Record):
    account: str
    note: str = ""
    amount: float

class Total(Record):
    account: str
    amount: float

orders = app.topic("orders", value_type=Order, key_field="account", partitions=2, codec="CODEC")
totals = app.topic("totals", value_type=Total, key_field="account", partitions=2)

@app.batch_agent(orders, tables=(SEEN_EVENTS,))
def count(batch: EventBatch[Order], scope: Scope) -> None:
    applied = 0
    for index, order in enumerate(batch.events):
        if order.amount < 0:
            scope.dead_letter(batch.row(index), "negative", "an order cannot be negative")
            continue
        scope.send(totals, value=Total(account=order.account, amount=order.amount))
        applied += 1
    scope.count(applied=applied)
"""
BESIDE = """
from streams import App, Record

app = App("beta")

class Order(Record):
    account: str

orders = app.topic("TOPIC", value_type=Order, key_field="account", partitions=2)

@app.batch_agent(orders, group="GROUP")
def watch(batch, scope) -> None:
    scope.count(applied=len(batch))
"""


def _beside(topic="invoices", group="beta-group"):
    return BESIDE.replace("TOPIC", topic).replace("GROUP", group)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A working folder that holds the apps' modules."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("DIA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DIA_KAFKA_BOOTSTRAP", "broker:9092")
    yield tmp_path
    for name in ("acme_orders", "beta_orders"):
        sys.modules.pop(name, None)


@pytest.fixture
def broker(monkeypatch):
    made = MemoryBroker(SystemClock())
    monkeypatch.setattr(clients, "broker_of", lambda settings: made)
    return made


def _dia(*argv, app="acme_orders:app"):
    return main([*argv, "--app", app])


def _settings(home):
    return Settings(
        home=str(home / "home"),
        kafka_bootstrap="broker:9092",
        commit_interval_s=0.02,
        fetch_timeout_s=0.02,
    )


@asynccontextmanager
async def _running(home, broker, app, shards):
    clock = SystemClock()
    disk = MemoryDisk()
    worker = Worker(
        agents=tuple(app.agents.values()),
        broker=broker,
        shards=shards,
        stores=lambda group: disk,
        clock=clock,
        settings=_settings(home),
        metrics=Metrics(),
        instance_id=f"host-{app.name}",
    )
    task = asyncio.create_task(worker.run(lambda: None))
    try:
        yield worker
    finally:
        await worker.abandon()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _until(holds):
    async with asyncio.timeout(PATIENT_S):
        while not holds():  # noqa: ASYNC110 - a memory log has no notification
            await asyncio.sleep(0.01)


def _records(broker, topic, partitions=2):
    found = []
    for number in range(partitions):
        batch = broker.log(TopicPartition(topic, number)).read_committed(0, 1 << 30)
        found += list(zip(batch.keys, batch.values, strict=True))
    return found


async def _append(broker, topic, key, value):
    producer = broker.plain_producer()
    await producer.start()
    await (await producer.send(topic, key, value))
    await producer.close()


@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_a_users_topic_goes_through_every_command(home, broker, capsys, codec):
    """The user's module is enough: no topic needs code in the engine."""
    (home / "acme_orders.py").write_text(ORDERS.replace("CODEC", codec))
    assert _dia("topics", "apply") == 0
    assert _dia("topics", "plan") == 0
    assert _dia("schemas", "show", "orders") == 0
    assert '"account"' in capsys.readouterr().out
    lines = [{"account": "a", "amount": 1.5}, {"account": "b"}, {"account": "b", "amount": -1}]
    (home / "lines").write_text("\n".join(map(json.dumps, lines)))
    assert _dia("produce", "orders", "--file", str(home / "lines"), "--json") == 3
    said = capsys.readouterr()
    assert json.loads(said.out)["by_code"] == {"missing_field": 1}
    assert "line 2: missing_field" in said.err
    app = load_app("acme_orders:app")
    shards = MemoryShards(1, SystemClock())

    async def work():
        await _append(broker, "orders", b"a", b"\xff{")
        async with _running(home, broker, app, shards):
            await _until(lambda: len(_records(broker, "orders.dlq")) == 2)
            await _until(lambda: len(_records(broker, "totals")) == 1)

    asyncio.run(work())
    [(key, value)] = _records(broker, "totals")
    assert (key, json.loads(value)) == (b"a", {"account": "a", "amount": 1.5})
    ledger = shards.rows("ledger")
    assert {row["grp"] for row in ledger} == {"acme-group"}
    assert sum(row["read"] for row in ledger) == 3
    assert sum(row["applied"] for row in ledger) == 1
    unreadable = "invalid_utf8" if codec == "json" else "wrong_type"
    capsys.readouterr()
    assert _dia("dlq", "list", "--topic", "orders", "--json") == 0
    letters = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {(one["error"], one["agent"]) for one in letters} == {
        ("negative", "count"),
        (unreadable, "count"),
    }
    _commands_of_operators(capsys, letters)
    asyncio.run(_http(home, broker, app))


def _commands_of_operators(capsys, letters):
    for letter in letters:
        assert _dia("dlq", "show", letter["id"]) == 0
    assert _dia("tables", "list", "--json") == 0
    tables = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line[0] == "{"]
    assert {(row["group"], row["topic"]) for row in tables} >= {("acme-group", "orders")}
    assert _dia("replay", "plan", "--topic", "orders", "--error", "negative") == 0
    assert _dia("replay", "status") == 0
    assert _dia("dlq", "park", "--topic", "orders", "--error", "negative", "--yes") == 0
    assert _dia("dlq", "breaker", "list") == 0
    assert _dia("shed", "plan", "--topic", "orders", "--older-than", "1h") == 0
    capsys.readouterr()
    assert main(["dlq", "list", "--topic", "orders", "--json"]) in (0, 2, 4), "the built-in app"


async def _http(home, broker, app):
    settings, clock = _settings(home), SystemClock()
    tokens = TokenFile.of(settings.home_path())
    made = {
        tenant: tokens.create(tenant=tenant, role=role, now_ms=clock.now_ms())[1]
        for tenant, role in ((None, Role.ADMIN), ("acme", Role.OPERATE))
    }
    bearer = {tenant: {"Authorization": f"Bearer {text}"} for tenant, text in made.items()}
    edge = EdgeProcess(settings, app.topology, broker, clock, Metrics())
    console = ConsoleProcess(settings, app, broker, clock, Metrics())
    served, before = edge.app(), len(_records(broker, "orders"))
    async with served.router.lifespan_context(served):
        transport = httpx.ASGITransport(served)
        async with httpx.AsyncClient(transport=transport, base_url="http://edge") as http:
            order = {"account": "c", "amount": 7}
            answer = await http.post("/v1/events/orders", json=order, headers=bearer[None])
            assert answer.status_code == 202, answer.text
            answer = await http.post("/v1/events/orders", json=order, headers=bearer["acme"])
            assert answer.status_code == 403, "an order names no tenant"
            answer = await http.post("/v1/events/totals", json=order, headers=bearer[None])
            assert answer.status_code == 404, "no agent reads it"
            described = (await http.get("/openapi.json")).json()
            assert "/v1/events/orders" in described["paths"]
        await _until(lambda: len(_records(broker, "orders")) == before + 1)
    edge.close()
    [sent] = [value for key, value in _records(broker, "orders") if key == b"c"]
    assert app.topics["orders"].codec.decoder(dict)([sent]).events[0]["amount"] == 7
    pages = console.app()
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(pages), base_url="http://console"
    ) as http:
        asked = {"topic": "orders"}
        answer = await http.get("/api/dlq/groups", params=asked, headers=bearer[None])
        assert (answer.status_code, answer.json()["scanned"]) == (200, 2), answer.text
        answer = await http.get("/api/simulations", headers=bearer["acme"])
        assert answer.status_code == 404, "the app has none"
        assert (await http.get("/explore", headers=bearer[None])).status_code == 404


def test_two_apps_on_one_cluster_share_no_name(home, broker):
    """Neither app reads, fences, restores or audits data of the other."""
    (home / "acme_orders.py").write_text(ORDERS.replace("CODEC", "json"))
    (home / "beta_orders.py").write_text(_beside())
    assert _dia("topics", "apply") == 0
    assert _dia("topics", "apply", app="beta_orders:app") == 0
    acme, beta = load_app("acme_orders:app"), load_app("beta_orders:app")
    shards = MemoryShards(1, SystemClock())

    async def work():
        value = json.dumps({"account": "a", "amount": 1}).encode()
        for topic in ("orders", "invoices"):
            for _ in range(5):
                await _append(broker, topic, b"a", value)
            await _append(broker, topic, b"a", b"{")
        async with _running(home, broker, acme, shards), _running(home, broker, beta, shards):
            await _until(lambda: len(_records(broker, "totals")) == 5)
            await _until(lambda: len(_records(broker, "orders.dlq")) == 1)
            await _until(lambda: len(_records(broker, "invoices.dlq")) == 1)

    asyncio.run(work())
    ledger = {
        (row["grp"], row["topic"], row["read"], row["applied"])
        for row in shards.rows("ledger")
        if row["read"]
    }
    assert ledger == {("acme-group", "orders", 6, 5), ("beta-group", "invoices", 6, 5)}
    assert not _names(acme) & _names(beta)
    assert _names(acme) | _names(beta) <= set(asyncio.run(_topics(broker)))


def _names(app):
    topology = app.topology
    companions = {name for topic in topology.topics for name in topology.companions(topic)}
    return {*topology.by_name, *companions, topology.schedule_topic}


async def _topics(broker):
    return await (await broker.admin()).describe_topics()


@pytest.mark.parametrize(
    ("other", "topic", "group", "said"),
    [
        ("beta", "orders", "beta-group", "topic orders is of app acme"),
        ("acme-x", "invoices", "acme-x-group", None),
        ("acme-x", "orders", "acme-x-group", "topic orders is of app acme"),
    ],
)
def test_a_topic_of_another_app_is_refused(home, broker, capsys, other, topic, group, said):
    """Both apps would write one DLQ topic, and each journal would list the other's dead letters."""
    (home / "acme_orders.py").write_text(ORDERS.replace("CODEC", "json"))
    beside = _beside(topic, group).replace('App("beta")', f'App("{other}")')
    (home / "beta_orders.py").write_text(beside)
    assert _dia("topics", "apply") == 0
    before = asyncio.run(_topics(broker))
    code = _dia("topics", "apply", app="beta_orders:app")
    assert code == (0 if said is None else 5)
    assert (said or "") in capsys.readouterr().err
    assert said is None or asyncio.run(_topics(broker)) == before


def test_a_group_of_another_app_is_refused(home, broker, capsys):
    """`acme-x` may be an app, and also a group of app `acme`: their producers would fence each
    other.
    """
    (home / "acme_orders.py").write_text(ORDERS.replace("CODEC", "json"))
    grouped = ORDERS.replace("CODEC", "json").replace(
        "tables=(SEEN_EVENTS,)", "tables=(SEEN_EVENTS,), group='acme-x-group'"
    )
    (home / "acme_orders.py").write_text(grouped)
    beside = _beside("invoices", "acme-x-group").replace('App("beta")', 'App("acme-x")')
    (home / "beta_orders.py").write_text(beside)
    assert _dia("topics", "apply") == 0
    assert _dia("topics", "apply", app="beta_orders:app") == 5
    assert "group acme-x-group is of app acme" in capsys.readouterr().err


def test_a_record_is_a_struct_whose_fields_are_named():
    """Fields with defaults may stand anywhere, and fields are given by keyword only."""
    from streams import Record

    class Order(Record, frozen=True):
        account: str = "nobody"
        amount: float

    assert msgspec.json.decode(b'{"amount":1}', type=Order) == Order(amount=1)
    with pytest.raises(TypeError):
        Order(1)


def test_the_readme_example_is_an_app(home, broker, capsys):
    """Users copy this file."""
    readme = (Path(__file__).parents[4] / "README.md").read_text()
    source = readme.split("```python\n# acme_orders.py\n")[1].split("```")[0]
    (home / "acme_orders.py").write_text(source)
    assert _dia("topics", "apply") == 0
    app = load_app("acme_orders:app")
    orders = [
        {"id": f"o{number}", "account": "a", "amount": amount}
        for number, amount in enumerate((1, -2, 3))
    ]
    (home / "lines").write_text("\n".join(map(json.dumps, orders)))
    assert _dia("produce", "orders", "--file", str(home / "lines")) == 0
    shards = MemoryShards(1, SystemClock(), tables=app.clickhouse_tables)

    async def work():
        async with _running(home, broker, app, shards):
            await _until(lambda: len(shards.rows("sales")) == 3)

    asyncio.run(work())
    assert sum(row["amount"] for row in shards.rows("sales")) == 2.0
    [(key, value)] = _records(broker, "refunds", 4)
    assert (key, json.loads(value)) == (b"a", {"id": "o1", "account": "a", "amount": -2.0})


def test_a_bad_record_of_a_topic_without_tenants_counts_for_no_tenant():
    """Otherwise an unknown field ``tenant_id`` of an event could put a tenant into quarantine."""
    app = App("acme")
    orders = app.topic("orders", value_type=dict, partitions=1)
    settings, place = Settings(), TopicPartition("orders", 0)
    watch = PoisonWatch(place, orders, settings, SystemClock(), 0)
    assert watch.tenant_of(b"victim", b'{"tenant_id":"victim"}') == UNKNOWN_TENANT
