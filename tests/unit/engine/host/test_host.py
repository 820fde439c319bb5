"""The process of a worker: Faust supervises it and does not touch the data."""

from __future__ import annotations

import socket

import pytest

from streams import App
from streams.core.errors import UsageError
from streams.core.settings import Settings
from streams.engine.host.host import WorkerHost


@pytest.fixture
def silent_broker():
    """The address of a port that refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield "{}:{}".format(*bound.getsockname())


async def test_a_worker_that_starts_before_its_broker_waits_for_it(silent_broker, tmp_path):
    """Brokers that restart, or that the controller has fenced, are missing in the metadata. Faust's
    own clients, which the worker does not use, then raise and must not end the process.
    """
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


def test_invalid_kafka_security_settings_are_refused_before_the_start(tmp_path):
    """Otherwise the worker fails later, and its supervisor restarts it in a loop."""
    settings = Settings(
        kafka_bootstrap="kafka:9093", kafka_security_protocol="SASL_SSL", state_dir=str(tmp_path)
    )
    with pytest.raises(UsageError, match="DIA_KAFKA_SASL_USER"):
        WorkerHost(settings, App("acme"))
