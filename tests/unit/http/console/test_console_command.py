"""`dia console` before it serves: what it refuses, and with which exit code."""

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
    """A broker's address; nothing has to answer there for these tests."""
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    monkeypatch.setenv("DIA_KAFKA_BOOTSTRAP", "127.0.0.1:1")


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.7", "example.org"])
def test_other_addresses_need_tls(capsys, host):
    """Exit code 5: nothing was opened, and both ways out are named."""
    assert main(["console", "--host", host]) == 5
    said = capsys.readouterr().err
    assert "--tls-cert" in said
    assert "--behind-tls" in said


def test_other_addresses_need_a_token_too(capsys):
    """A console that nobody can use is open to nobody but those who look for a way in."""
    assert main(["console", "--host", "0.0.0.0", "--behind-tls"]) == 5
    assert "dia edge token create" in capsys.readouterr().err


def test_with_both_it_serves(monkeypatch, console_settings):
    """The refusals above are no dead end; and the cookie then travels by TLS only."""
    seen = []

    async def served(settings, declared, listening, said):
        seen.append(listening)

    monkeypatch.setattr(serving, "_serve", served)
    TokenFile.of(console_settings.home_path()).create(tenant=None, role=Role.ADMIN, now_ms=0)
    safe = Listening(host="0.0.0.0", port=0, behind_tls=True)
    serving.serve(console_settings, app, safe, print)
    assert seen == [safe]
    assert safe.encrypted
    with pytest.raises(RefusedBySafety):
        serving.serve(console_settings, app, Listening(host="0.0.0.0", port=0), print)


def test_half_of_a_certificate_is_a_usage_error(capsys, tmp_path):
    """A certificate without its key would otherwise serve in clear text."""
    cert = tmp_path / "cert.pem"
    cert.touch()
    assert main(["console", "--tls-cert", str(cert)]) == 2
    assert "--tls-key" in capsys.readouterr().err


def test_help_shows_the_first_steps(capsys):
    """From nothing to an answer, to be copied."""
    assert main(["console", "--help"]) == 0
    said = capsys.readouterr().out
    assert "dia edge token create" in said
    assert "/api/series" in said
