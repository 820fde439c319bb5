"""A region is killed at load: another one becomes active, and the lost one comes back."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from streams.dev.local.stack import StackStatus, down, up
from tests.faults.regions import LEASE_S, GlobalAddress, RegionUnderTest
from tests.faults.trial import Trial

EVENTS, LATER, RATE_PER_S = 10_000, 1_000, 500
REGION = '[[region]]\nname = "{}"\nbootstrap = "{}"\n'


@pytest.fixture(scope="module")
def west_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackStatus]:
    """A second stack on other ports."""
    home = tmp_path_factory.mktemp("west")
    try:
        yield up(home, 2, print, owner_pid=os.getpid(), class_cache=True)
    finally:
        down(home)


@pytest.fixture
async def regions(
    own_stack, west_stack, tmp_path, seed
) -> AsyncIterator[tuple[RegionUnderTest, RegionUnderTest]]:
    """East, which is active, and west."""
    file = tmp_path / "regions.toml"
    stacks = {"east": own_stack, "west": west_stack}
    text = "".join(REGION.format(name, stack.kafka_bootstrap) for name, stack in stacks.items())
    file.write_text(f"lease_s = {LEASE_S}\n{text}")
    found = []
    for name, stack in stacks.items():
        folder = tmp_path / name
        folder.mkdir()
        trial = Trial(stack, folder, seed)
        await trial.open()
        region = RegionUnderTest(name, trial, file)
        await region.clean([other for other in stacks if other != name])
        found.append(region)
    east, west = found
    yield east, west
    for region in found:
        region.end()
        await region.trial.close()


@pytest.mark.once
@pytest.mark.timeout(900)
async def test_a_lost_region_loses_nothing_and_doubles_nothing(regions, report, monkeypatch):
    """Every accepted event is in both regions' windows once: those of the lost region that its mirror
    had not taken come with it, and what clients posted twice counts once."""
    east, west = regions
    clients = GlobalAddress(regions)
    monkeypatch.setattr(east.trial.broker, "plain_producer", lambda: clients)
    await east.trial.command("region", "init", "--active", "east")
    for region in regions:
        await region.start()
    east.trial.feed(LATER, rate_per_s=RATE_PER_S, poison=0.0, future=0.0)
    await west.trial.until_read(LATER)  # its mirror has started
    await east.trial.fed()
    east.trial.feed(EVENTS, rate_per_s=RATE_PER_S)
    west.trial.expect(east.trial)
    await west.trial.until_read(LATER + EVENTS // 5)

    await asyncio.to_thread(east.lose)
    began = time.monotonic()
    switch = ("region", "failover", "--to", "west", "--yes", "--json")
    told = json.loads(await west.trial.command(*switch, "--without-old"))
    took_s = time.monotonic() - began
    assert (told["before"], told["active"], told["epoch"]) == ("east", "west", 2)
    assert {one["topic"] for one in told["unmirrored"]} >= {"model.metrics"}
    await east.trial.fed()
    assert clients.accepted["west"] > 0

    await east.bring_back()
    west.restart_mirror()
    switch = ("region", "failback", "--to", "east", "--yes", "--json")
    back = json.loads(await west.trial.command(*switch))
    assert (back["active"], back["epoch"], back["unmirrored"]) == ("east", 3, [])
    before = dict(clients.accepted)
    east.trial.feed(LATER, rate_per_s=RATE_PER_S)
    west.trial.expect(east.trial)
    await east.trial.fed()
    assert clients.accepted["west"] == before["west"]

    east.trial.recovery_s = took_s
    note = f"failover {took_s:.0f} s, failback {back['total_s']:.0f} s; {before} accepted before it"
    report(await east.trial.windows_exact("a region killed, another made active, and back", note))
    await west.trial.windows_exact("the same, in the other region", note)
    await clients.end()
