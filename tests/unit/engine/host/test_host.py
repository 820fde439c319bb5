"""The process of a worker: Faust supervises it and has no part in the data."""

from __future__ import annotations

import socket

import pytest

from streams import App
from streams.core.errors import UsageError
from streams.core.settings import Settings
from streams.engine.host.host import WorkerHost


@pytest.fixture
def silent_broker():
    """The address of a port that takes no connection."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield "{}:{}".format(*bound.getsockname())


async def test_a_worker_that_starts_before_its_broker_waits_for_it(silent_broker, tmp_path):
    """Brokers that restart, or that the controller has fenced, name no broker in their metadata.
    Faust's own clients raise then, and ended the process, though they serve nothing in it."""
    settings = Settings(
        kafka_bootstrap=silent_broker,
        clickhouse_shards="http://127.0.0.1:9",
        state_dir=str(tmp_path),
        audit_interval_s=0,
        drain_timeout_s=1,
    )
    host = WorkerHost(settings, App("acme"))
    await host.start()
    try:
        assert host.started
        assert host.crash_reason is None
    finally:
        await host.stop()


def test_wrong_security_of_kafka_is_refused_before_the_start(tmp_path):
    """A worker that finds out later is restarted by its supervisor, for ever."""
    settings = Settings(
        kafka_bootstrap="kafka:9093", kafka_security_protocol="SASL_SSL", state_dir=str(tmp_path)
    )
    with pytest.raises(UsageError, match="DIA_KAFKA_SASL_USER"):
        WorkerHost(settings, App("acme"))
