"""Ids that one tenant crafts to collide with another tenant's id under an unkeyed hash."""

from __future__ import annotations

import msgspec
import pytest
from xxhash import xxh3_64_intdigest, xxh3_128_digest

from agents.app import DIA_GROUP, MODEL_METRICS, app
from streams.engine.runtime.restore.restore import follows
from streams.engine.state.memory import MemoryDisk
from streams.operate.reset.reset import look, open_epoch, reset
from tests.unit.engine.runtime.conftest import CHANGELOG, DLQ
from tests.unit.engine.runtime.job_desk import Desk

CRAFTED = (
    "fcvb2bkrn1skcc5y8hys1dov05n6fvzlp75e0znqascqflq2\x17\n(9\x10wVZ'./\x16K\x13\x04m\x04\x03xng"
    "\x19vs\x0e\x00rlQ\x18t0a70ldz0mkof288vqm6qypsqjrxr6om8bgnrkuokcoyqqnqyc"
)
VICTIM = {"tenant_id": "victim", "event_id": "order-000001"}
ATTACKER = {"tenant_id": "attacker", "event_id": CRAFTED, "model_id": "m1"}
TS_MS = 1_700_000_000_000
SAME_PAYLOAD = 5.587025191095483e-23
"""At `TS_MS`, the value that mixes to what the victim's 1.0 mixes to, by xxh3-64 of the names and two
multiplications."""


def _xxh3(event):
    seed = xxh3_64_intdigest(event["tenant_id"].encode())
    return xxh3_128_digest(event["event_id"].encode(), seed)


def test_the_crafted_id_collides_with_the_victims_id_under_xxh3():
    """The other tests rely on this collision."""
    assert _xxh3(ATTACKER) == _xxh3(VICTIM)


@pytest.mark.parametrize("value", [7.0, SAME_PAYLOAD], ids=["another payload", "the same payload"])
async def test_an_id_of_one_tenant_never_suppresses_another_tenants_event(rig, value):
    """After a collision with another payload the victim's event would be a dead letter; with the
    same payload it would vanish without any record of it.
    """
    await rig.open()
    await rig.produce(rig.event(**ATTACKER, value=value, ts=TS_MS), key=b"attacker")
    await rig.produce(rig.event(**VICTIM, ts=TS_MS), key=b"victim")
    await rig.fold()
    await rig.commit()
    counters = rig.partition.state.link.counters
    assert (counters.applied, counters.duplicates, counters.dead) == (2, 0, 0)
    assert not rig.contents(DLQ).offsets


async def test_seen_ids_are_known_under_the_same_secret_after_a_restart_and_a_restore(rig):
    """A secret per process would count every repeat twice after a restart."""
    await rig.open()
    event = rig.event()
    await rig.produce(event)
    await rig.fold()
    await rig.commit()
    secret = rig.partition.state.link.secret
    for disk in (None, MemoryDisk()):
        await rig.open(disk)
        assert rig.partition.state.link.secret == secret
        await rig.produce(event)
        await rig.fold()
    await rig.commit()
    assert rig.partition.state.link.counters.duplicates == 2


async def test_every_partition_and_every_epoch_has_a_secret_of_its_own(rig):
    """A secret that leaks from one state reveals no other."""
    first = (await rig.open()).state.link.secret
    assert (await rig.open()).state.link.secret != first, "nothing was committed under it"
    for _ in range(2):
        await rig.commit_events(3)
    before = rig.partition.state.link.secret
    rig.broker.log(CHANGELOG).spoil(0, 1)
    opening = open_epoch(
        await look(rig.broker, DIA_GROUP, MODEL_METRICS, 0, app.targets), resume_at_start=False
    )
    await reset(rig.broker, rig.clock, opening)
    assert (await rig.open(MemoryDisk())).state.link.secret != before


async def test_a_link_with_another_secret_does_not_follow(rig):
    """With another secret the stored ids would not be found, so the link counts as a gap."""
    await rig.open()
    await rig.commit_events(3)
    before = rig.partition.state.link
    await rig.commit_events(3)
    link = rig.partition.state.link
    assert follows(before, link)
    assert not follows(before, msgspec.structs.replace(link, secret=bytes(16)))


async def test_a_tenant_name_may_contain_the_separator_before_the_key():
    """Tenant `acme` with key "eu\\0k" must not get the result of tenant "acme\\0eu" with key "k"."""
    desk = Desk()
    await desk.create_topics()
    await desk.open()
    asked = [
        await desk.ask("k", tenant_id="acme\0eu"),
        await desk.ask("eu\0k", tenant_id="acme"),
    ]
    await desk.read()
    await desk.finish(*asked)
    await desk.commit()
    runs = [desk.results()[request]["summary"] for request in asked]
    assert runs == [{"run": 1}, {"run": 2}], "each request must get its own result"
    await desk.close()
