"""A Kafka that requires TLS and SCRAM: every client works with the right credentials, and each user with
the rights of `dia topics grant` can do its own work and no other's."""

from __future__ import annotations

import pytest

from agents.app import DIA_GROUP, MODEL_METRICS, app
from streams import App
from streams.connect.broker.kafka.broker import KafkaBroker
from streams.connect.broker.log_range import read_some
from streams.connect.broker.opened import opened
from streams.core.clock import SystemClock
from streams.core.errors import DiaError
from streams.core.settings import load
from streams.core.types import TopicPartition
from streams.engine.runtime.assignment import transactional_id
from streams.engine.runtime.offsets.shed_order import ShedOrder, orders_group, write_orders
from streams.http.edge.request_batch import RequestBatch
from streams.http.edge.shipment import Shipper
from streams.operate.replay.agent.agent import agents_group
from streams.operate.replay.journal.journal import Disposed
from streams.operate.replay.journal.owner import owned
from tests.integration.security.conftest import until_read, working

SOURCE = TopicPartition(MODEL_METRICS.name, 0)
CHANGELOG = TopicPartition(MODEL_METRICS.changelog(DIA_GROUP), 0)
DLQ = TopicPartition(MODEL_METRICS.dlq, 0)
JOURNAL = TopicPartition(MODEL_METRICS.journal, 0)


def _settings(secure_kafka, user="dia"):
    return load({**secure_kafka.environ, "DIA_KAFKA_SASL_USER": user})[0]


@pytest.fixture(scope="module")
def broker_of(secure_kafka, dia):
    """A client of the broker for each principal, once its rights are in force."""
    assert dia("topics", "apply")[0] == 0
    assert dia("topics", "grant")[0] == 0
    return lambda user: KafkaBroker.from_settings(_settings(secure_kafka, user))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("password", "SaslAuthenticationFailed"),
        ("authority", "CERTIFICATE_VERIFY_FAILED"),
        ("protocol", "closed"),
    ],
)
def test_wrong_credentials_have_distinct_errors_that_hide_the_password(dia, tmp_path, wrong, told):
    """The operator learns that the broker refused; no output shows the password."""
    (tmp_path / "password").write_text("swordfish-swordfish")
    changed = {
        "password": {"DIA_KAFKA_SASL_PASSWORD_FILE": str(tmp_path / "password")},
        "authority": {"DIA_KAFKA_CA_FILE": ""},
        "protocol": {"DIA_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "DIA_KAFKA_CA_FILE": ""},
    }[wrong]
    code, said = dia("topics", "plan", **changed)
    assert code == 4, said
    assert told in said
    assert "swordfish" not in said
    assert "hunter2" not in said


async def _write(broker, tp):
    producer = broker.plain_producer()
    await producer.start()
    try:
        await (await producer.send_many(tp.topic, [b"t"], [b"v"]))
    finally:
        await producer.close()


async def _trim(broker, tp):
    async with opened(broker.admin()) as admin:
        await admin.delete_records({tp: 0})


async def _read(broker, tp):
    async with opened(broker.reader()) as reader:
        end = await reader.last_stable_offset(tp)
        await reader.read(tp, 0, 1)
        if end:
            await read_some(reader, tp, 0, end, 1)


async def _own(broker, name):
    """Fence the producer of this transactional id."""
    producer = broker.transactional_producer(name)
    try:
        await producer.start()
    finally:
        await producer.close()


async def test_an_edge_can_only_append_events(broker_of):
    """It is exposed to the network: an attacker in it must not read topics or stop a worker."""
    broker, clock = broker_of("dia-edge"), SystemClock()
    shipper = Shipper(broker, MODEL_METRICS.name, clock)
    assert await shipper.connect("tests") is None
    await shipper.ship([RequestBatch("tests", 0, [b"t"], [b"{}"])])
    await shipper.close()
    for refused in (
        _write(broker, DLQ),
        _write(broker, CHANGELOG),
        _read(broker, DLQ),
        _read(broker, CHANGELOG),
        _trim(broker, CHANGELOG),
        _own(broker, f"{DIA_GROUP}-{MODEL_METRICS.name}-0"),
    ):
        with pytest.raises(DiaError):
            await refused


async def test_a_console_writes_decisions_and_no_state(broker_of):
    """Its decisions are entries of journals and orders, and it sends messages of sources again; it
    reads changelogs for traces. It may not write state and dead letters."""
    broker, clock = broker_of("dia-console"), SystemClock()
    async with owned(broker, clock, app.topology, MODEL_METRICS, 0) as owner:
        before = owner.standing.seq
        await owner.commit([Disposed(at_ms=1, actor="tests", reason="x")])
        assert owner.standing.seq == before + 1
    orders = broker.transactional_producer(orders_group(DIA_GROUP))
    await orders.start()
    order = ShedOrder(
        id="o", until=0, epoch=99, last_offset=-1, last_append_ms=0, before_ms=0, at_ms=1,
        actor="tests", reason="x",
    )  # fmt: skip
    await write_orders(orders, DIA_GROUP, {SOURCE: order})
    await orders.close()
    await _write(broker, TopicPartition("decision.simulation.request", 0))
    await _write(broker, SOURCE)
    await _read(broker, CHANGELOG)
    for refused in (
        _write(broker, DLQ),
        _write(broker, CHANGELOG),
        _trim(broker, CHANGELOG),
        _trim(broker, JOURNAL),
        _own(broker, f"{DIA_GROUP}-{MODEL_METRICS.name}-0"),
    ):
        with pytest.raises(DiaError):
            await refused


async def _commits(broker, group):
    """Request the committed offset of a group."""
    async with opened(broker.admin()) as admin:
        await admin.committed(group, [SOURCE])


async def test_a_worker_has_no_rights_on_an_app_with_the_same_name_prefix(broker_of):
    """A worker of `dia` that fenced producers of `dia-eu` would stop another team's partitions."""
    broker = broker_of("dia-worker")
    await _own(broker, transactional_id(DIA_GROUP, SOURCE))
    for own in (DIA_GROUP, agents_group(app.topology)):
        await _commits(broker, own)
    group = App(f"{app.name}-eu").group
    for refused in (_own(broker, transactional_id(group, SOURCE)), _commits(broker, group)):
        with pytest.raises(DiaError, match="AuthorizationFailed"):
            await refused


async def test_a_worker_can_work_and_cannot_delete_decisions(broker_of, dia, secure_kafka):
    """It reads, commits and trims changelogs; it can neither trim a replay journal nor delete a
    topic. Admin, producers, transactions, consumers, reader and host connect with its credentials."""
    code, said = dia("doctor")
    assert "every source topic there" in said, said
    code, said = dia("produce", "model.metrics", "--generate", "200")
    assert code == 0, said
    with working(secure_kafka, DIA_KAFKA_SASL_USER="dia-worker") as worker:
        until_read(secure_kafka, worker, 200)
        log = worker.log.read_text()
    assert "AuthorizationFailed" not in log
    assert "hunter2" not in log
    broker = broker_of("dia-worker")
    await _trim(broker, CHANGELOG)
    with pytest.raises(DiaError):
        await _trim(broker, JOURNAL)
    admin = await broker.admin()
    with pytest.raises(DiaError):
        await admin.delete_topics([SOURCE.topic])
    await admin.close()
