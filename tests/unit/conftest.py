"""Fixtures of the unit tests: a second version of `model.metrics`, whose events name a unit; a type
checker for a user's package.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from agents.app import MODEL_METRICS
from streams.core.records.fields import EventTimeMs, Finite, Name
from streams.engine.decode import codecs

ROOT = Path(__file__).parents[2]


class MetricWithUnit(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A possible later version of `ModelMetric`."""

    event_id: Name | None = None
    tenant_id: Name
    model_id: Name
    metric: Name
    ts: EventTimeMs
    value: Finite
    run_id: Name | None = None
    unit: Name


def _with_unit(event: object) -> MetricWithUnit:
    return MetricWithUnit(**msgspec.structs.asdict(event), unit="1")


@pytest.fixture(scope="session", autouse=True)
def _no_home_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Commands that a test runs without a home write to no folder of the user who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture
def second_version(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Publishes version 2, with an upcaster from version 1."""
    monkeypatch.setitem(MODEL_METRICS.versions, 2, MetricWithUnit)
    monkeypatch.setitem(MODEL_METRICS.upcasters, 1, _with_unit)
    codecs._reader.cache_clear()
    yield
    monkeypatch.undo()
    codecs._reader.cache_clear()


@pytest.fixture
def type_check(tmp_path: Path) -> Callable[[str], bool]:
    """Whether mypy, in strict mode, accepts a module of a user's package."""

    def check(source: str) -> bool:
        package = tmp_path / "acme"
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "orders.py").write_text(source)
        (tmp_path / "mypy.ini").write_text("[mypy]\n")
        command = [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file", "mypy.ini"),
            *("--cache-dir", str(ROOT / ".mypy_cache" / "package")),
            *("--ignore-missing-imports", "acme"),
        ]
        environment = {"MYPYPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
        told = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert (told.returncode in (0, 1), told.stderr) == (True, ""), told.stdout[-2000:]
        return not any(line.startswith("acme/") for line in told.stdout.splitlines())

    return check
