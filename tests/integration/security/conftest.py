"""A Kafka with TLS, SCRAM users and ACLs: each principal may do only what its process needs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from streams.core.settings import default_home
from streams.dev.local import jars, kafka
from streams.dev.local.folder import StackFolder
from streams.dev.local.plan import new_plan
from streams.dev.local.ports import LOOPBACK
from streams.dev.local.stack import StackStatus
from streams.dev.local.wheels import locate

USER, PASSWORD = "dia", "hunter2-hunter2"
PRINCIPALS = ("dia-worker", "dia-edge", "dia-console")
"""The users of worker, edge and console; `USER` may do everything."""
START_S = 200.0
WAIT_S = 200.0


@dataclass(frozen=True)
class SecureKafka:
    """The address and the credentials of a client."""

    environ: dict[str, str]
    folder: Path


def _key_store(authority: trustme.CA, path: Path) -> None:
    """Certificate and key in one PEM; Kafka reads keys in PKCS 8 only."""
    issued = authority.issue_cert("127.0.0.1")
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + issued.cert_chain_pems[0].bytes()
    )


def _properties(plain: str, address: str, store: Path) -> str:
    """The local stack's properties, with SASL and TLS on the clients' listener."""
    changed = {
        "listeners": f"SASL_SSL://{address},"
        + plain.partition("PLAINTEXT://")[2].partition(",")[2],
        "advertised.listeners": f"SASL_SSL://{address}",
        "listener.security.protocol.map": "SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "SASL_SSL",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:{USER};User:ANONYMOUS",  # anonymous: broker and controller are one
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required "
            f'username="{USER}" password="{PASSWORD}";'
        ),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(store),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(store.with_name("ca.pem")),
    }
    return "".join(f"{name}={value}\n" for name, value in changed.items())


def _listening(port: int) -> bool:
    """The broker opens the clients' listener last, once it is registered."""
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


@pytest.fixture(scope="module")
def secure_kafka(
    stack: StackStatus, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SecureKafka]:
    """SASL_SSL with SCRAM on loopback. It is stopped after the tests of a file, because an idle
    broker takes CPU from the others. ``stack`` provides the JARs."""
    home = tmp_path_factory.mktemp("secure")
    folder = StackFolder.of(home)
    folder.root.mkdir()
    place = folder.broker("kafka")
    place.mkdir()
    folder.log("kafka").parent.mkdir(exist_ok=True)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(place / "ca.pem")
    _key_store(authority, place / "store.pem")
    (home / "password").write_text(PASSWORD)

    plan = new_plan(shards=1)
    class_path = jars.ensure(jars.cache_folder(os.environ, default_home()), print)
    command = kafka.command(place, locate().java, class_path)
    rendered = kafka.render_properties(plan, 0, place / "data")
    listeners = next(line for line in rendered.splitlines() if line.startswith("listeners="))
    properties = kafka.properties_file(place)
    properties.write_text(
        rendered + _properties(listeners, plan.kafka_bootstrap, place / "store.pem")
    )
    kafka._logging_file(place).write_text(kafka._LOGGING.format(log=folder.log("kafka")))
    scram = [
        word
        for user in (USER, *PRINCIPALS)
        for word in ("--add-scram", f"SCRAM-SHA-512=[name={user},password={PASSWORD}]")
    ]
    subprocess.run(
        [
            *(*command, "kafka.tools.StorageTool", "format"),
            *(f"--cluster-id={plan.cluster_id}", "--config", str(properties)),
            *scram,
        ],
        check=True,
        capture_output=True,
        timeout=START_S,
        cwd=folder.logs,
    )
    broker = subprocess.Popen([*command, "kafka.Kafka", str(properties)], cwd=folder.logs)
    try:
        deadline = time.monotonic() + START_S
        while not _listening(plan.brokers[0].port):
            assert broker.poll() is None, folder.log("kafka").read_text()
            assert time.monotonic() < deadline, folder.log("kafka").read_text()
            time.sleep(0.1)
        yield SecureKafka(
            environ={
                "DIA_HOME": str(home / "worker"),
                "DIA_KERNELS": "off",
                "DIA_KAFKA_BOOTSTRAP": plan.kafka_bootstrap,
                "DIA_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
                "DIA_KAFKA_SASL_USER": USER,
                "DIA_KAFKA_SASL_PASSWORD_FILE": str(home / "password"),
                "DIA_KAFKA_CA_FILE": str(place / "ca.pem"),
            },
            folder=home,
        )
    finally:
        broker.terminate()
        broker.wait(30)


@pytest.fixture(scope="module")
def dia(secure_kafka):
    """Runs a command as a separate process; returns (exit code, output)."""

    def run(*args, **changed):
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DIA_")},
            **secure_kafka.environ,
            **changed,
        }
        done = subprocess.run(
            [sys.executable, "-m", "streams", *args],
            env=environ,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return run


@contextmanager
def working(secure_kafka: SecureKafka, **changed: str) -> Iterator[Any]:
    """A worker process; it is stopped at the end of the block at the latest."""
    environ = {
        **os.environ,
        **secure_kafka.environ,
        "DIA_CLICKHOUSE_SHARDS": "http://127.0.0.1:1",
        **changed,
    }
    log = secure_kafka.folder / "worker.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "streams", "worker"], env=environ, stdout=out, stderr=out
        )
    process.log = log  # type: ignore[attr-defined]
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def read_by(secure_kafka: SecureKafka) -> float | None:
    """Number of records that the worker has read, by its metrics; None while it does not answer."""
    status = secure_kafka.folder / "worker" / "state" / "workers" / "0.json"
    try:
        port = json.loads(status.read_text())["http_port"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply:
            lines = reply.read().decode().splitlines()
    except OSError:
        return None
    found = [line for line in lines if line.startswith("dia_records_read_total{")]
    return sum(float(line.split()[-1]) for line in found)


def until_read(secure_kafka: SecureKafka, worker: Any, records: int) -> None:
    """Wait until ``worker`` has read that many records."""
    deadline = time.monotonic() + WAIT_S
    while (read_by(secure_kafka) or 0) < records:
        assert worker.poll() is None, worker.log.read_text()
        assert time.monotonic() < deadline, worker.log.read_text()
        time.sleep(0.1)
