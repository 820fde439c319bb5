"""The notebook of the guide runs, cell by cell, with the real command and a real shard."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.app import app
from streams.connect.sinks import schema
from streams.connect.sinks.clickhouse import ClickHouseShards
from streams.core.clock import SystemClock
from streams.core.settings import Settings

pytestmark = pytest.mark.stack

NOTEBOOK = Path(__file__).parents[3] / "docs" / "notebooks" / "figures.ipynb"
TENANT = "o'brien"


async def test_the_cells_of_the_notebook_run_in_order(
    front: Any,
    yesterday: Any,
    minutes_of: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """An example that has rotted costs each reader an hour; a tenant's quote must not end its SQL."""
    values = np.random.default_rng(1).normal(5.0, 1.0, 600)
    password = tmp_path / "password"
    password.write_text(front.password + "\n")
    password.chmod(0o600)
    settings = Settings(
        clickhouse_shards=f"http://127.0.0.1:{front.port}",
        clickhouse_user="default",
        clickhouse_password_file=str(password),
        clickhouse_database="notebook",
    )
    (server,) = schema.servers(settings, app.clickhouse_tables)
    assert server.migrator.apply()
    server.replica.close()
    shards = ClickHouseShards.from_settings(settings, SystemClock(), app.clickhouse_tables)
    await shards.insert(0, [minutes_of(TENANT, yesterday(), values, 0)])
    await shards.close()
    for name in ("shards", "user", "password_file", "database"):
        variable, value = f"clickhouse_{name}", getattr(settings, f"clickhouse_{name}")
        monkeypatch.setenv(f"DIA_{variable.upper()}", value)
    monkeypatch.setenv("DIA_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TENANT", TENANT)
    monkeypatch.setenv("METRIC", "k")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    notebook = json.loads(NOTEBOOK.read_text())
    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert names["figures"] == {
        "m": {
            "events": 600,
            "mean": pytest.approx(values.mean()),
            "sd": pytest.approx(values.std()),
        }
    }
    assert names["minutes"].schema.field("window_start").type.tz == "UTC"
    assert names["minutes"].num_rows == 60
    assert sum(names["series"]["count"].to_pylist()) == 600
    # The steps of an hour begin where the test runs inside one, so the first has its first minutes.
    minutes = names["series"]["count"].to_pylist()[0] // 10
    first = np.concatenate([values[minute::60] for minute in range(minutes)])
    low, high = (np.quantile(first, 0.5, method=method) for method in ("lower", "higher"))
    assert low * 0.98 <= names["series"]["p50"].to_pylist()[0] <= high * 1.02
