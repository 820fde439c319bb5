"""Modules that `import agents.app` and the start of a worker may load: all that is loaded delays
them."""

from __future__ import annotations

import subprocess
import sys

CLIENTS = {"aiohttp", "aiokafka", "clickhouse_connect", "faust", "httpx", "pyarrow", "redis"}


def loaded_by(imported: str) -> set[str]:
    script = f"import sys, {imported}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_the_app_loads_no_client_before_it_is_used():
    """The client libraries take as long to import as everything else, and most commands use none."""
    loaded = loaded_by("agents.app")
    assert "agents.simulator" in loaded
    assert CLIENTS & loaded == set()


def test_a_worker_loads_no_client_that_its_settings_do_not_need():
    """A schema registry and Redis are optional; their clients take a quarter of a worker's import
    time, which each restart waits for."""
    loaded = loaded_by("streams.engine.host.host, agents.app")
    assert "aiokafka" in loaded
    assert {"httpx", "redis"} & loaded == set()
