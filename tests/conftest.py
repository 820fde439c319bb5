"""Fixtures for all tests, among them the one real stack of the session."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog

from streams.core import kernels, settings
from streams.dev.local.stack import StackStatus, down, up
from tests.depth import cases
from tests.distribution import pytest_xdist_make_scheduler

__all__ = ["pytest_xdist_make_scheduler"]

# Nothing that the collection of tests makes is garbage.
gc.disable()

# As the command does (streams/__main__.py): a key that others may read is refused.
os.umask(0o077)

# A suite that a shell starts in the background ignores SIGINT, and so would each command it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# DIA_KERNELS=off: the same tests run with numpy alone.
kernels.load(os.environ.get("DIA_KERNELS", "on"))

_HISTORIES = Path(__file__).parent / "simulation" / "test_random_histories.py"

# The time of an example depends on the load of the machine. Laws that name no number of examples have Hypothesis's.
hypothesis.settings.register_profile(
    "dia",
    deadline=None,
    max_examples=cases(100),
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("dia")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that uses the real stack: ``-m "not stack"`` then runs without it."""
    for item in items:
        if "stack" in getattr(item, "fixturenames", ()):
            item.add_marker("stack")
    # The histories take longest and use every core: started last, they would delay the end.
    items.sort(key=lambda item: item.path != _HISTORIES)


def pytest_collection_finish() -> None:
    """Collect garbage rarely, and half a million objects of the collected tests never: it took a tenth
    of the CPU of the tests. Workers do so, too (streams/core/process/process_memory.py)."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    gc.enable()


@pytest.fixture(autouse=True)
def _restored_structlog() -> Iterator[None]:
    """A command that runs in the test's process configures structlog; its log level would hide
    messages from the capture of the next test."""
    configured, before = structlog.is_configured(), structlog.get_config()
    yield
    if configured:
        structlog.configure(**before)
    else:
        structlog.reset_defaults()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackStatus]:
    """Real Kafka, Redis and two ClickHouse shards: those of DIA_KAFKA_BOOTSTRAP and
    DIA_CLICKHOUSE_SHARDS if both are given, else a local stack of this session."""
    home = tmp_path_factory.mktemp("home")
    if os.environ.get("DIA_KAFKA_BOOTSTRAP") and os.environ.get("DIA_CLICKHOUSE_SHARDS"):
        yield _external(home)
        return
    try:
        yield up(home, shards=2, progress=print, owner_pid=os.getpid(), class_cache=True)
    finally:
        down(home)


def _external(home: Path) -> StackStatus:
    found, _ = settings.load()
    return StackStatus(
        home=home,
        running=True,
        kafka_bootstrap=found.kafka_bootstrap,
        redis_url=found.redis_url,
        shards=tuple("|".join(replicas) for replicas in found.shards()),
        clickhouse_user=found.clickhouse_user,
        clickhouse_password_file=found.clickhouse_password_file,
        clickhouse_database=found.clickhouse_database,
    )
