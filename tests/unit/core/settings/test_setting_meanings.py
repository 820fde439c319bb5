"""An invalid combination of settings ends every command with exit code 2 and one sentence."""

from __future__ import annotations

import pytest

from streams.cli import main
from streams.core.errors import UsageError
from streams.core.settings import load

WRONG = {
    "DIA_LOG_LEVEL": "verbose",
    "DIA_LOG_FORMAT": "xml",
    "DIA_KAFKA_BOOTSTRAP": "127.0.0.1:abc",
    "DIA_CLICKHOUSE_SHARDS": "127.0.0.1:8123",
    "DIA_REDIS_URL": "127.0.0.1:6379",
    "DIA_POLICY_URL": "policies:80",
    "DIA_OTEL_ENDPOINT": "ftp://collector",
    "DIA_SCHEMA_REGISTRY_URL": "registry:8081",
    "DIA_SHARDING": "modulo",
    "DIA_JOB_RETRIES": "breaker_open=3x1",
    "DIA_KAFKA_CA_FILE": "/nowhere/ca.pem",
    "DIA_CLICKHOUSE_PASSWORD_FILE": "/nowhere/password",
    "DIA_REPLAY_POLICY_FILE": "/nowhere/policies.toml",
}
RIGHT = {
    "DIA_LOG_LEVEL": "WARNING",
    "DIA_KAFKA_BOOTSTRAP": "a:1, b.example:65535,[::1]:9092",
    "DIA_CLICKHOUSE_SHARDS": "http://a:8123,https://b:8443/path,http://u:p@c",
    "DIA_REDIS_URL": "rediss://:secret@cache:6380/2",
    "DIA_POLICY_URL": "https://policies/v2",
    "DIA_OTEL_ENDPOINT": "http://collector:4318",
    "DIA_SCHEMA_REGISTRY_URL": "https://registry:8081/apis/ccompat/v7",
    "DIA_SHARDING": "hash",
    "DIA_JOB_RETRIES": "process_died=2x0.5, shard_unavailable=10x60",
}


@pytest.mark.parametrize(
    "command", [["status"], ["worker", "--processes", "2"], ["query", "SELECT 1"]]
)
@pytest.mark.parametrize("variable", WRONG)
def test_an_invalid_combination_ends_the_command(variable, command, monkeypatch, capsys, tmp_path):
    """Otherwise each of many processes would fail by itself and be restarted."""
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    monkeypatch.setenv(variable, WRONG[variable])
    assert main(command) == 2
    said = capsys.readouterr().err
    assert said.count(variable) == 1
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("variable", RIGHT)
def test_valid_combinations_are_accepted(variable, tmp_path):
    """The checks accept what the code that uses the value accepts."""
    settings, _ = load({"DIA_HOME": str(tmp_path), variable: RIGHT[variable]})
    assert getattr(settings, variable.removeprefix("DIA_").lower()) == RIGHT[variable]


def test_files_of_the_sharding_must_be_there(tmp_path):
    """Otherwise every process of a fleet would stop at its first row."""
    file = tmp_path / "map.json"
    with pytest.raises(UsageError, match="no file"):
        load({"DIA_HOME": str(tmp_path), "DIA_SHARDING": f"range:{file}"})
    file.touch()
    load({"DIA_HOME": str(tmp_path), "DIA_SHARDING": f"range:{file}"})


def test_a_password_in_an_address_is_not_repeated(tmp_path):
    """Messages go to logs."""
    with pytest.raises(UsageError) as refused:
        load({"DIA_HOME": str(tmp_path), "DIA_REDIS_URL": "cache://:secret@host"})
    assert "secret" not in str(refused.value)
