"""What `import agents.app` may load: every command waits for it."""

from __future__ import annotations

import subprocess
import sys

CLIENTS = {"aiohttp", "aiokafka", "clickhouse_connect", "faust", "httpx", "pyarrow", "redis"}


def test_the_app_loads_no_client_before_it_is_used():
    """The clients take as long to import as all else together, and most commands use none."""
    script = "import sys, agents.app; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "agents.simulator" in loaded
    assert CLIENTS & set(loaded) == set()
