"""Kafka credentials of a client, and incomplete settings that are refused before it connects."""

from __future__ import annotations

import pytest
import trustme

from streams.connect.broker.kafka.connection import KafkaConnection
from streams.connect.broker.kafka.security import KafkaSecurity
from streams.core.errors import UsageError
from streams.core.settings import Settings


@pytest.fixture
def files(tmp_path):
    """A password file and a certificate of a test authority, as settings."""
    authority = trustme.CA()
    own = authority.issue_cert("client.example")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    own.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    own.private_key_pem.write_to_path(tmp_path / "key.pem")
    (tmp_path / "password").write_text("hunter2\n")
    return {
        "kafka_ca_file": str(tmp_path / "ca.pem"),
        "kafka_cert_file": str(tmp_path / "cert.pem"),
        "kafka_key_file": str(tmp_path / "key.pem"),
        "kafka_sasl_password_file": str(tmp_path / "password"),
    }


def _security(**values):
    return KafkaSecurity.from_settings(Settings(**values))


def test_plaintext_sends_nothing():
    """The local stack needs no credentials."""
    assert _security().client_options() == {"security_protocol": "PLAINTEXT"}


def test_sasl_over_tls_reaches_every_client(files):
    """All clients are built from these options."""
    security = _security(kafka_security_protocol="SASL_SSL", kafka_sasl_user="dia", **files)
    options = KafkaConnection(bootstrap="kafka:9093", security=security).client_options()
    assert options["security_protocol"] == "SASL_SSL"
    assert options["sasl_mechanism"] == "SCRAM-SHA-512"
    assert options["sasl_plain_username"] == "dia"
    assert options["sasl_plain_password"] == "hunter2"
    assert options["ssl_context"].check_hostname


def test_the_password_is_not_shown(files):
    """The object may appear in a log line."""
    security = _security(kafka_security_protocol="SASL_SSL", kafka_sasl_user="dia", **files)
    shown = repr(security) + repr(KafkaConnection(bootstrap="kafka:9093", security=security))
    assert "dia" in shown
    assert "hunter2" not in shown


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"kafka_security_protocol": "TLS"}, "DIA_KAFKA_SECURITY_PROTOCOL=TLS"),
        (
            {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_mechanism": "MD5"},
            "DIA_KAFKA_SASL_MECHANISM=MD5",
        ),
        ({"kafka_security_protocol": "SASL_SSL"}, "DIA_KAFKA_SASL_USER"),
        ({"kafka_sasl_user": "dia"}, "sends no user"),
        ({"kafka_ca_file": "ca.pem"}, "encrypts nothing"),
        (
            {"kafka_security_protocol": "SSL", "kafka_key_file": "key.pem"},
            "DIA_KAFKA_CERT_FILE",
        ),
        (
            {
                "kafka_security_protocol": "SASL_SSL",
                "kafka_sasl_user": "dia",
                "kafka_sasl_password_file": "/absent",
            },
            "DIA_KAFKA_SASL_PASSWORD_FILE=/absent",
        ),
    ],
)
def test_incomplete_settings_are_refused(values, named):
    """An incomplete setting must not silently disable protection."""
    with pytest.raises(UsageError, match=named):
        _security(**values)


def test_an_invalid_certificate_file_is_named(files, tmp_path):
    """OpenSSL's message names neither the file nor the setting."""
    (tmp_path / "ca.pem").write_text("not a certificate")
    security = _security(kafka_security_protocol="SSL", kafka_ca_file=files["kafka_ca_file"])
    with pytest.raises(UsageError, match=r"DIA_KAFKA_CA_FILE=.*ca\.pem"):
        security.client_options()
