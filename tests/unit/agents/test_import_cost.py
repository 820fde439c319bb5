"""Modules that `import agents.app` may load, since every command waits for it."""

from __future__ import annotations

import subprocess
import sys

CLIENTS = {"aiohttp", "aiokafka", "clickhouse_connect", "faust", "httpx", "pyarrow", "redis"}


def test_the_app_loads_no_client_before_it_is_used():
    """The client libraries take as long to import as everything else, and most commands use none."""
    script = "import sys, agents.app; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "agents.simulator" in loaded
    assert CLIENTS & set(loaded) == set()
