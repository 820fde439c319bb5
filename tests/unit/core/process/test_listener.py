"""A port that cannot be opened ends its process at once, with one sentence and exit code 4."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette

from streams.cli import main
from streams.connect.access.web_server import WebServer
from streams.core.command_errors import AddressUnavailable
from streams.core.process.listener import address_of, bound

COMMANDS = {
    "console": ["console"],
    "edge": ["edge", "serve"],
    "worker": ["worker"],
    "replay worker": ["worker", "--agents", "replay"],
}
OWN_PORT = {"console": "DIA_CONSOLE_PORT", "edge": "DIA_EDGE_PORT"}


@pytest.fixture(autouse=True)
def _settings(monkeypatch, tmp_path):
    """The address of a broker, which these tests do not contact."""
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    monkeypatch.setenv("DIA_KAFKA_BOOTSTRAP", "127.0.0.1:1")


@pytest.fixture
def taken() -> Iterator[int]:
    """A local port on which another program listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_taken_health_port_ends_the_command(command, taken, monkeypatch, capsys):
    """Every process with a health port names the setting to change."""
    monkeypatch.setenv("DIA_HTTP_PORT", str(taken))
    monkeypatch.setenv("DIA_CONSOLE_PORT", "0")
    monkeypatch.setenv("DIA_EDGE_PORT", "0")
    assert main(COMMANDS[command]) == 4
    said = capsys.readouterr().err
    assert f"127.0.0.1:{taken} cannot be opened" in said
    assert "DIA_HTTP_PORT" in said


@pytest.mark.parametrize("command", OWN_PORT)
def test_a_taken_port_ends_the_command(command, taken, capsys):
    """A server without its port must not stay and ignore signals."""
    assert main([*COMMANDS[command], "--port", str(taken)]) == 4
    said = capsys.readouterr().err
    assert f"127.0.0.1:{taken} cannot be opened: Address already in use" in said
    assert OWN_PORT[command] in said


@pytest.mark.parametrize("command", OWN_PORT)
def test_invalid_certificate_files_are_a_usage_error(command, tmp_path, capsys):
    """OpenSSL's message names neither the file nor the option."""
    (tmp_path / "cert.pem").write_text("no certificate")
    path = str(tmp_path / "cert.pem")
    arguments = ["--port", "0", "--tls-cert", path, "--tls-key", path]
    assert main([*COMMANDS[command], *arguments]) == 2
    assert f"--tls-cert {path}" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "a" * 70, "::1::"])
def test_an_address_of_another_machine_is_named(host):
    """A name that does not resolve, and an address of another machine."""
    with pytest.raises(AddressUnavailable, match="DIA_X"):
        bound(host, 0, "DIA_X")


def test_a_bound_port_is_taken_for_other_processes():
    """Two processes that start at the same time must not both bind it."""
    with bound("127.0.0.1", 0, "DIA_X") as first:
        host, port = address_of(first)
        with pytest.raises(AddressUnavailable):
            bound(host, port, "DIA_X")


async def test_a_server_stopped_before_it_starts_still_ends_its_parts():
    """A signal may arrive during the start; all opened parts must be closed."""
    events: list[str] = []

    class Lifespan:
        def __init__(self, app: Starlette) -> None:
            pass

        async def __aenter__(self) -> None:
            events.append("started")

        async def __aexit__(self, *error: object) -> None:
            events.append("ended")

    server = WebServer(Starlette(lifespan=Lifespan), bound("127.0.0.1", 0, "DIA_X"))
    server.stop()
    async with asyncio.timeout(200):
        await server.run_until_stopped()
    assert events == ["started", "ended"]


async def test_an_application_that_cannot_start_is_an_error():
    """uvicorn exits with code 3, which in dia means partly done."""

    def broken(app: Starlette):
        raise ZeroDivisionError

    server = WebServer(Starlette(lifespan=broken), bound("127.0.0.1", 0, "DIA_X"))
    with pytest.raises(RuntimeError, match="did not start"):
        await server.run_until_stopped()
