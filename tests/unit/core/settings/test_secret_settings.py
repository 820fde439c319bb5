"""Secrets are in files, and shown settings hide the login of an address."""

from __future__ import annotations

import io
import logging

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from streams.cli.terminal.output import Printer, show_error
from streams.core.errors import ShardUnavailable, UsageError
from streams.core.settings import Settings, load, secret_file
from streams.core.telemetry import logs

LOGIN = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), min_size=6)


def _shown(variable, value):
    _, rows = load({variable: value, "DIA_CLICKHOUSE_CLUSTER": "main"})
    return next(row.value for row in rows if row.variable == variable)


@given(password=LOGIN.filter(lambda text: "//" not in text))
def test_no_login_of_a_shard_address_is_shown(password):
    """`dia config show` goes into bug reports; the addresses must stay readable."""
    value = f"http://u:{password}@one:8123|http://u:{password}@two:8123,http://three:8123"
    assert (
        _shown("DIA_CLICKHOUSE_SHARDS", value)
        == "http://***@one:8123|http://***@two:8123,http://three:8123"
    )


ADDRESSES = (
    "DIA_POLICY_URL",
    "DIA_OTEL_ENDPOINT",
    "DIA_REDIS_URL",
    "DIA_CLICKHOUSE_SHARDS",
    "DIA_SCHEMA_REGISTRY_URL",
)


@pytest.mark.parametrize("variable", ADDRESSES)
def test_no_address_shows_its_login(variable):
    """Whatever the setting, without a mark on each."""
    scheme = "redis" if "REDIS" in variable else "http"
    shown = _shown(variable, f"{scheme}://ann:hunter2@host:8123")
    assert shown == f"{scheme}://***@host:8123"


def test_no_error_shows_a_login(capsys):
    """Errors of clients go to logs, answers and dead letters."""
    error = ShardUnavailable("ClickHouse at http://ann:hunter2@host:8123 did not answer")
    assert "hunter2" not in f"{error} {error!r}"
    error.add_note("asked http://ann:hunter2@host:8123")
    show_error(error)
    Printer().warn("http://ann:hunter2@host:8123 is away")
    said = capsys.readouterr().err
    assert "hunter2" not in said
    assert said.count("http://***@host:8123") == 3


def test_no_log_shows_a_login():
    """Libraries log the addresses that they get."""
    out = io.StringIO()
    try:
        logs.configure("json", stream=out)
        logging.getLogger("redis").warning("no answer of %s", "redis://ann:hunter2@host:6379")
        structlog.get_logger("streams").warning("asked", url="http://ann:hunter2@host:8123")
    finally:
        logs.keep_off_stdout()
    assert "hunter2" not in out.getvalue()
    assert out.getvalue().count("***@host") == 2


def test_a_redis_password_comes_from_its_file(tmp_path):
    """The address may be public; the client gets the password separately."""
    path = tmp_path / "password"
    path.write_text("hunter2\n")
    settings = Settings(
        redis_url="rediss://cache:6379/0",
        redis_user="dia",
        redis_password_file=str(path),
        redis_ca_file="ca.pem",
    )
    assert settings.redis_options() == {
        "username": "dia",
        "password": "hunter2",
        "ssl_ca_certs": "ca.pem",
    }
    assert Settings(redis_url="redis://cache:6379/0").redis_options() == {}
    assert "hunter2" not in repr(settings)


def test_a_redis_authority_without_tls_is_refused():
    """A CA file implies that the user expects encryption."""
    with pytest.raises(UsageError, match="rediss"):
        Settings(redis_url="redis://cache/0", redis_ca_file="ca.pem").redis_options()


def test_a_file_that_is_not_text_is_named(tmp_path):
    """A binary file is a wrong path, not a crash."""
    path = tmp_path / "key.p12"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"DIA_X_FILE=.*key\.p12"):
        secret_file.read("DIA_X_FILE", str(path))
