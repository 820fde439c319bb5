"""Refusals of `dia console` before it serves, and their exit codes."""

from __future__ import annotations

import pytest

from agents.app import app
from streams.cli import main
from streams.connect.access.listening import Listening
from streams.connect.access.tokens import Role, TokenFile
from streams.core.errors import RefusedBySafety
from streams.http.console import serving


@pytest.fixture(autouse=True)
def _address(monkeypatch, tmp_path):
    """The address of a broker, which these tests do not contact."""
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    monkeypatch.setenv("DIA_KAFKA_BOOTSTRAP", "127.0.0.1:1")


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.7", "example.org"])
def test_other_addresses_need_tls(capsys, host):
    """Exit code 5: no port was opened, and the message names both remedies."""
    assert main(["console", "--host", host]) == 5
    said = capsys.readouterr().err
    assert "--tls-cert" in said
    assert "--behind-tls" in said


def test_other_addresses_need_a_token_too(capsys):
    """Without a token users cannot sign in, and the port is open to attackers."""
    assert main(["console", "--host", "0.0.0.0", "--behind-tls"]) == 5
    assert "dia token create" in capsys.readouterr().err


def test_with_both_it_serves(monkeypatch, console_settings):
    """With TLS and a token the command serves; the cookie is then sent over TLS only."""
    seen = []

    async def served(settings, declared, listening, said, addition):
        seen.append(listening)

    monkeypatch.setattr(serving, "_serve", served)
    TokenFile.of(console_settings.home_path()).create(tenant=None, role=Role.ADMIN, now_ms=0)
    safe = Listening(host="0.0.0.0", port=0, behind_tls=True)
    serving.serve(console_settings, app, safe, print)
    assert seen == [safe]
    assert safe.encrypted
    with pytest.raises(RefusedBySafety):
        serving.serve(console_settings, app, Listening(host="0.0.0.0", port=0), print)


def test_a_certificate_without_a_key_is_a_usage_error(capsys, tmp_path):
    """Otherwise a certificate without its key would serve in clear text."""
    cert = tmp_path / "cert.pem"
    cert.touch()
    assert main(["console", "--tls-cert", str(cert)]) == 2
    assert "--tls-key" in capsys.readouterr().err


def test_help_shows_the_first_steps(capsys):
    """Commands that a user can copy."""
    assert main(["console", "--help"]) == 0
    said = capsys.readouterr().out
    assert "dia token create" in said
    assert "/api/series" in said
