"""Refusals of `dia edge serve` before it serves, and their exit codes."""

from __future__ import annotations

import asyncio

import pytest

from agents.app import app
from streams.cli import main
from streams.core.clock import SystemClock
from streams.core.telemetry.metrics import Metrics
from streams.http.edge.edge_run import EdgeRun
from streams.http.edge.serving import EdgeProcess
from streams.http.edge.topic_publisher import TopicPublisher


@pytest.fixture(autouse=True)
def _address(monkeypatch, tmp_path):
    """The address of a broker, which these tests do not contact."""
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    monkeypatch.setenv("DIA_KAFKA_BOOTSTRAP", "127.0.0.1:1")


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.7", "example.org"])
def test_other_addresses_need_tls(capsys, host):
    """Exit code 5: no port was opened, and the message names both remedies."""
    assert main(["edge", "serve", "--host", host]) == 5
    said = capsys.readouterr().err
    assert "--tls-cert" in said
    assert "--behind-tls" in said


def test_a_certificate_without_a_key_is_a_usage_error(capsys, tmp_path):
    """Otherwise a certificate without its key would serve in clear text."""
    cert = tmp_path / "cert.pem"
    cert.touch()
    assert main(["edge", "serve", "--tls-cert", str(cert)]) == 2
    assert "--tls-key" in capsys.readouterr().err


def test_without_a_broker_address_it_does_not_start(monkeypatch, capsys):
    """An edge whose spool can never be emptied is a mistake, not an outage."""
    monkeypatch.delenv("DIA_KAFKA_BOOTSTRAP")
    assert main(["edge", "serve"]) == 4
    assert "dia up" in capsys.readouterr().err


def test_a_second_edge_on_one_folder_is_refused(capsys, tmp_path):
    """Two edges would overwrite each other's spool."""
    held = EdgeRun(tmp_path / "edge" / "model.metrics")
    assert main(["edge", "serve", "--port", "0"]) == 5
    assert "another edge process" in capsys.readouterr().err
    held.close()


async def test_a_bug_in_a_lane_ends_the_process(edge_settings, tokens, broker, monkeypatch):
    """An edge that answers and stores nothing would look healthy."""
    made = EdgeProcess(edge_settings, app.topology, broker, SystemClock(), Metrics())
    told = asyncio.Event()
    made.on_bug = told.set

    async def broken(self) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(TopicPublisher, "_ship", broken)
    served = made.app()
    async with served.router.lifespan_context(served), asyncio.timeout(200):
        await told.wait()
    assert isinstance(made.bug, ExceptionGroup)
    made.close()
