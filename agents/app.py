"""The Faust application of all agents: ``faust -A agents.app worker --without-web``."""

from __future__ import annotations

from agents import ALL
from streams.app import App
from streams.settings import load

app = App(load()[0], ALL)
