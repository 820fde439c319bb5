"""Readiness of edge and console processes."""

from __future__ import annotations

import signal

import pytest

from agents.app import app
from streams.connect.access.listening import Listening
from streams.core.settings import Settings
from streams.core.telemetry.health import HealthState
from streams.http import serving as surface
from streams.http.console import serving as console
from streams.http.edge import serving as edge


@pytest.mark.parametrize("serving", [edge, console], ids=["edge", "console"])
async def test_a_server_is_ready_from_listening_until_the_signal(serving, monkeypatch, tmp_path):
    """A rollout sends requests to a ready process and ends the old one. After the signal it must
    get no new request, even while answers are under way.
    """
    states, ready = [], []

    class Kept(HealthState):
        def __init__(self, *given, **named) -> None:
            super().__init__(*given, **named)
            states.append(self)

    async def serve(self) -> None:
        ready.append(states[0].ready().ok)
        self.started = True
        self.on_listening("http://here")
        ready.append(states[0].ready().ok)
        self.handle_exit(signal.SIGTERM, None)
        ready.append(states[0].ready())

    monkeypatch.setattr(surface, "HealthState", Kept)
    monkeypatch.setattr(surface.WebServer, "run_until_stopped", serve)
    settings = Settings(home=str(tmp_path), kafka_bootstrap="127.0.0.1:1")
    declared = {edge: app.topology, console: app}[serving]
    await serving._serve(settings, declared, Listening(host="127.0.0.1", port=0), lambda said: None)
    assert ready == [False, True, (False, "draining")]
