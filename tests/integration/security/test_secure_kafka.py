"""Every client of dia against a Kafka that requires TLS and SCRAM."""

from __future__ import annotations

import pytest

from tests.integration.security.conftest import until_read, working

EVENTS = 200


def test_all_clients_work_with_the_right_credentials(dia, secure_kafka):
    """Admin, producers, transactions, consumers, reader and host: the pipeline needs each of them."""
    assert dia("topics", "apply")[0] == 0
    code, said = dia("doctor")
    assert "every source topic there" in said, said
    code, said = dia("produce", "model.metrics", "--generate", str(EVENTS))
    assert code == 0, said
    with working(secure_kafka) as worker:
        until_read(secure_kafka, worker, EVENTS)
    assert "hunter2" not in worker.log.read_text()


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
