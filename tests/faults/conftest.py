"""Fixtures of fault trials, and the report of all of them."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from streams.core.process.atomic_file import write_atomically
from streams.dev.local.folder import StackFolder
from streams.dev.local.plan import new_plan
from streams.dev.local.stack import StackStatus, down, up
from tests.faults.broker_links import BrokerLinks
from tests.faults.cluster import Cluster
from tests.faults.report import Finding, write
from tests.faults.shard_proxy import ShardProxy
from tests.faults.trial import Trial

SUITE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption("--fault-runs", type=int, default=1, help="Runs of every fault.")
    group.addoption("--fault-seed", type=int, default=1, help="Seed of the first run.")
    group.addoption(
        "--moved-rate", type=int, default=2000, help="Events a second while shards come and go."
    )
    group.addoption("--fault-report", type=Path, help="Markdown file to write the report to.")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if SUITE in item.path.parents:
            item.add_marker("faults")
            item.add_marker(pytest.mark.timeout(240))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        first = metafunc.config.getoption("--fault-seed", 1) or 1
        once = metafunc.definition.get_closest_marker("once") is not None
        runs = 1 if once else metafunc.config.getoption("--fault-runs", 1) or 1
        metafunc.parametrize("seed", range(first, first + runs))


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> Iterator[Callable[[Finding], None]]:
    """Collects findings; at the end all are written to the file that an option names."""
    findings: list[Finding] = []
    began = time.monotonic()
    yield findings.append
    path = request.config.getoption("--fault-report", None)
    if path is not None and findings:
        seed = request.config.getoption("--fault-seed", 1) or 1
        write(path, findings, time.monotonic() - began, seed)


@pytest.fixture
def moved_rate(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--moved-rate", 2000) or 2000)


@pytest.fixture(scope="session")
def own_stack(stack: StackStatus) -> StackStatus:
    """A stack whose services a test may kill: it belongs to this session."""
    if not stack.services:
        pytest.skip("the services named in DIA_* are not ours to kill")
    return stack


@pytest.fixture
async def trial(own_stack: StackStatus, tmp_path: Path, seed: int) -> AsyncIterator[Trial]:
    """A pipeline without workers and without events."""
    opened = Trial(own_stack, tmp_path, seed)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def proxies(trial: Trial) -> Iterator[list[ShardProxy]]:
    """A proxy before every shard; workers started afterwards connect through them."""
    with ShardProxy(trial.stack.shards[0]) as first, ShardProxy(trial.stack.shards[1]) as second:
        trial.shards = [first.url, second.url]
        yield [first, second]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A stack of this session with three brokers, each behind a forwarder."""
    folder = StackFolder.of(tmp_path_factory.mktemp("cluster"))
    folder.create()
    with BrokerLinks(folder, brokers=3) as links:
        plan = links.advertise(new_plan(shards=2, brokers=3))
        write_atomically(folder.plan, msgspec.json.encode(plan))
        try:
            stack = up(folder.home, progress=print, owner_pid=os.getpid(), class_cache=True)
            yield Cluster(stack, plan, links)
        finally:
            down(folder.home)


@pytest.fixture
async def cluster_trial(cluster: Cluster, tmp_path: Path, seed: int) -> AsyncIterator[Trial]:
    """A pipeline on three brokers, without workers and without events."""
    opened = Trial(cluster.stack, tmp_path, seed)
    await opened.open()
    yield opened
    await opened.close()
