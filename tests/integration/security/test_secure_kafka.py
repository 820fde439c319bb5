"""Every client of ours against a Kafka that demands TLS and SCRAM."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request

import pytest

EVENTS = 200
WAIT_S = 60.0


@pytest.fixture
def dia(secure_kafka):
    """Runs a command as a process of its own; (exit code, what it said)."""

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


@pytest.fixture
def worker(secure_kafka):
    """A worker process; ends with the test at the latest."""
    environ = {**os.environ, **secure_kafka.environ, "DIA_CLICKHOUSE_SHARDS": "http://127.0.0.1:1"}
    log = secure_kafka.folder / "worker.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "streams", "worker"], env=environ, stdout=out, stderr=out
        )
    process.log = log
    yield process
    process.kill()
    process.wait()


def _read(secure_kafka):
    """Records the worker has read, by its own metrics; None while it does not answer."""
    status = secure_kafka.folder / "worker" / "state" / "workers" / "0.json"
    try:
        port = json.loads(status.read_text())["http_port"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply:
            lines = reply.read().decode().splitlines()
    except OSError:
        return None
    found = [line for line in lines if line.startswith("dia_records_read_total{")]
    return sum(float(line.split()[-1]) for line in found)


def test_topics_events_and_a_worker_pass_with_the_right_credentials(dia, worker, secure_kafka):
    """Admin, producers, transactions, consumers, reader and host: one without credentials, and
    the pipeline would stand still."""
    assert dia("topics", "apply")[0] == 0
    code, said = dia("doctor")
    assert "every source topic there" in said, said
    code, said = dia("produce", "model.metrics", "--generate", str(EVENTS))
    assert code == 0, said
    deadline = time.monotonic() + WAIT_S
    while (_read(secure_kafka) or 0) < EVENTS:
        assert worker.poll() is None, worker.log.read_text()
        assert time.monotonic() < deadline, worker.log.read_text()
        time.sleep(0.1)
    assert "hunter2" not in worker.log.read_text()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("password", "SaslAuthenticationFailed"),
        ("authority", "CERTIFICATE_VERIFY_FAILED"),
        ("protocol", "closed"),
    ],
)
def test_wrong_credentials_are_told_apart_and_stay_secret(dia, tmp_path, wrong, told):
    """The operator learns that the broker refused; nobody learns the password."""
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
