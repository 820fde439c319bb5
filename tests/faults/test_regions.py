"""A region is killed at load: another one becomes active, and the lost one comes back."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest

from agents.app import app
from streams.core.clock import SystemClock
from streams.dev.local.regions import write_regions
from streams.dev.local.stack import StackStatus, down, up
from streams.dev.regions.local_region import LocalRegion
from streams.dev.regions.region_drill import RegionDrill
from streams.operate.regions.mirrored import offsets_topic, records_of
from streams.operate.regions.word import journal_of
from tests.faults.pace import SETTINGS
from tests.faults.report import Finding
from tests.faults.trial import Trial

LEASE_S = 6
UNTAKEN = 500


@pytest.fixture(scope="module")
def west_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackStatus]:
    """A second stack on other ports."""
    home = tmp_path_factory.mktemp("west")
    try:
        yield up(home, 2, print, owner_pid=os.getpid(), class_cache=True)
    finally:
        down(home)


@pytest.fixture
async def trials(own_stack, west_stack, tmp_path, seed) -> AsyncIterator[dict[str, Trial]]:
    """Empty topics and tables of east and west, without words and mirrors of an earlier run."""
    opened = {}
    for name, stack in (("east", own_stack), ("west", west_stack)):
        folder = tmp_path / name
        folder.mkdir()
        opened[name] = Trial(stack, folder, seed)
        await opened[name].open()
        names = [journal_of(app.topology.app).topic, *map(offsets_topic, ("east", "west"))]
        await opened[name].with_admin(lambda admin, names=names: admin.delete_topics(names))
    yield opened
    for trial in opened.values():
        await trial.close()


@pytest.fixture
def regions(trials, tmp_path) -> Iterator[list[LocalRegion]]:
    """East, which is active, and west."""
    file = tmp_path / "regions.toml"
    write_regions(file, LEASE_S, {name: trial.stack for name, trial in trials.items()})
    pace = {name: str(value) for name, value in SETTINGS.items()}
    found = [
        LocalRegion(name, trial.stack, trial.folder / "home", file, pace)
        for name, trial in trials.items()
    ]
    yield found
    for region in found:
        region.end()


@pytest.mark.once
@pytest.mark.timeout(900)
async def test_a_lost_region_loses_nothing_and_doubles_nothing(regions, trials, seed, report):
    """Every accepted event is in both regions' windows once: those of the lost region that its mirror
    had not taken come with it, and what clients posted twice counts once."""
    drill = RegionDrill(
        *(regions[0], regions[1], SystemClock(), print),
        events=10_000,
        rate_per_s=500,
        untaken=UNTAKEN,
        seed=seed,
    )
    found = await drill.run()
    note = (
        f"RTO {found.rto_s:.0f} s, RPO {found.rpo_s:.0f} s, failback {found.failback_s:.0f} s; "
        f"{found.accepted} accepted"
    )
    lost, doubled = (sum(counts.values()) for counts in (found.lost, found.doubled))
    fault = "a region killed, another made active, and back"
    report(Finding(fault, found.events, lost, doubled, found.failover_s, note))
    assert found.faults == []
    assert records_of(found.unmirrored) >= UNTAKEN
    assert found.rpo_s > 0
    for trial in trials.values():
        await trial.audited(deep=False)
