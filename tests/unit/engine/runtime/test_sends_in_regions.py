"""What agents send where there are regions (docs/protocols/regions.md): the agents of each region send it. Copied
by mirrors as well, a topic between two agents would have each record once for each region."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents.app import SIMULATION_RESULT
from streams.operate.regions.mirrored import is_copied
from tests.unit.engine.runtime.job_desk import RESULTS, SETTINGS, Desk
from tests.unit.engine.runtime.stream_desk import OUT

pytestmark = pytest.mark.parametrize("region", ["", "east"])


async def test_mirrors_leave_alone_what_stream_agents_send(desk, region):
    """Also the events of `group_by`, which go on with the headers that they came with."""

    async def body(stream):
        async for event in stream.events():
            stream.send(SIMULATION_RESULT, "k", b"v", partition=0, headers=event.headers)

    await desk.open(body, region=region)
    await desk.rig.produce_events(1)
    await desk.fold()
    await desk.commit()
    (found,) = desk.rig.contents(OUT).headers
    assert is_copied(found) is not bool(region)


async def test_mirrors_leave_alone_what_agents_of_columns_send(rig, region):
    """Another way to the same transaction."""
    rig.settings = replace(rig.settings, region=region)
    await rig.open()
    rig.partition.send(SIMULATION_RESULT, "k", b"v", partition=0, headers={"a": b"b"})
    await rig.produce_events(1)
    await rig.fold()
    await rig.commit()
    (found,) = rig.contents(OUT).headers
    assert found[0] == ("a", b"b")
    assert is_copied(found) is not bool(region)


async def test_mirrors_leave_alone_the_answers_of_jobs(region):
    """Both regions have the request."""
    desk = Desk(replace(SETTINGS, region=region))
    await desk.create_topics()
    await desk.open()
    try:
        await desk.finish(await _asked(desk))
        await desk.commit()
        (found,) = desk.broker.log(RESULTS).read_committed(0, 9).headers or [()]
        assert is_copied(found) is not bool(region)
    finally:
        await desk.close()


async def _asked(desk):
    request = await desk.ask("k")
    await desk.read()
    return request
